import { randomBytes } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Backup } from '../../src/cloud/backups/backup.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import type { Volume } from '../../src/cloud/volumes/service.ts';
import { newHexId, newId } from '../../src/lib/ids.ts';
import { type BackupCloud, type BlockOfBytes, backupOrder, callerOf, startBackupCloud } from '../support/backup-cloud.ts';

const mib = 1024 ** 2;

let cloud: BackupCloud;
let caller: Caller;
const admin = callerOf('operators', ['admin']);

beforeAll(async () => {
  cloud = await startBackupCloud();
});
afterAll(() => cloud.stop());
beforeEach(() => {
  caller = callerOf(newHexId());
});

const block = (offset: number, length = 64 * 1024): BlockOfBytes => ({ offset, bytes: randomBytes(length) });

/** A volume with some bytes in it, and the model of what it holds. */
async function filledVolume(sizeGib = 1): Promise<{ volume: Volume; model: string }> {
  const volume = await cloud.makeVolume(caller, sizeGib);
  const model = await cloud.makeModel(`${volume.id}.raw`, sizeGib);
  await cloud.write(volume.id, model, [block(0, 2 * mib), block(500 * mib, mib)]);
  return { volume, model };
}

const backUp = (volume: Volume, order: Partial<Parameters<typeof backupOrder>[0]> = {}): Promise<Backup> =>
  cloud.backUp(caller, { volumeId: volume.id, ...order });

const lastOutcome = () => {
  const outcome = cloud.outcomes.at(-1);
  if (outcome === undefined) throw new Error('no backup was made');
  return outcome;
};

async function restored(backup: Backup, volumeId: string | null = null): Promise<Volume> {
  const restore = await cloud.backups.restore(caller, backup.id, { volumeId, name: null });
  const volume = await cloud.settledVolume(caller, restore.volumeId);
  expect((await cloud.settledBackup(caller, backup.id)).status).toBe('available');
  return volume;
}

describe('a full backup', () => {
  test('comes back in a new volume, byte by byte, with what the volume was called', async () => {
    const { volume, model } = await filledVolume();
    await cloud.volumes.update(caller, volume.id, { name: 'disk-1', description: 'of ada', metadata: { tier: 'gold' } });
    await cloud.volumes.setBootable(caller, volume.id, true);
    const backup = await backUp(volume, { name: 'monday', metadata: { why: 'test' } });
    expect(backup).toMatchObject({ status: 'available', sizeGib: 1, parentId: null, container: 'default', metadata: { why: 'test' } });
    expect(backup.objectCount).toBeGreaterThan(0);
    expect(backup.dataTimestamp).toBe(backup.createdAt);
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('available');

    const copy = await restored(backup);
    await cloud.compare(copy.id, model);
    expect(copy).toMatchObject({ status: 'available', name: 'disk-1', description: 'of ada', bootable: true, sizeGib: 1 });
    expect(copy.metadata).toEqual({ tier: 'gold', src_backup_id: backup.id });
  });

  test('reads all that is allocated, and stores nothing twice', async () => {
    const { volume } = await filledVolume();
    await backUp(volume);
    await backUp(volume);
    expect(lastOutcome()).toMatchObject({ readBytes: 3 * mib, objectCount: 0 });
  });

  test('holds what the disk held at the request, whatever is written meanwhile', async () => {
    const { volume, model } = await filledVolume();
    const before = await cloud.copyModel(model, `${volume.id}.before.raw`);
    const backup = await backUp(volume);
    await cloud.write(volume.id, model, [block(0, mib)]);
    await cloud.compare((await restored(backup)).id, before);
    await cloud.compare(volume.id, model);
  });

  test('of an empty volume is an empty disk', async () => {
    const volume = await cloud.makeVolume(caller);
    const backup = await backUp(volume);
    expect(lastOutcome()).toMatchObject({ readBytes: 0, objectCount: 0 });
    await cloud.compare((await restored(backup)).id, await cloud.makeModel('empty.raw'));
  });
});

describe('an incremental backup', () => {
  test('reads only what changed', async () => {
    const { volume, model } = await filledVolume();
    const full = await backUp(volume);
    await cloud.write(volume.id, model, [block(500 * mib), block(900 * mib)]);
    const increment = await backUp(volume, { incremental: true });
    expect(lastOutcome().readBytes).toBe(128 * 1024);
    expect(increment).toMatchObject({ parentId: full.id });
    expect((await cloud.backups.get(caller, full.id)).dependentCount).toBe(1);
    await cloud.compare((await restored(increment)).id, model);
  });

  test('of an unchanged volume reads and stores nothing', async () => {
    const { volume } = await filledVolume();
    await backUp(volume);
    const unchanged = await backUp(volume, { incremental: true });
    expect(lastOutcome().readBytes).toBe(0);
    expect(unchanged.objectCount).toBe(0);
  });

  test('works for a volume that has grown', async () => {
    const { volume, model } = await filledVolume();
    await backUp(volume);
    await cloud.volumes.extend(caller, volume.id, 2);
    await cloud.settledVolume(caller, volume.id);
    const grown = await cloud.copyModel(model, `${volume.id}.grown.raw`);
    const file = await open(grown, 'r+');
    await file.truncate(2048 * mib);
    await file.close();
    await cloud.write(volume.id, grown, [block(1500 * mib)]);
    const increment = await backUp(volume, { incremental: true });
    expect(lastOutcome().readBytes).toBeLessThanOrEqual(128 * 1024);
    expect(increment.sizeGib).toBe(2);
    await cloud.compare((await restored(increment)).id, grown);
  });

  test('starts from the restored point after a restore', async () => {
    const { volume, model } = await filledVolume();
    const full = await backUp(volume);
    const copy = await restored(full);
    await backUp(copy);
    const copyModel = await cloud.copyModel(model, `${copy.id}.raw`);
    await cloud.write(copy.id, copyModel, [block(mib)]);
    const increment = await backUp(copy, { incremental: true });
    expect(lastOutcome().readBytes).toBe(64 * 1024);
    await cloud.compare((await restored(increment)).id, copyModel);
  });

  test('is refused where there is nothing to build on', async () => {
    const { volume } = await filledVolume();
    await expect(backUp(volume, { incremental: true })).rejects.toThrow(
      'Invalid backup: No backups available to do an incremental backup.',
    );
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('available');
    const other = callerOf(newHexId(), ['admin']);
    await backUp(volume);
    await expect(cloud.backUp(other, { volumeId: volume.id, incremental: true })).rejects.toThrow('No backups available');
  });

  test('chains of five are deleted from the end only, and every member restores', async () => {
    const { volume, model } = await filledVolume();
    const chain = [{ backup: await backUp(volume), model: await cloud.copyModel(model, `${volume.id}.0.raw`) }];
    for (const index of [1, 2, 3, 4]) {
      await cloud.write(volume.id, model, [block(index * 10 * mib)]);
      const backup = await backUp(volume, { incremental: true });
      chain.push({ backup, model: await cloud.copyModel(model, `${volume.id}.${index}.raw`) });
    }
    for (const member of chain) await cloud.compare((await restored(member.backup)).id, member.model);
    for (const { backup } of chain.slice(0, -1)) {
      await expect(cloud.backups.delete(caller, backup.id)).rejects.toThrow('Invalid backup: Incremental backups exist for this backup.');
    }
    for (const { backup } of chain.toReversed()) {
      await cloud.backups.delete(caller, backup.id);
      await cloud.gone(() => cloud.backups.get(caller, backup.id));
    }
  }, 60_000);

  test('two of two snapshots at once both succeed', async () => {
    const { volume, model } = await filledVolume();
    const full = await backUp(volume);
    const first = await cloud.makeSnapshot(caller, volume.id);
    const firstModel = await cloud.copyModel(model, `${volume.id}.first.raw`);
    await cloud.write(volume.id, model, [block(20 * mib)]);
    const second = await cloud.makeSnapshot(caller, volume.id);
    const [one, two] = await Promise.all([
      backUp(volume, { incremental: true, snapshotId: first.id }),
      backUp(volume, { incremental: true, snapshotId: second.id }),
    ]);
    expect([one.parentId, two.parentId]).toEqual([full.id, full.id]);
    expect(one.dataTimestamp).toBe(first.createdAt);
    await cloud.compare((await restored(one)).id, firstModel);
    await cloud.compare((await restored(two)).id, model);
    expect((await cloud.snapshots.get(caller, first.id)).status).toBe('available');
  });

  test('two of one volume at once: one is refused', async () => {
    const { volume } = await filledVolume();
    await backUp(volume);
    const both = await Promise.allSettled([backUp(volume, { incremental: true }), backUp(volume, { incremental: true })]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const refused = both.find((result) => result.status === 'rejected');
    expect(String(refused?.reason)).toContain('must be available or in-use, but the current status is "backing-up"');
  });
});

describe('a volume in use', () => {
  test('is backed up with force only, while its disk stays open', async () => {
    const { volume, model } = await filledVolume();
    const { socketPath, exportName } = await cloud.volumes.initializeConnection(caller, volume.id, { readOnly: false });
    await cloud.volumes.attach(caller, volume.id, { instanceId: null, hostName: 'host', mountpoint: '/dev/vdb', mode: 'rw' });
    const uri = `nbd+unix:///${exportName}?socket=${socketPath}`;
    await cloud.writeThrough(uri, model, [block(30 * mib)]);
    await expect(backUp(volume)).rejects.toThrow('Invalid volume: Backing up an in-use volume must use the force flag.');
    const full = await backUp(volume, { force: true });
    const fullModel = await cloud.copyModel(model, `${volume.id}.full.raw`);
    await cloud.writeThrough(uri, model, [block(40 * mib)]);
    const increment = await backUp(volume, { force: true, incremental: true });
    expect(lastOutcome().readBytes).toBe(64 * 1024);
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('in-use');
    await expect(cloud.backups.restore(caller, full.id, { volumeId: volume.id, name: null })).rejects.toThrow(
      'Invalid volume: Volume to be restored to must be available',
    );
    await cloud.volumes.detach(caller, volume.id, null);
    await cloud.compare((await restored(full)).id, fullModel);
    await cloud.compare((await restored(increment)).id, model);
  });
});

describe('a restore to an existing volume', () => {
  test('replaces its content and keeps its own name', async () => {
    const { volume, model } = await filledVolume();
    const backup = await backUp(volume);
    const target = await filledVolume();
    await cloud.volumes.update(caller, target.volume.id, { name: 'mine', description: 'own words', metadata: { old: 'yes' } });
    const after = await restored(backup, target.volume.id);
    await cloud.compare(target.volume.id, model);
    expect(after).toMatchObject({ name: 'mine', description: 'own words', metadata: { src_backup_id: backup.id } });
  });

  test('brings the source back to what it was, and its snapshots stay', async () => {
    const { volume, model } = await filledVolume();
    const backup = await backUp(volume);
    const original = await cloud.copyModel(model, `${volume.id}.original.raw`);
    await cloud.write(volume.id, model, [block(0, mib)]);
    const snapshot = await cloud.makeSnapshot(caller, volume.id);
    const after = await restored(backup, volume.id);
    expect(after.metadata).toEqual({});
    await cloud.compare(volume.id, original);
    const ofSnapshot = await backUp(volume, { snapshotId: snapshot.id });
    await cloud.compare((await restored(ofSnapshot)).id, model);
  });

  test('leaves the rest of a larger volume empty, and refuses a smaller one', async () => {
    const { volume, model } = await filledVolume();
    const backup = await backUp(volume);
    const larger = await filledVolume(2);
    await restored(backup, larger.volume.id);
    const file = await open(model, 'r+');
    await file.truncate(2048 * mib);
    await file.close();
    await cloud.compare(larger.volume.id, model);
    const ofLarger = await backUp(larger.volume);
    await expect(cloud.backups.restore(caller, ofLarger.id, { volumeId: volume.id, name: null })).rejects.toThrow(
      'Invalid volume: volume size 1 is too small to restore backup of size 2.',
    );
    expect((await cloud.backups.get(caller, ofLarger.id)).status).toBe('available');
  });
});

describe('what is damaged', () => {
  test('a corrupted pack fails the restore, names the range, and harms nothing', async () => {
    const { volume, model } = await filledVolume();
    const backup = await backUp(volume);
    const target = await filledVolume();
    const damage = await damagePacks(join(cloud.repositoryPath, 'p'), String(backup.session));
    const restore = await cloud.backups.restore(caller, backup.id, { volumeId: target.volume.id, name: null });
    expect((await cloud.settledVolume(caller, restore.volumeId)).status).toBe('error_restoring');
    const after = await cloud.settledBackup(caller, backup.id);
    expect(after.status).toBe('available');
    expect(after.failReason).toMatch(/^Stored data is corrupted: disk bytes \d+-\d+/);
    await cloud.compare(target.volume.id, target.model);

    const fresh = await cloud.backups.restore(caller, backup.id, { volumeId: null, name: null });
    expect((await cloud.settledVolume(caller, fresh.volumeId)).status).toBe('error');
    await damage.repair();
    const whole = await restored(backup);
    await cloud.compare(whole.id, model);
    expect((await cloud.backups.get(caller, backup.id)).failReason).toBeNull();
  });
});

/** Turns one byte in the middle of each pack of a session. */
async function damagePacks(folder: string, session: string): Promise<{ repair(): Promise<void> }> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.includes(session));
  if (names.length === 0) throw new Error('there is no pack to damage');
  const turn = async (): Promise<void> => {
    for (const name of names) {
      const file = await open(join(folder, name), 'r+');
      const { size } = await file.stat();
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, Math.floor(size / 2));
      byte[0] = (byte[0] ?? 0) ^ 0xff;
      await file.write(byte, 0, 1, Math.floor(size / 2));
      await file.close();
    }
  };
  await turn();
  return { repair: turn };
}

describe('ending early', () => {
  test('deletion by force cancels a creation: the row goes and the volume is what it was', async () => {
    const { volume, model } = await filledVolume();
    const backup = await cloud.backups.create(caller, backupOrder({ volumeId: volume.id }));
    await cloud.backups.forceDelete(admin, backup.id);
    await cloud.gone(() => cloud.backups.get(caller, backup.id));
    expect((await cloud.settledVolume(caller, volume.id)).status).toBe('available');
    await cloud.compare(volume.id, model);
    await backUp(volume);
  });

  test('resetting the state of a restoring backup ends the restore', async () => {
    const { volume } = await filledVolume();
    const backup = await backUp(volume);
    const target = await filledVolume();
    await cloud.backups.restore(caller, backup.id, { volumeId: target.volume.id, name: null });
    await cloud.backups.resetStatus(admin, backup.id, 'error');
    const after = await cloud.settledVolume(caller, target.volume.id);
    expect(['error', 'available']).toContain(after.status);
    expect((await cloud.backups.get(caller, backup.id)).status).toBe('error');
    if (after.status === 'error') await cloud.compare(target.volume.id, target.model);
    await cloud.backups.resetStatus(admin, backup.id, 'available');
    await restored(backup);
  });

  test('a backup that never was is not reset to available', async () => {
    const { volume } = await filledVolume();
    const backup = await cloud.backups.create(caller, backupOrder({ volumeId: volume.id, availabilityZone: 'elsewhere' }));
    const failed = await cloud.settledBackup(caller, backup.id);
    expect(failed).toMatchObject({ status: 'error', failReason: 'Service not found for creating backup.' });
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('available');
    await cloud.backups.resetStatus(admin, backup.id, 'available');
    expect((await cloud.backups.get(caller, backup.id)).status).toBe('error');
    await cloud.backups.delete(caller, backup.id);
    await cloud.gone(() => cloud.backups.get(caller, backup.id));
  });
});

describe('refusals', () => {
  test('unknown and foreign things do not exist', async () => {
    const { volume } = await filledVolume();
    const backup = await backUp(volume);
    const stranger = callerOf(newHexId());
    const nobody = newId();
    await expect(cloud.backups.get(stranger, backup.id)).rejects.toThrow(`Backup ${backup.id} could not be found.`);
    await expect(cloud.backups.delete(stranger, backup.id)).rejects.toThrow('could not be found');
    await expect(cloud.backups.get(caller, 'monday')).rejects.toThrow('Backup monday could not be found.');
    await expect(cloud.backUp(stranger, { volumeId: volume.id })).rejects.toThrow(`Volume ${volume.id} could not be found.`);
    await expect(backUp(volume, { snapshotId: nobody })).rejects.toThrow(`Snapshot ${nobody} could not be found.`);
    await expect(cloud.backups.restore(caller, backup.id, { volumeId: nobody, name: null })).rejects.toThrow(
      `Volume ${nobody} could not be found.`,
    );
    await expect(cloud.backups.resetStatus(caller, backup.id, 'error')).rejects.toMatchObject({ kind: 'forbidden' });
    await expect(cloud.backups.forceDelete(caller, backup.id)).rejects.toMatchObject({ kind: 'forbidden' });
  });

  test('quotas hold under concurrency, and a failed request leaves the volume alone', async () => {
    const volumes = await Promise.all([cloud.makeVolume(caller), cloud.makeVolume(caller), cloud.makeVolume(caller)]);
    await cloud.quotas.setLimits(admin, String(caller.projectId), { backups: 2 });
    const all = await Promise.allSettled(volumes.map((volume) => backUp(volume)));
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    const refused = all.find((result) => result.status === 'rejected');
    expect(refused?.reason).toMatchObject({ kind: 'over-limit' });
    expect(String(refused?.reason)).toContain('BackupLimitExceeded: Maximum number of backups allowed (2) exceeded');
    for (const { id } of volumes) expect((await cloud.volumes.get(caller, id)).status).toBe('available');
  });

  test('a restore to a new volume needs quota for it', async () => {
    const { volume } = await filledVolume();
    const backup = await backUp(volume);
    await cloud.quotas.setLimits(admin, String(caller.projectId), { volumes: 1 });
    await expect(cloud.backups.restore(caller, backup.id, { volumeId: null, name: null })).rejects.toMatchObject({ kind: 'over-limit' });
    expect((await cloud.backups.get(caller, backup.id)).status).toBe('available');
  });

  test('a backup that is not available is neither restored nor deleted', async () => {
    const { volume } = await filledVolume();
    const backup = await cloud.backups.create(caller, backupOrder({ volumeId: volume.id }));
    await expect(cloud.backups.delete(caller, backup.id)).rejects.toThrow('Invalid backup: Backup status must be available or error');
    await expect(cloud.backups.restore(caller, backup.id, { volumeId: null, name: null })).rejects.toThrow(
      'Invalid backup: Backup status must be available',
    );
    await cloud.settledBackup(caller, backup.id);
  });
});

describe('lists', () => {
  test('are paged, sorted, filtered and counted', async () => {
    const volume = await cloud.makeVolume(caller);
    for (const name of ['b', 'a', null]) await backUp(volume, { name });
    const base = { allProjects: false, filters: [], marker: undefined, limit: 1000, offset: 0, withCount: true };
    const byName = [
      { column: 'name', direction: 'asc' },
      { column: 'id', direction: 'asc' },
    ] as const;
    const names = async (order: object) =>
      (await cloud.backups.list(caller, { ...base, sort: byName, ...order })).backups.map(({ name }) => name);
    expect(await names({})).toEqual([null, 'a', 'b']);
    const seen: (string | null)[] = [];
    let marker: string | undefined;
    for (;;) {
      const { backups, count } = await cloud.backups.list(caller, { ...base, sort: byName, limit: 1, marker });
      expect(count).toBe(3);
      const [only] = backups;
      if (only === undefined) break;
      seen.push(only.name);
      marker = only.id;
    }
    expect(seen).toEqual([null, 'a', 'b']);
    expect(await names({ filters: [{ column: 'name', comparison: 'eq', value: 'a' }] })).toEqual(['a']);
    expect(await names({ filters: [{ column: 'volume_id', comparison: 'eq', value: 'no-uuid' }] })).toEqual([]);
    expect(await names({ limit: 0 })).toEqual([]);
    await expect(names({ marker: newId() })).rejects.toMatchObject({ kind: 'not-found' });
    const stranger = callerOf(newHexId());
    expect((await cloud.backups.list(stranger, { ...base, sort: byName })).count).toBe(0);
    expect((await cloud.backups.list(stranger, { ...base, allProjects: true, sort: byName })).count).toBe(0);
    expect((await cloud.backups.list(admin, { ...base, allProjects: true, sort: byName })).count).toBeGreaterThanOrEqual(3);
  });
});
