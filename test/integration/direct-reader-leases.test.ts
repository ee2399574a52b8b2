import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskReader } from '../../src/engine/disk/contract.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { newId } from '../../src/lib/ids.ts';
import { dice } from '../support/dice.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, type Write } from '../support/disk-tree.ts';

/** Readers read tables and bytes of the files that they opened for as long as they live. Nothing may write to those meanwhile. */
let tree: DiskTree;
beforeAll(async () => {
  tree = await makeDiskTree();
});
afterAll(() => tree.stop());

/** A disk of several layers, each with writes of its own, and no point but the last one held. */
async function deepDisk(holder: string): Promise<{ volumeId: string; pointId: string; model: Buffer }> {
  const volumeId = await tree.volume();
  const random = dice(9);
  const model = Buffer.alloc(diskBytes);
  const points: string[] = [];
  for (let height = 0; height < 5; height += 1) {
    const writes = Array.from({ length: 12 }, (): Write => {
      const offset = random.below(diskBytes / 4096 - 64) * 4096;
      return { offset, length: (1 + random.below(64)) * 4096, pattern: random.below(256) };
    });
    await tree.write(volumeId, writes);
    applyTo(model, writes);
    points.push(await tree.freeze(volumeId));
  }
  const pointId = points.at(-1) ?? '';
  await tree.database.transact((tx) => tree.disks.hold(tx, pointId, holder));
  for (const point of points) await tree.release(point);
  return { volumeId, pointId, model };
}

const layersOf = async (pointId: string): Promise<readonly string[]> =>
  (await tree.disks.sourceOf(pointId)).layers.map((layer) => layer.path);

function expectToRead(reader: DiskReader, model: Buffer): void {
  const bytes = Buffer.alloc(reader.sizeBytes);
  for (let at = 0; at < bytes.length; at += mib) reader.readSync(bytes.subarray(at, at + mib), at);
  expect(bytes.equals(model)).toBe(true);
}

describe('a disk that is being read', () => {
  it.each(['backup:', 'restore:', 'reader:', 'something-new:'])('is not merged below a holder %s…', async (kind) => {
    const holder = `${kind}${newId()}`;
    const { volumeId, pointId, model } = await deepDisk(holder);
    const reader = openDisk(await tree.disks.sourceOf(pointId));
    const before = await layersOf(pointId);
    expect(before).toHaveLength(5);
    await tree.disks.tidy();
    // Nor by the server of the volume, which may merge what it has open.
    await tree.disks.openExport(volumeId, { readOnly: false });
    await tree.disks.tidy();
    await tree.disks.closeExport(volumeId);
    expect(await layersOf(pointId)).toEqual(before);
    expectToRead(reader, model);
    reader.close();
    await tree.release(pointId, holder);
    await tree.disks.tidy();
    expect((await tree.bytesOf(volumeId)).equals(model)).toBe(true);
    await tree.disks.dropDisk(volumeId);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(0);
  });

  it('is merged above the reader, who does not notice', async () => {
    const holder = 'reader:test';
    const { volumeId, pointId, model } = await deepDisk(holder);
    const reader = openDisk(await tree.disks.sourceOf(pointId));
    const now = Buffer.from(model);
    for (let i = 0; i < 4; i += 1) {
      const writes = [{ offset: i * mib, length: 2 * mib, pattern: 200 + i }];
      await tree.write(volumeId, writes);
      applyTo(now, writes);
      await tree.release(await tree.freeze(volumeId));
    }
    const layersBefore = await tree.layerCount();
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBeLessThan(layersBefore);
    expectToRead(reader, model);
    reader.close();
    expect((await tree.bytesOf(volumeId)).equals(now)).toBe(true);
    await tree.release(pointId, holder);
    await tree.disks.dropDisk(volumeId);
    await tree.disks.tidy();
  });

  it('is read right from the first byte by who comes while its layers merge', async () => {
    for (let round = 0; round < 4; round += 1) {
      const { volumeId, pointId, model } = await deepDisk('snapshot:test');
      const tidying = tree.disks.tidy();
      await tree.database.transact((tx) => tree.disks.hold(tx, pointId, 'reader:test'));
      const reader = openDisk(await tree.disks.sourceOf(pointId));
      expectToRead(reader, model);
      await tidying;
      expectToRead(reader, model);
      reader.close();
      await tree.release(pointId, 'reader:test');
      await tree.disks.dropDisk(volumeId);
      await tree.release(pointId);
      await tree.disks.tidy();
    }
  });

  it('stays readable when the volume and all its files go, once it is open', async () => {
    const holder = 'reader:test';
    const { volumeId, pointId, model } = await deepDisk(holder);
    const reader = openDisk(await tree.disks.sourceOf(pointId));
    await tree.release(pointId, holder);
    await tree.disks.dropDisk(volumeId);
    await tree.disks.tidy();
    expect(await tree.layerFiles()).toEqual([]);
    expectToRead(reader, model);
    reader.close();
  });
});
