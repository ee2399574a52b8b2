/** What happens to backups and restores when a disk is full: on a small file system of its own, which only root can make. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { DataMover } from '../../src/engine/transfer/contract.ts';
import { createDataMover } from '../../src/engine/transfer/data-mover-client.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type BackupCloud, backupOrder, callerOf, dataMoverEntry, startBackupCloud } from '../support/backup-cloud.ts';
import { mustRun } from '../support/clients.ts';

const mib = 1024 ** 2;
const isRoot = process.getuid?.() === 0;
const caller = callerOf('project');

let folder: string;
let small: string;
let cloud: BackupCloud | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sp-full-'));
  small = join(folder, 'small');
  await mkdir(small);
});
afterEach(async () => {
  await cloud?.stop();
  cloud = undefined;
  await mustRun('umount', ['-l', small]).catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
});

const mountSmall = (sizeMib: number) => mustRun('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', small]);

async function filledVolume(within: BackupCloud, dataMib: number) {
  const volume = await within.makeVolume(caller);
  const model = await within.makeModel(`${volume.id}.raw`);
  await within.write(volume.id, model, [{ offset: 0, bytes: randomBytes(dataMib * mib) }]);
  return { volume, model };
}

/** Files of the volume that no layer of its disk accounts for, once everything was cleared away. */
async function leftOver(within: BackupCloud, volumeId: string): Promise<string[]> {
  await within.disks.tidy();
  const layers = await within.held.database.sql.selectFrom('layers').selectAll().where('home', '=', volumeId).execute();
  expect(layers.map(({ state }) => state).sort()).toEqual(['frozen', 'top']);
  const names = layers.map(({ id, format }) => `${id}.${format}`);
  return (await readdir(join(small, 'volumes', volumeId))).filter((name) => !names.includes(name));
}

describe.runIf(isRoot)('a full disk', () => {
  test('under the repository ends a backup as error, frees the volume, and the next one works when there is room', async () => {
    await mountSmall(24);
    cloud = await startBackupCloud({ repositoryPath: join(small, 'repository') });
    const { volume, model } = await filledVolume(cloud, 32);
    const backup = await cloud.backups.create(caller, backupOrder({ volumeId: volume.id }));
    const failed = await cloud.settledBackup(caller, backup.id);
    expect(failed.status).toBe('error');
    expect(failed.failReason).toBe('No space left on the disk.');
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('available');
    await mustRun('mount', ['-o', 'remount,size=96m', small]);
    const again = await cloud.backUp(caller, { volumeId: volume.id });
    await cloud.backups.delete(caller, failed.id);
    const { volumeId } = await cloud.backups.restore(caller, again.id, { volumeId: null, name: null });
    expect((await cloud.settledVolume(caller, volumeId)).status).toBe('available');
    await cloud.compare(volumeId, model);
    const jobs = await cloud.jobs.find(failed.id);
    expect(jobs.map(({ kind, status }) => `${kind} ${status}`)).toContain('backup.discard done');
  });

  test('under the repository does not stop a deletion for ever', async () => {
    await mountSmall(64);
    cloud = await startBackupCloud({ repositoryPath: join(small, 'repository') });
    const { volume } = await filledVolume(cloud, 8);
    const backup = await cloud.backUp(caller, { volumeId: volume.id });
    await writeFile(join(small, 'filler'), Buffer.alloc(64 * mib)).catch(() => undefined);
    await cloud.backups.delete(caller, backup.id);
    const settled = await cloud.settledBackup(caller, backup.id).catch(() => undefined);
    if (settled !== undefined) {
      expect(settled.status).toBe('error');
      expect(settled.failReason).toBe('No space left on the disk.');
      await rm(join(small, 'filler'));
      await cloud.backups.delete(caller, backup.id);
      await cloud.gone(() => (cloud as BackupCloud).backups.get(caller, backup.id));
    }
  });

  test('under the volumes refuses a restore before its first byte, and the target keeps what it has', async () => {
    await mountSmall(96);
    cloud = await startBackupCloud({ volumesPath: join(small, 'volumes'), reserveBytes: 40 * mib });
    const { volume } = await filledVolume(cloud, 24);
    const target = await filledVolume(cloud, 12);
    const backup = await cloud.backUp(caller, { volumeId: volume.id });
    await cloud.backups.restore(caller, backup.id, { volumeId: target.volume.id, name: null });
    expect((await cloud.settledVolume(caller, target.volume.id)).status).toBe('error_restoring');
    const after = await cloud.settledBackup(caller, backup.id);
    expect(after).toMatchObject({
      status: 'available',
      // The data, and the tables of the overlay that it would go to.
      failReason: expect.stringMatching(/^Not enough space for the restore: 25 MiB are needed/),
    });
    await cloud.compare(target.volume.id, target.model);
    expect(await leftOver(cloud, target.volume.id)).toEqual([]);
  });

  test('with room for one of two restores lets one through, and the other when the first is gone', async () => {
    await mountSmall(96);
    cloud = await startBackupCloud({ volumesPath: join(small, 'volumes'), reserveBytes: 32 * mib });
    const { volume, model } = await filledVolume(cloud, 24);
    const backups = [await cloud.backUp(caller, { volumeId: volume.id }), await cloud.backUp(caller, { volumeId: volume.id })];
    const restores = await Promise.all(backups.map(({ id }) => cloud?.backups.restore(caller, id, { volumeId: null, name: null })));
    const volumes = await Promise.all(restores.map((restore) => (cloud as BackupCloud).settledVolume(caller, restore?.volumeId ?? '')));
    expect(volumes.map(({ status }) => status).sort()).toEqual(['available', 'error']);
    const [restored, refused] = volumes.toSorted((a, b) => (a.status < b.status ? -1 : 1));
    const { failReason } = await cloud.settledBackup(caller, restores.find((one) => one?.volumeId === refused?.id)?.backupId ?? '');
    expect(failReason).toMatch(/^Not enough space for the restore: 24 MiB are needed, \d+ MiB are free beside the 32 MiB kept back\.$/);
    await cloud.compare(restored?.id ?? '', model);
    expect((await statfs(small)).bavail * (await statfs(small)).bsize).toBeGreaterThanOrEqual(32 * mib);

    for (const { id } of volumes) await cloud.volumes.delete(caller, id, { cascade: false, force: false });
    await cloud.gone(() => (cloud as BackupCloud).volumes.get(caller, restored?.id ?? ''));
    await cloud.disks.tidy();
    const { volumeId } = await cloud.backups.restore(caller, backups[1]?.id ?? '', { volumeId: null, name: null });
    expect((await cloud.settledVolume(caller, volumeId)).status).toBe('available');
    await cloud.compare(volumeId, model);
  });

  test('has nothing reserved any more after a restore that failed, or was cancelled while it waited for its bytes', async () => {
    const space = createSpaceAccount({ keptBytes: 0 });
    const real = createDataMover({ entryPath: dataMoverEntry, log: silentLog });
    const reserved = async (): Promise<number> => (await space.figures(small)).reservedBytes;
    const seen: number[] = [];
    const stalled: Pick<DataMover, 'restore'> = {
      async restore(_order, { signal, admit }) {
        await admit?.(20 * mib);
        seen.push(await reserved());
        await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        throw new Error('unreachable');
      },
    };
    await mountSmall(96);
    cloud = await startBackupCloud({ volumesPath: join(small, 'volumes'), believedSpace: space, mover: { ...real, ...stalled } });
    const { volume } = await filledVolume(cloud, 4);
    const backup = await cloud.backUp(caller, { volumeId: volume.id });
    const { volumeId } = await cloud.backups.restore(caller, backup.id, { volumeId: null, name: null });
    await expect.poll(() => seen).toEqual([20 * mib]);
    await cloud.held.database.transact((tx) => (cloud as BackupCloud).jobs.requestCancel(tx, backup.id));
    expect((await cloud.settledVolume(caller, volumeId)).status).toBe('error');
    expect(await reserved()).toBe(0);
    await real.stop();
  });

  test('of a repository that is down to what is kept back refuses a backup before it freezes anything', async () => {
    await mountSmall(64);
    cloud = await startBackupCloud({ repositoryPath: join(small, 'repository'), reserveBytes: 40 * mib });
    const { volume } = await filledVolume(cloud, 4);
    await writeFile(join(small, 'filler'), Buffer.alloc(24 * mib));
    const backup = await cloud.backups.create(caller, backupOrder({ volumeId: volume.id }));
    const failed = await cloud.settledBackup(caller, backup.id);
    expect(failed).toMatchObject({
      status: 'error',
      failReason: expect.stringMatching(/^Not enough space for the backup: 1 MiB are needed/),
    });
    expect((await cloud.volumes.get(caller, volume.id)).status).toBe('available');
    const points = await cloud.held.database.sql.selectFrom('points').select('id').execute();
    expect(points).toEqual([]);
    await rm(join(small, 'filler'));
    await cloud.backUp(caller, { volumeId: volume.id });
  });

  test('in the middle of a restore leaves nothing behind, and the target keeps what it has', async () => {
    await mountSmall(64);
    const endless = { capacityBytes: 2 ** 40, freeBytes: 2 ** 40 };
    const believedSpace = createSpaceAccount({ keptBytes: 0, ask: async () => endless });
    cloud = await startBackupCloud({ volumesPath: join(small, 'volumes'), believedSpace });
    const { volume, model } = await filledVolume(cloud, 24);
    const target = await filledVolume(cloud, 12);
    const backup = await cloud.backUp(caller, { volumeId: volume.id });
    const filler = join(small, 'filler');
    await writeFile(filler, Buffer.alloc(12 * mib));
    await cloud.backups.restore(caller, backup.id, { volumeId: target.volume.id, name: null });
    expect((await cloud.settledVolume(caller, target.volume.id)).status).toBe('error_restoring');
    expect((await cloud.settledBackup(caller, backup.id)).failReason).toBe('No space left on the disk.');
    await cloud.compare(target.volume.id, target.model);
    expect(await leftOver(cloud, target.volume.id)).toEqual([]);
    await rm(filler);
    const { volumeId } = await cloud.backups.restore(caller, backup.id, { volumeId: null, name: null });
    expect((await cloud.settledVolume(caller, volumeId)).status).toBe('available');
    await cloud.compare(volumeId, model);
  });
});
