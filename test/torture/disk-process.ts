/**
 * The disks of one history in a process of its own, so that it can be killed: the real disks service on real files and a real database, and the real
 * data mover below it. Orders come over IPC, one answer each. Its one argument is JSON: `DiskProcessPlan`.
 *
 * A backup and a restore are made here of the same calls that their sagas make; a kill between two of them is the business of whoever gives the orders.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openDatabase } from '../../src/cloud/database/service.ts';
import { createDisksService } from '../../src/cloud/disks/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import type { DiskSource, LayerTarget } from '../../src/engine/disk/contract.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { isRepositoryError } from '../../src/engine/repository/errors.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { BackupOrder } from '../../src/engine/transfer/contract.ts';
import { createDataMover } from '../../src/engine/transfer/data-mover-client.ts';
import { createLayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { armCrashPoint, disarmCrashPoints } from '../../src/lib/crash-points.ts';
import { newHexId } from '../../src/lib/ids.ts';
import { describeBackup } from '../support/repository.ts';
import type { Answer, DiskOrders, DiskProcessPlan, Order, PlannedBase } from './disk-orders.ts';

const plan = JSON.parse(process.argv[2] ?? '{}') as DiskProcessPlan;
const domain = 'torture';
const interruptionsMax = 3;
/** So slow that other things come in between. */
const liveMergeBytesPerSecond = 6 << 20;

const warnings: string[] = [];
const note = (level: string) => (first: unknown, message?: string) => {
  const error = (first as { error?: unknown }).error;
  warnings.push(`${level}: ${message ?? ''} ${JSON.stringify({ ...(first as object), error: String(error ?? '') })}`);
  if (warnings.length > 40) warnings.shift();
};
const quiet = () => {};
const log = { trace: quiet, debug: quiet, info: note('info'), warn: note('warn'), error: note('error'), fatal: note('fatal') } as never;

const database = openDatabase({ connection: plan.connection, poolMax: 8, log });
const backend = createLayeredFiles({
  root: plan.volumesPath,
  runtimeDir: plan.runtimeDir,
  log,
  space: createSpaceAccount({ keptBytes: 0 }),
  liveMergeBytesPerSecond,
  confinement: createConfinement(),
});
const disks = createDisksService({ database, backend, log });
const mover = createDataMover({ entryPath: join(import.meta.dirname, '../../src/main/data-mover.ts'), log });
const aborts = new Map<number, AbortController>();

async function fillBase(base: PlannedBase, path: string, signal: AbortSignal): Promise<ExtentSet> {
  if (base.kind === 'written') {
    const file = await open(path, 'w');
    for (const { offset, bytes } of base.writes) await file.write(bytes, 0, bytes.length, offset);
    await file.truncate(base.sizeBytes);
    await file.close();
    return ExtentSet.of(base.writes.map(({ offset, bytes }) => [offset, offset + bytes.length]));
  }
  const order = { repository: plan.repository, domain, session: base.session, targetPath: path, targetSizeBytes: base.sizeBytes };
  const outcome = await mover.restore(order, { signal });
  if (outcome.root !== base.root) throw new Error('the restored disk is not the one that was backed up');
  return ExtentSet.decode(Buffer.from(outcome.allocated, 'base64'));
}

/** As the sagas do: the mover's death is no reason to give up at once. */
async function withNewMover<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let interruptions = 1; ; interruptions += 1) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || interruptions >= interruptionsMax || !isRepositoryError(error, 'interrupted')) throw error;
    }
  }
}

const orders: DiskOrders = {
  createDisk: ({ volumeId, ...rest }) => disks.createDisk(volumeId, rest),
  freeze: ({ volumeId, ...rest }) => disks.freeze(volumeId, rest),
  freezeTogether: (plans) => disks.freezeTogether(plans),
  replaceDisk: ({ volumeId, ...rest }) => disks.replaceDisk(volumeId, rest),
  resize: ({ volumeId, sizeBytes }) => disks.resize(volumeId, sizeBytes),
  sizeOf: ({ volumeId }) => disks.sizeOf(volumeId),
  dropDisk: ({ volumeId }) => disks.dropDisk(volumeId),
  hold: ({ pointId, holder }) => database.transact((tx) => disks.hold(tx, pointId, holder)),
  release: ({ pointId, holder }) => database.transact((tx) => disks.release(tx, pointId, holder)),
  async createBase({ fill, ...rest }, signal) {
    await withNewMover(signal, () => disks.createBase({ ...rest, sizeBytes: fill.sizeBytes }, ({ path }) => fillBase(fill, path, signal)));
  },
  async overlay({ session, root, ...rest }, signal) {
    const order = { repository: plan.repository, domain, session };
    let finding: unknown;
    const fill = async (target: LayerTarget, source: DiskSource): Promise<ExtentSet> => {
      const since = await disks.changesSince(rest.belowPointId, { repositoryId: plan.repository.id, domain });
      const known = since && { session: since.session, root: since.root, changed: since.changed.encode().toString('base64') };
      const outcome = await mover.restoreOnto({ ...order, current: source, target, ...(known && { known }) }, { signal });
      if (outcome.kind === 'unreadable') throw new Error(`the disk cannot be read: ${outcome.reason}`);
      if (outcome.root !== root) throw new Error('the restored disk is not the one that was backed up');
      finding = outcome.audit?.finding;
      return ExtentSet.decode(Buffer.from(outcome.written, 'base64'));
    };
    await withNewMover(signal, () => disks.createOverlay(rest, fill));
    return finding;
  },
  async backup({ pointId, backupId, sessions, incremental }, signal) {
    const used = [...sessions];
    return await withNewMover(signal, async () => {
      const formerSessions = [...used];
      const session = newHexId();
      used.push(session);
      await tell({ noted: { backupId, session } });
      const source = await disks.sourceOf(pointId);
      const since = incremental ? await disks.changesSince(pointId, { repositoryId: plan.repository.id, domain }) : undefined;
      const changed = since?.changed.encode();
      const base = since && changed && { session: since.session, root: since.root, changed: changed.toString('base64') };
      const order: BackupOrder = {
        repository: plan.repository,
        domain,
        session,
        formerSessions,
        source,
        describe: describeBackup(backupId),
      };
      const outcome = await mover.backup({ ...order, ...(base && { base }) }, { signal });
      const finding = outcome.audit?.finding;
      return { session: outcome.session, root: outcome.root, finding, base: since && changed && { session: since.session, changed } };
    });
  },
  publish: ({ pointId, holder, session, root }) =>
    database.transact(async (tx) => {
      await disks.recordRoot(tx, pointId, { repositoryId: plan.repository.id, domain, session, root });
      await disks.release(tx, pointId, holder);
    }),
  async forget({ sessions }) {
    for (const session of sessions) {
      await database.transact((tx) => disks.forgetSession(tx, session));
      await mover.tombstone(plan.repository, domain, session);
    }
  },
  source: ({ pointId }) => disks.sourceOf(pointId),
  tidy: async () => void (await disks.tidy()),
  openExport: async ({ volumeId, readOnly }) => (await disks.openExport(volumeId, { readOnly })).socketPath,
  closeExport: ({ volumeId }) => disks.closeExport(volumeId),
  async begin() {
    await mover.initRepository(plan.repository);
    await disks.adoptExports();
  },
  async arm({ point, hits }) {
    armCrashPoint(point, 'kill', hits);
  },
  async disarm() {
    disarmCrashPoints();
  },
  idle: () => disks.idle(),
  async warnings() {
    return [...warnings];
  },
  async stop() {
    await disks.stop();
    await mover.stop();
    await database.close();
  },
};

const tell = (message: object): Promise<unknown> => new Promise((sent) => process.send?.(message, sent));

async function obey(order: Order): Promise<Answer> {
  const abort = new AbortController();
  aborts.set(order.call, abort);
  try {
    const handler = orders[order.name] as (argument: unknown, signal: AbortSignal) => Promise<unknown>;
    return { call: order.call, result: await handler(order.argument, abort.signal) };
  } catch (error) {
    const { message, stack, cause } = error as Error;
    const kind = (error as { kind?: unknown }).kind;
    const because = cause instanceof Error ? `\nbecause: ${cause.stack}` : '';
    return { call: order.call, failure: { message, stack: `${stack ?? ''}${because}`, kind: typeof kind === 'string' ? kind : '' } };
  } finally {
    aborts.delete(order.call);
  }
}

process.on('message', (order: Order | { abort: number }) => {
  if ('abort' in order) {
    aborts.get(order.abort)?.abort(new Error('cancelled'));
    return;
  }
  void obey(order).then(async (answer) => {
    await tell(answer);
    if (order.name === 'stop') process.disconnect?.();
  });
});
process.on('disconnect', () => process.exit(0));
