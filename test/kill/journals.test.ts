/** The process dies around a journal, or while it reports one that lied: nothing is missed afterwards. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createEvents } from '../../src/cloud/events/service.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { newHexId, newId } from '../../src/lib/ids.ts';
import type { AuditedBackupOrder } from '../support/audited-backup-process.ts';
import { type BackupCloud, callerOf, startBackupCloud } from '../support/backup-cloud.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';
import { type DiskTree, makeDiskTree, mib } from '../support/disk-tree.ts';
import type { DiskOrder } from '../support/disks-child.ts';
import { proveKills } from '../support/kill-harness.ts';

const chunkBytes = 64 * 1024;

test('between the freeze and its journal: the journal is made up for', async () => {
  const where = { repositoryId: newId(), domain: 'p' };
  const tree: DiskTree = await makeDiskTree();
  let order: DiskOrder;
  try {
    await proveKills({
      script: join(import.meta.dirname, '../support/disks-child.ts'),
      points: ['journal:computed'],
      async prepare() {
        const volumeId = await tree.volume();
        await tree.write(volumeId, [{ offset: 0, length: mib, pattern: 1 }]);
        const known = await tree.freeze(volumeId);
        await tree.database.transact((tx) => tree.disks.recordRoot(tx, known, { ...where, session: 'known', root: 'r' }));
        await tree.write(volumeId, [{ offset: 4 * mib, length: chunkBytes, pattern: 2 }]);
        await tree.disks.idle();
        order = { operation: 'freeze', volumeId, pointId: newId(), layerId: newId(), topLayerId: newId() };
        return [JSON.stringify(tree.held.connection), tree.folder, JSON.stringify(order)];
      },
      async check() {
        const since = await tree.disks.changesSince(order.pointId, where);
        expect([...(since?.changed.ranges() ?? [])]).toEqual([[4 * mib, 4 * mib + chunkBytes]]);
      },
    });
  } finally {
    await tree.stop();
  }
});

let folder: string;
let held: TestDatabase;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sp-kill-'));
  held = await testDatabase();
});
afterAll(async () => {
  await held.drop();
  await rm(folder, { recursive: true, force: true });
});

const block = (offset: number) => ({ offset, bytes: randomBytes(chunkBytes) });

/** A volume with a backup, of which a later journal says that nothing changed. */
async function lyingVolume(cloud: BackupCloud, projectId: string): Promise<{ volumeId: string; model: string }> {
  const caller = callerOf(projectId);
  const { id: volumeId } = await cloud.makeVolume(caller);
  const model = await cloud.makeModel(`${volumeId}.raw`);
  await cloud.write(volumeId, model, [block(0), block(500 * mib)]);
  await cloud.backUp(caller, { volumeId });
  await cloud.write(volumeId, model, [block(0)]);
  const snapshot = await cloud.makeSnapshot(caller, volumeId);
  await cloud.disks.idle();
  const { sql } = cloud.held.database;
  await sql
    .updateTable('points')
    .set({ journal: ExtentSet.empty.encode() })
    .where('id', '=', sql.selectFrom('snapshots').select('point_id').where('id', '=', snapshot.id))
    .execute();
  await cloud.write(volumeId, model, [block(500 * mib)]);
  return { volumeId, model };
}

async function expectCaught(cloud: BackupCloud, projectId: string, volumeId: string, model: string): Promise<void> {
  const caller = callerOf(projectId);
  const { sql } = cloud.held.database;
  const row = sql.selectFrom('backups').select('id').where('volume_id', '=', volumeId).where('parent_id', 'is not', null);
  const backup = await cloud.settledBackup(caller, (await row.executeTakeFirstOrThrow()).id);
  expect(backup.status).toBe('available');
  const restore = await cloud.backups.restore(caller, backup.id, { volumeId: null, name: null });
  await cloud.settledVolume(caller, restore.volumeId);
  await cloud.compare(restore.volumeId, model);
  const events = await createEvents({ database: cloud.held.database }).since(0, { projectId, limit: 1000 });
  expect(events.filter(({ kind }) => kind === 'backup.audit_failed')).toMatchObject([{ payload: { backupId: backup.id } }]);
  const roots = await sql.selectFrom('point_roots').select('session').distinct().where('domain', '=', projectId).execute();
  expect(roots).toHaveLength(1);
}

test('while it reports a journal that lied: it is reported once, nothing relies on it, and the backup is whole', async () => {
  let order: AuditedBackupOrder;
  let model: string;
  await proveKills({
    script: join(import.meta.dirname, '../support/audited-backup-process.ts'),
    points: [
      'backup.create:transfer:move:after',
      'backup.create:transfer:distrust:before',
      'backup.create:transfer:distrust:after',
      'backup.create:transfer:done',
      'backup.create:publish:rows:before',
      'backup.create:publish:rows:after',
    ],
    async prepare() {
      const projectId = newHexId();
      const cloud = await startBackupCloud({ folder, held });
      const volume = await lyingVolume(cloud, projectId).finally(() => cloud.stop());
      model = volume.model;
      order = { connection: held.connection, folder, projectId, volumeId: volume.volumeId };
      return [JSON.stringify(order)];
    },
    async check() {
      const cloud = await startBackupCloud({ folder, held });
      await expectCaught(cloud, order.projectId, order.volumeId, model).finally(() => cloud.stop());
    },
  });
});
