import { closeSync, openSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskSource, LayerTarget } from '../../src/engine/disk/contract.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { FilledQcow2 } from '../../src/engine/disk/write-qcow2-filled.ts';
import { newId } from '../../src/lib/ids.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, type Write } from '../support/disk-tree.ts';

let tree: DiskTree;
beforeAll(async () => {
  tree = await makeDiskTree();
});
afterAll(() => tree.stop());

const holder = 'restore:test';
const where = { repositoryId: newId(), domain: 'project' };
const write = (offset: number, length: number, pattern: number): Write => ({ offset, length, pattern });

/** A volume with a point below what it holds now. */
async function scene(writes: readonly Write[] = [write(0, 4 * mib, 1), write(8 * mib, mib, 2)]) {
  const volumeId = await tree.volume();
  const model = Buffer.alloc(diskBytes);
  await tree.write(volumeId, writes);
  applyTo(model, writes);
  const belowPointId = await tree.freeze(volumeId, holder);
  const plan = { layerId: newId(), pointId: newId(), belowPointId, home: volumeId, sizeBytes: diskBytes, holder };
  return { volumeId, model, plan };
}

/** What a restore does: data and zeroes into an overlay, a MiB each. */
async function fill(target: LayerTarget, pieces: readonly Write[]): Promise<ExtentSet> {
  const { path, sizeBytes, backing } = target;
  const overlay = await FilledQcow2.create(path, { sizeBytes, backing });
  const fd = openSync(path, 'r+');
  for (const { offset, length, pattern } of pieces) {
    if (pattern === 0) await overlay.addZeroes(offset, length / 65_536);
    else writeSync(fd, Buffer.alloc(length, pattern), 0, length, await overlay.addData(offset, length / 65_536));
  }
  closeSync(fd);
  await overlay.finish();
  return ExtentSet.of(pieces.map(({ offset, length }) => [offset, offset + length]));
}

const pieces = [write(mib, mib, 7), write(2 * mib, mib, 0), write(12 * mib, mib, 8)];

const rowOf = (layerId: string) => tree.database.sql.selectFrom('layers').selectAll().where('id', '=', layerId).executeTakeFirst();

describe('an overlay that somebody else writes', () => {
  it('stands on a held point, whose bytes the writer is given, and becomes a point of its own', async () => {
    const { volumeId, model, plan } = await scene();
    let seen = Buffer.alloc(0);
    await tree.disks.createOverlay(plan, async (target, source: DiskSource) => {
      const disk = openDisk(source);
      seen = Buffer.alloc(disk.sizeBytes);
      disk.readSync(seen, 0);
      disk.close();
      return await fill(target, pieces);
    });
    expect(seen.equals(model)).toBe(true);
    const restored = Buffer.from(model);
    applyTo(restored, pieces);
    expect((await tree.bytesOfPoint(plan.pointId)).equals(restored)).toBe(true);
    expect((await tree.bytesOf(volumeId)).equals(model)).toBe(true);

    await tree.disks.replaceDisk(volumeId, { fromPointId: plan.pointId, topLayerId: newId(), sizeBytes: diskBytes });
    for (const pointId of [plan.pointId, plan.belowPointId]) await tree.release(pointId, holder);
    await tree.disks.tidy();
    expect((await tree.bytesOf(volumeId)).equals(restored)).toBe(true);
  });

  it('is on the way between points: what was written is what changed', async () => {
    const { volumeId, plan } = await scene();
    await tree.disks.createOverlay(plan, (target) => fill(target, pieces));
    await tree.database.transact((tx) =>
      tree.disks.recordRoot(tx, plan.belowPointId, { ...where, session: 'a'.repeat(32), root: 'b'.repeat(32) }),
    );
    const since = await tree.disks.changesSince(plan.pointId, where);
    expect([...(since?.changed.ranges() ?? [])]).toEqual([
      [mib, 3 * mib],
      [12 * mib, 13 * mib],
    ]);
    await tree.disks.dropDisk(volumeId);
    for (const pointId of [plan.pointId, plan.belowPointId]) await tree.release(pointId, holder);
  });

  it('lies on top of the bytes below in the end: once nobody names them, they are merged and their room comes back', async () => {
    const { volumeId, plan } = await scene([write(0, 8 * mib, 1)]);
    const all = [write(0, 8 * mib, 9)];
    await tree.disks.createOverlay(plan, (target) => fill(target, all));
    await tree.disks.replaceDisk(volumeId, { fromPointId: plan.pointId, topLayerId: newId(), sizeBytes: diskBytes });
    for (const pointId of [plan.pointId, plan.belowPointId]) await tree.release(pointId, holder);
    await tree.disks.tidy();
    const model = Buffer.alloc(diskBytes);
    applyTo(model, all);
    expect((await tree.bytesOf(volumeId)).equals(model)).toBe(true);
    const layers = await tree.database.sql.selectFrom('layers').selectAll().where('home', '=', volumeId).execute();
    const taken = await Promise.all(
      layers.map((row) => tree.backend.allocatedBytes({ id: row.id, home: row.home, format: row.format, sizeBytes: row.size_bytes })),
    );
    expect(taken.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(10 * mib);
  });

  it('is not cleared away while it is being written, however long that takes, and is once it is given up', async () => {
    const { volumeId, model, plan } = await scene();
    const failed = tree.disks.createOverlay(plan, async (target) => {
      await writeFile(target.path, 'unfinished');
      await tree.disks.tidy();
      expect(await rowOf(plan.layerId)).toMatchObject({ state: 'planned' });
      throw new Error('the repository does not answer');
    });
    await expect(failed).rejects.toThrow('does not answer');
    await tree.disks.tidy();
    expect(await rowOf(plan.layerId)).toMatchObject({ state: 'planned' });
    await tree.release(plan.pointId, holder);
    await tree.disks.tidy();
    expect(await rowOf(plan.layerId)).toBeUndefined();
    expect((await tree.layerFiles()).filter((path) => path.includes(plan.layerId))).toEqual([]);
    expect((await tree.bytesOf(volumeId)).equals(model)).toBe(true);
    await tree.release(plan.belowPointId, holder);
  });

  it('is written once, and again only after a failure', async () => {
    const { plan } = await scene();
    let times = 0;
    const counted = async (target: LayerTarget): Promise<ExtentSet> => {
      times += 1;
      if (times === 1) throw new Error('first');
      return await fill(target, pieces);
    };
    await expect(tree.disks.createOverlay(plan, counted)).rejects.toThrow('first');
    await tree.disks.createOverlay(plan, counted);
    await tree.disks.createOverlay(plan, counted);
    expect(times).toBe(2);
  });

  it.each([
    ['before it is cleared away', async () => undefined],
    ['and it was cleared away under its writer', () => tree.disks.tidy()],
  ])('is refused when the hold on its point was given up meanwhile, %s', async (_when, meanwhile) => {
    const { plan } = await scene();
    const written = tree.disks.createOverlay(plan, async (target) => {
      const changed = await fill(target, pieces);
      await tree.release(plan.pointId, holder);
      await meanwhile();
      return changed;
    });
    await expect(written).rejects.toThrow('was given up while it was written');
  });

  it.each([
    ['an unfinished file', (target: LayerTarget) => writeFile(target.path, Buffer.alloc(200_000))],
    ['another size', (target: LayerTarget) => fill({ ...target, sizeBytes: 2 * diskBytes }, pieces)],
    ['another layer below', (target: LayerTarget) => fill({ ...target, backing: { name: '../x/y.qcow2', format: 'qcow2' } }, pieces)],
    ['no layer below', ({ backing: _, ...target }: LayerTarget) => fill(target, pieces)],
    ['less than was said', (target: LayerTarget) => fill(target, pieces.slice(1))],
    ['more than was said', (target: LayerTarget) => fill(target, [...pieces, write(14 * mib, mib, 1)])],
  ])('is refused when its writer left %s', async (_what, leave) => {
    const { plan } = await scene();
    const written = ExtentSet.of(pieces.map(({ offset, length }) => [offset, offset + length]));
    const lying = tree.disks.createOverlay(plan, async (target) => {
      await leave(target);
      return written;
    });
    await expect(lying).rejects.toMatchObject({ name: 'VolumeBackendError', kind: 'mismatch' });
    await expect(tree.bytesOfPoint(plan.pointId)).rejects.toThrow('are not there');
  });
});

describe('a volume that is attached', () => {
  it('keeps its disk, also when nobody serves it', async () => {
    const { volumeId, model, plan } = await scene();
    await tree.disks.createOverlay(plan, (target) => fill(target, pieces));
    await tree.database.sql.insertInto('volume_attachments').values({ id: newId(), volume_id: volumeId, project_id: 'p' }).execute();
    const swap = tree.disks.replaceDisk(volumeId, { fromPointId: plan.pointId, topLayerId: newId(), sizeBytes: diskBytes });
    await expect(swap).rejects.toThrow('is attached');
    expect((await tree.bytesOf(volumeId)).equals(model)).toBe(true);
  });
});
