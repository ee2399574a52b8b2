/** Going back to any snapshot of a volume, with the bytes of all of them compared. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { writeThrough } from '../support/disk-tree.ts';
import { callerOf, startVolumeCloud, type VolumeCloud } from '../support/volume-cloud.ts';

const ada = callerOf('p');
const eve = callerOf('q');
const mib = 2 ** 20;

let cloud: VolumeCloud;
beforeAll(async () => {
  cloud = await startVolumeCloud();
});
afterAll(() => cloud.stop());

async function write(volumeId: string, pattern: number): Promise<void> {
  await writeThrough(await cloud.connect(ada, volumeId), [{ offset: pattern * mib, length: mib, pattern }]);
  await cloud.disconnect(ada, volumeId);
}

/** Which of the first ten MiB hold the pattern that `write` leaves there. */
async function patternsOf(pointId: string | null): Promise<number[]> {
  const disk = openDisk(await cloud.disks.sourceOf(pointId ?? ''));
  const found: number[] = [];
  for (let i = 0; i < 10; i += 1) {
    const bytes = Buffer.alloc(mib);
    disk.readSync(bytes, i * mib);
    if (i > 0 && bytes.equals(Buffer.alloc(mib, i))) found.push(i);
    else expect(bytes.equals(Buffer.alloc(mib))).toBe(true);
  }
  disk.close();
  return found;
}

/** What the volume holds now, seen through a snapshot that is made for it. */
async function patternsNow(volumeId: string): Promise<number[]> {
  const { id, pointId } = await cloud.snapshot(ada, volumeId);
  const found = await patternsOf(pointId);
  await cloud.snapshots.delete(ada, id);
  await cloud.gone(() => cloud.snapshots.get(ada, id));
  return found;
}

async function revert(volumeId: string, snapshotId: string): Promise<void> {
  await cloud.jobs.settled(await cloud.snapshots.revert(ada, { volumeId, snapshotId, latestOnly: false }));
  expect(await cloud.settledVolume(ada, volumeId)).toMatchObject({ status: 'available' });
  expect(await cloud.settledSnapshot(ada, snapshotId)).toMatchObject({ status: 'available' });
}

it('goes back to any snapshot, forth again, and on from there; every snapshot keeps its bytes', async () => {
  const { id } = await cloud.volume(ada);
  await write(id, 1);
  const first = await cloud.snapshot(ada, id);
  await write(id, 2);
  const second = await cloud.snapshot(ada, id);
  await write(id, 3);

  await revert(id, first.id);
  expect(await patternsNow(id)).toEqual([1]);
  await write(id, 4);
  const third = await cloud.snapshot(ada, id);
  await revert(id, second.id);
  expect(await patternsNow(id)).toEqual([1, 2]);
  await cloud.disks.tidy();
  expect(await patternsOf(first.pointId)).toEqual([1]);
  expect(await patternsOf(second.pointId)).toEqual([1, 2]);
  expect(await patternsOf(third.pointId)).toEqual([1, 4]);
  await revert(id, third.id);
  expect(await patternsNow(id)).toEqual([1, 4]);
});

it('frees what only the given-up content needed', async () => {
  const { id } = await cloud.volume(ada);
  const snapshot = await cloud.snapshot(ada, id);
  await write(id, 5);
  await cloud.disks.tidy();
  const layersOf = async () => await cloud.held.database.sql.selectFrom('layers').select('id').where('home', '=', id).execute();
  const before = await layersOf();
  await revert(id, snapshot.id);
  await cloud.disks.tidy();
  expect(await layersOf()).toHaveLength(before.length);
  expect(await patternsNow(id)).toEqual([]);
});

it('keeps the size of a volume that has grown since: the rest reads as zeroes', async () => {
  const { id } = await cloud.volume(ada);
  await write(id, 1);
  const snapshot = await cloud.snapshot(ada, id);
  await cloud.volumes.extend(ada, id, 2);
  await cloud.settledVolume(ada, id);
  await writeThrough(await cloud.connect(ada, id), [{ offset: 1024 * mib, length: mib, pattern: 7 }]);
  await cloud.disconnect(ada, id);
  await revert(id, snapshot.id);
  expect(await cloud.disks.sizeOf(id)).toBe(2048 * mib);
  const { pointId } = await cloud.snapshot(ada, id);
  const disk = openDisk(await cloud.disks.sourceOf(pointId ?? ''));
  const bytes = Buffer.alloc(mib, 1);
  disk.readSync(bytes, 1024 * mib);
  disk.close();
  expect(bytes.equals(Buffer.alloc(mib))).toBe(true);
  expect(await patternsOf(pointId)).toEqual([1]);
});

it('a snapshot that is deleted by force meanwhile cannot take the bytes away from the revert', async () => {
  const { id } = await cloud.volume(ada);
  await write(id, 1);
  const snapshot = await cloud.snapshot(ada, id);
  const job = await cloud.snapshots.revert(ada, { volumeId: id, snapshotId: snapshot.id, latestOnly: false });
  await cloud.snapshots.forceDelete(callerOf('p', ['admin']), snapshot.id);
  await cloud.jobs.settled(job);
  await cloud.gone(() => cloud.snapshots.get(ada, snapshot.id));
  expect(await cloud.settledVolume(ada, id)).toMatchObject({ status: 'available' });
  expect(await patternsNow(id)).toEqual([1]);
});

it('refuses what cannot be, and changes nothing', async () => {
  const { id } = await cloud.volume(ada);
  const other = await cloud.volume(ada);
  const [mine, foreign] = [await cloud.snapshot(ada, id), await cloud.snapshot(ada, other.id)];
  const ask = (volumeId: string, snapshotId: string, caller = ada) =>
    cloud.snapshots.revert(caller, { volumeId, snapshotId, latestOnly: false });
  await expect(ask(id, foreign.id)).rejects.toMatchObject({ kind: 'bad-request' });
  await expect(ask(id, mine.id, eve)).rejects.toMatchObject({ kind: 'not-found' });
  await expect(ask(id, 'nonsense')).rejects.toMatchObject({ kind: 'not-found' });
  await expect(ask(id, mine.id, callerOf('p', ['reader']))).rejects.toMatchObject({ kind: 'forbidden' });
  await cloud.connect(ada, id);
  await expect(ask(id, mine.id)).rejects.toMatchObject({ kind: 'conflict' });
  await cloud.disconnect(ada, id);
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'available' });
  expect(await cloud.snapshots.get(ada, mine.id)).toMatchObject({ status: 'available' });
});
