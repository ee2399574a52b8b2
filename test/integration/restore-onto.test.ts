/** Restores to volumes that have a disk: what is read and written for them, what stays, and what may be wrong with the disk. */
import { randomBytes } from 'node:crypto';
import { readdir, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Backup } from '../../src/cloud/backups/backup.ts';
import { createEvents } from '../../src/cloud/events/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import type { Volume } from '../../src/cloud/volumes/service.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import type { DataMover, RestoreOntoOutcome } from '../../src/engine/transfer/contract.ts';
import { createDataMover } from '../../src/engine/transfer/data-mover-client.ts';
import { newHexId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type BackupCloud, type BlockOfBytes, callerOf, dataMoverEntry, startBackupCloud } from '../support/backup-cloud.ts';

const mib = 1024 ** 2;
const chunkBytes = 64 * 1024;
const admin = callerOf('operators', ['admin']);

let cloud: BackupCloud;
let caller: Caller;
let ownMover: DataMover;
/** Runs before the mover begins a restore onto a disk. */
let beforeRestore: () => Promise<void>;

beforeAll(async () => {
  ownMover = createDataMover({ entryPath: dataMoverEntry, log: silentLog });
  const mover: DataMover = {
    ...ownMover,
    async restoreOnto(order, options) {
      await beforeRestore();
      return await ownMover.restoreOnto(order, options);
    },
  };
  cloud = await startBackupCloud({ mover });
});
afterAll(async () => {
  await cloud.stop();
  await ownMover.stop();
});
beforeEach(() => {
  caller = callerOf(newHexId());
  beforeRestore = async () => {};
  cloud.restores.length = 0;
});

const block = (offset: number, length = chunkBytes): BlockOfBytes => ({ offset, bytes: randomBytes(length) });
const sql = () => cloud.held.database.sql;

interface Scene {
  readonly volume: Volume;
  /** What the volume holds now. */
  readonly model: string;
  readonly backup: Backup;
  /** What the backup holds. */
  readonly backedUp: string;
}

/** A volume with a backup, and some changes since. */
async function scene(changes: readonly BlockOfBytes[] = [block(mib), block(700 * mib, 2 * chunkBytes)]): Promise<Scene> {
  const volume = await cloud.makeVolume(caller);
  const model = await cloud.makeModel(`${volume.id}.raw`);
  await cloud.write(volume.id, model, [block(0, 4 * mib), block(500 * mib, mib)]);
  const backup = await cloud.backUp(caller, { volumeId: volume.id });
  const backedUp = await cloud.copyModel(model, `${volume.id}.backed-up.raw`);
  if (changes.length > 0) await cloud.write(volume.id, model, changes);
  return { volume, model, backup, backedUp };
}

async function restore({ backup }: Pick<Scene, 'backup'>, volumeId: string): Promise<Volume> {
  await cloud.backups.restore(caller, backup.id, { volumeId, name: null });
  const volume = await cloud.settledVolume(caller, volumeId);
  expect((await cloud.settledBackup(caller, backup.id)).status).toBe('available');
  return volume;
}

type Restored = Extract<RestoreOntoOutcome, { kind: 'restored' }>;
const lastRestore = (): Restored => cloud.restores.at(-1) as Restored;
const layersOf = (volumeId: string) => sql().selectFrom('layers').selectAll().where('home', '=', volumeId).execute();

/** Neither holds nor layers that only the restore needed: the top, and one below it. */
async function expectNothingLeft(volumeId: string): Promise<void> {
  const holds = await sql().selectFrom('point_holds').select('holder').execute();
  expect(holds.filter(({ holder }) => holder.startsWith('restore:'))).toEqual([]);
  await cloud.disks.tidy();
  expect((await layersOf(volumeId)).map(({ state }) => state).sort()).toEqual(['frozen', 'top']);
}

describe('a restore to the volume that was backed up', () => {
  test('reads and writes only what changed, and so does the next incremental', async () => {
    const { volume, backup, backedUp } = await scene();
    await restore({ backup }, volume.id);
    await cloud.compare(volume.id, backedUp);
    expect(lastRestore()).toMatchObject({ comparedBytes: 3 * chunkBytes, writtenBytes: chunkBytes });
    expect(lastRestore().knownProblem).toBeUndefined();
    await cloud.write(volume.id, backedUp, [block(20 * mib)]);
    const increment = await cloud.backUp(caller, { volumeId: volume.id, incremental: true });
    expect(cloud.outcomes.at(-1)).toMatchObject({ readBytes: chunkBytes });
    await restore({ backup: increment }, volume.id);
    expect(lastRestore()).toMatchObject({ comparedBytes: 0, writtenBytes: 0 });
    await cloud.compare(volume.id, backedUp);
    await expectNothingLeft(volume.id);
  });

  test('goes to and fro between backups by what differs between them', async () => {
    const { volume, model, backup, backedUp } = await scene();
    const later = await cloud.backUp(caller, { volumeId: volume.id, incremental: true });
    for (const [wanted, bytes] of [
      [backup, backedUp],
      [later, model],
      [backup, backedUp],
    ] as const) {
      await restore({ backup: wanted }, volume.id);
      await cloud.compare(volume.id, bytes);
      expect(lastRestore().comparedBytes + lastRestore().writtenBytes).toBeLessThanOrEqual(6 * chunkBytes);
    }
    await expectNothingLeft(volume.id);
  });

  test('keeps all snapshots and clones as they are, and the volume goes back to any of them', async () => {
    const { volume, model, backup, backedUp } = await scene();
    const snapshots = [];
    for (const offset of [10, 20, 30]) {
      await cloud.write(volume.id, model, [block(offset * mib, mib)]);
      const snapshot = await cloud.makeSnapshot(caller, volume.id);
      snapshots.push({ snapshot, bytes: await cloud.copyModel(model, `${snapshot.id}.raw`) });
    }
    await restore({ backup }, volume.id);
    await cloud.compare(volume.id, backedUp);
    expect(lastRestore().comparedBytes).toBe(3 * mib + 3 * chunkBytes);
    for (const { snapshot, bytes } of snapshots.toReversed()) {
      const sagaId = await cloud.snapshots.revert(caller, { volumeId: volume.id, snapshotId: snapshot.id, latestOnly: false });
      expect(await cloud.jobs.settled(sagaId)).toBe('done');
      await cloud.compare(volume.id, bytes);
    }
    await restore({ backup }, volume.id);
    await cloud.compare(volume.id, backedUp);
    for (const { snapshot } of snapshots) {
      await cloud.snapshots.delete(caller, snapshot.id);
      await cloud.gone(() => cloud.snapshots.get(caller, snapshot.id));
    }
    await cloud.compare(volume.id, backedUp);
    await expectNothingLeft(volume.id);
  });

  test('gives back the room of what it replaced once nobody names it', async () => {
    const { volume, model, backup } = await scene([]);
    const before = await cloud.disks.usageOf(volume.id);
    await cloud.write(volume.id, model, [block(0, 4 * mib), block(100 * mib, 8 * mib)]);
    await restore({ backup }, volume.id);
    await expectNothingLeft(volume.id);
    const after = await cloud.disks.usageOf(volume.id);
    expect(after?.exclusiveBytes).toBeLessThan((before?.exclusiveBytes ?? 0) + 2 * mib);
  });

  test('is the same after the volume has grown: the rest is empty', async () => {
    const { volume, model, backup, backedUp } = await scene();
    await cloud.volumes.extend(caller, volume.id, 2);
    await cloud.settledVolume(caller, volume.id);
    for (const path of [model, backedUp]) await truncate(path, 2048 * mib);
    await cloud.write(volume.id, model, [block(1500 * mib, mib)]);
    await restore({ backup }, volume.id);
    await cloud.compare(volume.id, backedUp);
    expect(lastRestore().comparedBytes).toBe(mib + 3 * chunkBytes);
  });
});

describe('a restore to another volume', () => {
  test('compares all of it, and fetches what differs', async () => {
    const { backup, backedUp } = await scene();
    const { volumeId } = await cloud.backups.restore(caller, backup.id, { volumeId: null, name: null });
    await cloud.settledVolume(caller, volumeId);
    // As if the database had forgotten where it came from.
    await sql().deleteFrom('point_roots').execute();
    const model = await cloud.copyModel(backedUp, `${volumeId}.raw`);
    await cloud.write(volumeId, model, [block(mib), block(300 * mib, mib)]);
    await restore({ backup }, volumeId);
    await cloud.compare(volumeId, backedUp);
    expect(lastRestore()).toMatchObject({ comparedBytes: 6 * mib, writtenBytes: chunkBytes });
  });

  test('leaves it as it was when the backup cannot be read, or when it is cancelled', async () => {
    const { volume, model, backup } = await scene();
    beforeRestore = () => Promise.reject(new Error('the mover is not there'));
    const failed = await restore({ backup }, volume.id);
    expect(failed.status).toBe('error_restoring');
    await cloud.compare(volume.id, model);
    await expectNothingLeft(volume.id);
    await cloud.volumes.resetStatus(admin, volume.id, { status: 'available', attachStatus: null });

    beforeRestore = async () => {
      await cloud.backups.resetStatus(admin, backup.id, 'available');
    };
    expect((await restore({ backup }, volume.id)).status).toBe('error');
    await cloud.compare(volume.id, model);
    await expectNothingLeft(volume.id);
  });

  test('does not take the disk away from whoever attached it meanwhile', async () => {
    const { volume, model, backup } = await scene();
    beforeRestore = async () => {
      await cloud.volumes.resetStatus(admin, volume.id, { status: 'available', attachStatus: null });
      const { socketPath, exportName } = await cloud.volumes.initializeConnection(caller, volume.id, { readOnly: false });
      await cloud.volumes.attach(caller, volume.id, { instanceId: null, hostName: 'host', mountpoint: '/dev/vdb', mode: 'rw' });
      await cloud.writeThrough(`nbd+unix:///${exportName}?socket=${socketPath}`, model, [block(40 * mib)]);
    };
    await cloud.backups.restore(caller, backup.id, { volumeId: volume.id, name: null });
    const after = await cloud.settledBackup(caller, backup.id);
    expect(after.failReason).toMatch(/is open|is attached/);
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('in-use');
    await cloud.volumes.detach(caller, volume.id, null);
    await cloud.compare(volume.id, model);
    await expectNothingLeft(volume.id);
  });
});

describe('journals that lie', () => {
  test('are caught by the audit: all is compared, it is reported, and they are not used again', async () => {
    const { volume, model, backup, backedUp } = await scene();
    await cloud.write(volume.id, model, [block(0, 4 * mib)]);
    const snapshot = await cloud.makeSnapshot(caller, volume.id);
    const { point_id: pointId } = await sql()
      .selectFrom('snapshots')
      .select('point_id')
      .where('id', '=', snapshot.id)
      .executeTakeFirstOrThrow();
    await cloud.disks.idle();
    await sql().updateTable('points').set({ journal: ExtentSet.empty.encode() }).where('id', '=', pointId).execute();
    await restore({ backup }, volume.id);
    await cloud.compare(volume.id, backedUp);
    expect(lastRestore().knownProblem).toMatch(/^the journals missed a change at \d+$/);
    const events = await createEvents({ database: cloud.held.database }).since(0, { projectId: caller.projectId ?? '', limit: 1000 });
    expect(events.filter(({ kind }) => kind === 'backup.audit_failed')).toMatchObject([
      { resourceId: volume.id, payload: { backupId: backup.id, wrong: 'changes', message: expect.stringMatching(/^a restore found/) } },
    ]);
    // What the restore wrote is known again.
    await cloud.write(volume.id, backedUp, [block(30 * mib)]);
    const increment = await cloud.backUp(caller, { volumeId: volume.id, incremental: true });
    expect(cloud.outcomes.at(-1)).toMatchObject({ readBytes: chunkBytes });
    const { volumeId } = await cloud.backups.restore(caller, increment.id, { volumeId: null, name: null });
    await cloud.settledVolume(caller, volumeId);
    await cloud.compare(volumeId, backedUp);
  });
});

describe('a volume whose disk is damaged', () => {
  /** A volume of several layers: a snapshot keeps them apart. */
  async function layered() {
    const made = await scene();
    await cloud.makeSnapshot(caller, made.volume.id);
    await cloud.write(made.volume.id, made.model, [block(50 * mib, mib)]);
    const layers = await layersOf(made.volume.id);
    const home = join(cloud.folder, 'volumes', made.volume.id);
    const pathOf = (layer: (typeof layers)[number] | undefined): string => join(home, `${layer?.id}.${layer?.format}`);
    const [bottom, top] = [layers.find((row) => row.parent_id === null), layers.find((row) => row.state === 'top')];
    return { ...made, home, bottom: pathOf(bottom), top: pathOf(top) };
  }

  test.each([
    ['has lost its top layer', 'top', (path: string) => rm(path)],
    ['has lost a lower layer', 'bottom', (path: string) => rm(path)],
    ['has a cut layer', 'bottom', (path: string) => truncate(path, 2 * mib)],
    ['has an empty layer', 'top', (path: string) => truncate(path, 0)],
  ] as const)('that %s gets a new one from the backup', async (_how, which, damage) => {
    const made = await layered();
    await damage(made[which]);
    const after = await restore(made, made.volume.id);
    expect(after.status).toBe('available');
    await cloud.compare(made.volume.id, made.backedUp);
    expect((await readdir(made.home)).filter((name) => name.endsWith('.raw'))).toHaveLength(1);
    // It is a whole disk again: it is written to, backed up, and restored onto.
    await cloud.write(made.volume.id, made.backedUp, [block(60 * mib)]);
    const next = await cloud.backUp(caller, { volumeId: made.volume.id, incremental: true });
    expect(cloud.outcomes.at(-1)).toMatchObject({ readBytes: chunkBytes });
    await restore({ backup: next }, made.volume.id);
    await cloud.compare(made.volume.id, made.backedUp);
    const holds = await sql().selectFrom('point_holds').select('holder').execute();
    expect(holds.filter(({ holder }) => holder.startsWith('restore:'))).toEqual([]);
  });
});
