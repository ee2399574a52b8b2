/**
 * Whatever happened to a disk before: an incremental backup has the root of the bytes that it should hold, and nothing had to be caught by the audit.
 * The disks, their server, the journals and the mover are the real ones; beside each disk and each point is a plain buffer.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { createIdHasher, type IdHasher } from '../../src/engine/repository/chunk-id.ts';
import type { BackupOutcome } from '../../src/engine/transfer/contract.ts';
import { createLocalMover, type LocalMover } from '../../src/engine/transfer/local-mover.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { rootOfBytes } from '../support/disk-root.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, type Write } from '../support/disk-tree.ts';
import { describeBackup, makePlace, newSession, openPlace, uncancelled } from '../support/repository.ts';

const run = promisify(execFile);
const clusterBytes = 64 * 1024;
/** Disks grow to sizes that are no whole chunks, and not far beyond. */
const growBytes = 3 * mib + 4096;
const sizeMax = diskBytes + 3 * growBytes;

type Step =
  | { readonly kind: 'write' | 'discard'; readonly which: number; readonly writes: readonly Write[] }
  | {
      readonly kind:
        | 'back up'
        | 'back up point'
        | 'freeze'
        | 'release'
        | 'clone'
        | 'revert'
        | 'extend'
        | 'restore'
        | 'restore new'
        | 'open'
        | 'close'
        | 'drop'
        | 'forget';
      readonly which: number;
    }
  | { readonly kind: 'tidy' | 'restart' | 'lose journals'; readonly which?: number };

const which = fc.nat(1000);
const anyWrite = fc.record({
  offset: fc.nat(diskBytes / 4096 - 64).map((page) => page * 4096),
  length: fc.integer({ min: 1, max: 64 }).map((pages) => pages * 4096),
  pattern: fc.nat(255),
});
const anyDiscard = fc.record({
  offset: fc.nat(diskBytes / clusterBytes - 4).map((cluster) => cluster * clusterBytes),
  length: fc.integer({ min: 1, max: 4 }).map((clusters) => clusters * clusterBytes),
  pattern: fc.constant(0),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant('write' as const), which, writes: fc.array(anyWrite, { minLength: 1, maxLength: 4 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('discard' as const), which, writes: fc.array(anyDiscard, { minLength: 1, maxLength: 2 }) }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('back up' as const, 'back up' as const, 'back up point' as const), which }) },
  {
    weight: 10,
    arbitrary: fc.record({ kind: fc.constantFrom('freeze' as const, 'freeze' as const, 'freeze' as const, 'clone' as const), which }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('revert' as const, 'extend' as const, 'restore' as const, 'restore new' as const),
      which,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('release' as const, 'open' as const, 'close' as const), which }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('drop' as const, 'forget' as const), which }) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      { kind: 'tidy' as const },
      { kind: 'tidy' as const },
      { kind: 'restart' as const },
      { kind: 'lose journals' as const },
    ),
  },
);

interface Modelled {
  readonly id: string;
  model: Buffer;
}

interface Kept extends Modelled {
  readonly session: string;
  readonly root: string;
}

const place = makePlace();
const where = { repositoryId: newId(), domain: 'project' };
let tree: DiskTree;
let mover: LocalMover;
let hasher: IdHasher;
/** Of all runs: backups that started from another, and those that read everything. */
const made = { fromBase: 0, whole: 0 };

beforeAll(async () => {
  tree = await makeDiskTree();
  mover = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
  await mover.initRepository(place.repository);
  const opened = await openPlace(place.repository);
  hasher = createIdHasher((await opened.createDomain(where.domain)).idKey);
  opened.store.close();
});
afterAll(async () => {
  await tree.stop();
  await mover.stop();
  place.remove();
});

const pick = <T>(from: readonly T[], at: number): T | undefined => from[at % Math.max(1, from.length)];

class History {
  volumes: Modelled[] = [];
  points: Modelled[] = [];
  backups: Kept[] = [];

  async take(action: Step): Promise<void> {
    const volume = pick(this.volumes, action.which ?? 0);
    const point = pick(this.points, action.which ?? 0);
    const backup = pick(this.backups, action.which ?? 0);
    if (volume === undefined) return;
    switch (action.kind) {
      case 'tidy':
        return void (await tree.disks.tidy());
      case 'restart':
        tree = await tree.restart();
        return await tree.disks.adoptExports();
      case 'lose journals':
        // As after the death of a process between freezes and their journals.
        await tree.disks.idle();
        await tree.database.sql.updateTable('points').set({ journal: null }).where('layer_id', 'is not', null).execute();
        return;
      case 'write':
        await tree.write(volume.id, action.writes);
        return applyTo(volume.model, action.writes);
      case 'discard':
        return await this.#discard(volume, action.writes);
      case 'freeze':
        this.points.push({ id: await tree.freeze(volume.id), model: Buffer.from(volume.model) });
        return;
      case 'release':
        if (point === undefined) return;
        await tree.release(point.id);
        this.points = this.points.filter((other) => other !== point);
        return;
      case 'clone':
        if (point !== undefined)
          this.volumes.push({ id: await tree.volume(point.id, point.model.length), model: Buffer.from(point.model) });
        return;
      case 'revert':
        return await this.#revert(volume, point);
      case 'extend':
        return await this.#extend(volume);
      case 'restore':
        return await this.#restore(volume, backup);
      case 'restore new':
        return await this.#restore(undefined, backup);
      case 'open':
        await tree.disks.openExport(volume.id, { readOnly: false });
        return;
      case 'close':
        return await tree.disks.closeExport(volume.id);
      case 'drop':
        if (this.volumes.length === 1) return;
        await tree.disks.dropDisk(volume.id);
        this.volumes = this.volumes.filter((other) => other !== volume);
        return;
      case 'forget':
        if (backup !== undefined) await tree.database.transact((tx) => tree.disks.forgetSession(tx, backup.session));
        return;
      case 'back up':
        return await this.#backUp({ id: await tree.freeze(volume.id, 'backup:test'), model: Buffer.from(volume.model) });
      case 'back up point':
        if (point === undefined) return;
        await tree.database.transact((tx) => tree.disks.hold(tx, point.id, 'backup:test'));
        return await this.#backUp(point);
    }
  }

  async #discard(volume: Modelled, ranges: readonly Write[]): Promise<void> {
    const { socketPath } = await tree.disks.openExport(volume.id, { readOnly: false });
    const commands = [...ranges.map(({ offset, length }) => `discard -q ${offset} ${length}`), 'flush'];
    await run('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), `nbd+unix:///disk?socket=${socketPath}`]);
    applyTo(volume.model, ranges);
  }

  /** To the volume's own size, which may have grown since. */
  async #revert(volume: Modelled, point: Modelled | undefined): Promise<void> {
    if (point === undefined) return;
    const sizeBytes = Math.max(volume.model.length, point.model.length);
    await tree.disks.replaceDisk(volume.id, { fromPointId: point.id, topLayerId: newId(), sizeBytes });
    volume.model = enlarged(point.model, sizeBytes);
  }

  async #extend(volume: Modelled): Promise<void> {
    const sizeBytes = volume.model.length + growBytes;
    if (sizeBytes > sizeMax) return;
    await tree.disks.closeExport(volume.id);
    await tree.disks.resize(volume.id, sizeBytes);
    volume.model = enlarged(volume.model, sizeBytes);
  }

  async #restore(into: Modelled | undefined, backup: Kept | undefined): Promise<void> {
    if (backup === undefined) return;
    const { session, root, model } = backup;
    const volumeId = into?.id ?? (await tree.volumeRow());
    const sizeBytes = Math.max(into?.model.length ?? 0, model.length);
    const plan = { layerId: newId(), pointId: newId(), home: volumeId, sizeBytes, holder: 'restore:test' };
    await tree.disks.createBase(plan, async ({ path }) => {
      const order = { repository: place.repository, domain: where.domain, session, targetPath: path, targetSizeBytes: sizeBytes };
      return ExtentSet.decode(Buffer.from((await mover.restore(order, uncancelled)).allocated, 'base64'));
    });
    const disk = { fromPointId: plan.pointId, topLayerId: newId(), sizeBytes };
    if (into === undefined) await tree.disks.createDisk(volumeId, disk);
    else await tree.disks.replaceDisk(volumeId, disk);
    await tree.database.transact(async (tx) => {
      await tree.disks.recordRoot(tx, plan.pointId, { ...where, session, root });
      await tree.disks.release(tx, plan.pointId, plan.holder);
    });
    if (into === undefined) this.volumes.push({ id: volumeId, model: enlarged(model, sizeBytes) });
    else into.model = enlarged(model, sizeBytes);
  }

  /** Of a point that is held for it. */
  async #backUp({ id, model }: Modelled): Promise<void> {
    const since = await tree.disks.changesSince(id, where);
    made[since === undefined ? 'whole' : 'fromBase'] += 1;
    const base = since && { session: since.session, root: since.root, changed: since.changed.encode().toString('base64') };
    const outcome: BackupOutcome = await mover.backup(
      {
        repository: place.repository,
        domain: where.domain,
        session: newSession(),
        formerSessions: [],
        source: await tree.disks.sourceOf(id),
        describe: describeBackup('one'),
        ...(base === undefined ? {} : { base }),
      },
      uncancelled,
    );
    expect(outcome.root).toBe(rootOfBytes(model, hasher));
    // Had it been wrong, the audit might have made it right.
    expect(outcome.baseProblem).toBeUndefined();
    expect(outcome.audit?.finding).toBeUndefined();
    const { session, root } = outcome;
    await tree.database.transact(async (tx) => {
      await tree.disks.recordRoot(tx, id, { ...where, session, root });
      await tree.disks.release(tx, id, 'backup:test');
    });
    this.backups.push({ id, session, root, model });
  }

  async clear(): Promise<void> {
    for (const { id } of this.points) await tree.release(id);
    for (const { id } of this.volumes) await tree.disks.dropDisk(id);
    await tree.database.sql.deleteFrom('point_roots').execute();
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(0);
    expect(await tree.database.sql.selectFrom('points').select('id').execute()).toEqual([]);
  }
}

const enlarged = (model: Buffer, sizeBytes: number): Buffer => Buffer.concat([model, Buffer.alloc(sizeBytes - model.length)]);

it('an incremental backup holds what the disk held, whatever happened before', { timeout: 300_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 60 }), async (steps) => {
      const history = new History();
      history.volumes.push({ id: await tree.volume(), model: Buffer.alloc(diskBytes) });
      for (const action of steps) await history.take(action);
      await history.clear();
    }),
    { numRuns: 6, endOnFailure: true },
  );
  // Not vacuous: most started from an earlier one.
  expect(made.fromBase).toBeGreaterThan(10);
  expect(made.fromBase).toBeGreaterThan(made.whole);
});
