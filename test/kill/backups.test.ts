import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DataMover } from '../../src/engine/transfer/contract.ts';
import { createDataMover } from '../../src/engine/transfer/data-mover-client.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type BackupCloud, dataMoverEntry, startBackupCloud } from '../support/backup-cloud.ts';
import { beginOperation, checkSubject, kindOf, makeSubject, type Operation, type Subject } from '../support/backup-subject.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';
import { proveKills } from '../support/kill-harness.ts';
import { type MakeFixture, proveSaga } from '../support/saga-harness.ts';

const script = join(import.meta.dirname, '../support/backup-process.ts');
const operations: readonly Operation[] = ['create', 'restore', 'restore-new', 'restore-damaged', 'delete'];

let folder: string;
let held: TestDatabase;
let mover: DataMover;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sp-kill-'));
  held = await testDatabase();
  mover = createDataMover({ entryPath: dataMoverEntry, log: silentLog });
});
afterAll(async () => {
  await mover.stop();
  await held.drop();
  await rm(folder, { recursive: true, force: true });
});

const fixtureOf =
  (operation: Operation): MakeFixture =>
  async ({ openJobs }) => {
    const cloud = await startBackupCloud({ folder, held, mover, openJobs });
    const subject = await makeSubject(cloud, operation);
    return {
      jobs: cloud.jobs,
      order: async () => ({ sagaId: await beginOperation(cloud, subject) }),
      async check(status) {
        // A service of its own: the one under test would cancel what the check begins, too.
        const after = await startBackupCloud({ folder, held, mover });
        await checkSubject(after, subject, status).finally(() => after.stop());
      },
      close: () => cloud.stop(),
    };
  };

test.each(operations)('the saga of %s copes with repeats, failures and cancels at every instant', async (operation) => {
  const runs = await proveSaga({ kind: kindOf(operation), make: fixtureOf(operation) });
  expect(runs.length).toBeGreaterThan(8);
});

/** The instants around every outside effect, and inside those that have an inside. */
const killPoints: Readonly<Record<Operation, readonly string[]>> = {
  create: [
    'backup.create:freeze:freeze:before',
    'freeze:planned',
    'freeze:layer-made',
    'backup.create:freeze:freeze:after',
    'backup.create:transfer:move:before',
    'backup.create:transfer:move:after',
    'backup.create:transfer:done',
    'backup.create:publish:rows:before',
    'backup.create:publish:rows:after',
  ],
  restore: [
    'backup.restore:freeze:freeze:before',
    'freeze:planned',
    'freeze:layer-made',
    'backup.restore:freeze:freeze:after',
    'backup.restore:write:overlay:before',
    'overlay:planned',
    'overlay:written',
    'overlay:sealed',
    'backup.restore:write:overlay:after',
    'backup.restore:swap:disk:before',
    'disk:planned',
    'disk:made',
    'backup.restore:swap:disk:after',
    'backup.restore:swap:rows:before',
    'backup.restore:swap:rows:after',
  ],
  'restore-new': [
    'backup.restore:write:base:before',
    'base:planned',
    'base:written',
    'base:sealed',
    'backup.restore:write:base:after',
    'backup.restore:swap:disk:after',
    'backup.restore:swap:rows:after',
  ],
  'restore-damaged': [
    'overlay:planned',
    'backup.restore:write:base:before',
    'base:planned',
    'base:written',
    'backup.restore:write:base:after',
    'backup.restore:swap:disk:before',
  ],
  delete: [
    'backup.delete:tombstone:write:before',
    'backup.delete:tombstone:write:after',
    'backup.delete:remove:row:before',
    'backup.delete:remove:row:after',
  ],
};

test.each(operations)('a process killed during %s is followed by one that ends it', async (operation) => {
  let cloud: BackupCloud | undefined;
  let subject: Subject | undefined;
  await proveKills({
    script,
    points: killPoints[operation],
    async prepare() {
      const before = await startBackupCloud({ folder, held, mover });
      subject = await makeSubject(before, operation);
      await before.stop();
      return [JSON.stringify({ connection: held.connection, folder, subject })];
    },
    async check() {
      cloud = await startBackupCloud({ folder, held, mover });
      if (subject !== undefined) await checkSubject(cloud, subject, 'done');
    },
    async cleanUp() {
      await cloud?.stop();
      cloud = undefined;
    },
  });
});
