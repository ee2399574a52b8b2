import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { newId } from '../../src/lib/ids.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, testHolder, type Write, writeThrough } from '../support/disk-tree.ts';

let tree: DiskTree;
beforeAll(async () => {
  tree = await makeDiskTree();
});
afterAll(() => tree.stop());

const write = (offset: number, length: number, pattern: number): Write => ({ offset, length, pattern });
const repository = { repositoryId: newId(), domain: 'p' };
const know = (pointId: string, session: string) =>
  tree.database.transact((tx) => tree.disks.recordRoot(tx, pointId, { ...repository, session, root: `root-of-${session}` }));
const since = (pointId: string) => tree.disks.changesSince(pointId, repository);
const sessionOf = async (pointId: string) => (await since(pointId))?.session;

/** A disk with a model beside it. */
async function makeVolume(fromPointId: string | null = null, model = Buffer.alloc(diskBytes)) {
  const id = await tree.volume(fromPointId);
  const put = async (...writes: Write[]) => {
    await tree.write(id, writes);
    applyTo(model, writes);
  };
  return { id, model, put, freeze: () => tree.freeze(id) };
}

const same = (actual: Buffer, wanted: Buffer): void => {
  expect(actual.length).toBe(wanted.length);
  expect(actual.equals(wanted)).toBe(true);
};

describe('points', () => {
  it('keep what the disk held while the disk goes on', async () => {
    const volume = await makeVolume();
    await volume.put(write(0, mib, 1), write(5 * mib, 64 * 1024, 2));
    const then = Buffer.from(volume.model);
    const point = await volume.freeze();
    await volume.put(write(0, mib / 2, 3), write(9 * mib, mib, 0));
    same(await tree.bytesOfPoint(point), then);
    same(await tree.bytesOf(volume.id), volume.model);
  });

  it('are made of a disk that a client is writing to, without the client noticing', async () => {
    const volume = await makeVolume();
    const { socketPath } = await tree.disks.openExport(volume.id, { readOnly: false });
    await writeThrough(socketPath, [write(0, mib, 1)]);
    const first = await volume.freeze();
    await writeThrough(socketPath, [write(0, mib, 2)]);
    const second = await volume.freeze();
    await writeThrough(socketPath, [write(0, mib, 3)]);
    await tree.disks.closeExport(volume.id);
    expect((await tree.bytesOfPoint(first))[0]).toBe(1);
    expect((await tree.bytesOfPoint(second))[0]).toBe(2);
    expect((await tree.bytesOf(volume.id))[0]).toBe(3);
  });

  it('of several disks are of one moment, or are refused', async () => {
    const [first, second] = [await makeVolume(), await makeVolume()];
    const plan = (volume: { id: string }) => ({ volumeId: volume.id, pointId: newId(), topLayerId: newId(), holder: testHolder });
    const together = [plan(first), plan(second)];
    await tree.disks.freezeTogether(together);
    // As after a crash at the very end.
    await tree.disks.freezeTogether(together);
    // As after a crash in the middle.
    const [half, other] = [plan(first), plan(second)];
    const { volumeId, ...alone } = half;
    await tree.disks.freeze(volumeId, alone);
    await expect(tree.disks.freezeTogether([half, other])).rejects.toThrow('different moments');
  });

  it('hold everything a client had flushed before the freeze, and nothing it wrote after it', async () => {
    const volume = await makeVolume();
    const { socketPath } = await tree.disks.openExport(volume.id, { readOnly: false });
    const points: string[] = [];
    for (let round = 1; round <= 10; round += 1) {
      // Each round overwrites all 16 places with its number: a mixed point would hold two numbers.
      await writeThrough(
        socketPath,
        Array.from({ length: 16 }, (_, place) => write(place * mib, 4096, round)),
      );
      points.push(await volume.freeze());
    }
    await tree.disks.closeExport(volume.id);
    for (const [index, point] of points.entries()) {
      const bytes = await tree.bytesOfPoint(point);
      expect(Array.from({ length: 16 }, (_, place) => bytes[place * mib])).toEqual(Array(16).fill(index + 1));
    }
  });

  it('are made once, however often the freeze is repeated', async () => {
    const volume = await makeVolume();
    const plan = { pointId: newId(), topLayerId: newId(), holder: testHolder };
    await tree.disks.freeze(volume.id, plan);
    await volume.put(write(0, 4096, 9));
    await tree.disks.freeze(volume.id, plan);
    same(await tree.bytesOf(volume.id), volume.model);
    expect((await tree.bytesOfPoint(plan.pointId))[0]).toBe(0);
  });

  it('of one volume never overlap when asked for at once', async () => {
    const volume = await makeVolume();
    const points = await Promise.all(Array.from({ length: 8 }, () => volume.freeze()));
    const rows = await tree.database.sql.selectFrom('points').select(['id', 'parent_id']).where('id', 'in', points).execute();
    // A chain: every parent but the first is one of the others, and none is parent of two.
    expect(new Set(rows.map((row) => row.parent_id)).size).toBe(8);
  });

  it('are not readable once nobody holds them', async () => {
    const volume = await makeVolume();
    const point = await volume.freeze();
    await tree.release(point);
    await expect(tree.disks.sourceOf(point)).rejects.toThrow('nobody holds');
  });
});

describe('clones', () => {
  it('start from a point and go their own way, in chains', async () => {
    const first = await makeVolume();
    await first.put(write(0, mib, 1));
    const point = await first.freeze();
    const second = await makeVolume(point, Buffer.from(first.model));
    await second.put(write(mib, mib, 2));
    const third = await makeVolume(await second.freeze(), Buffer.from(second.model));
    await third.put(write(0, 4096, 3));
    await first.put(write(0, 4096, 4));
    for (const volume of [first, second, third]) same(await tree.bytesOf(volume.id), volume.model);
  });

  it('may be larger: what is beyond the point reads as zeroes', async () => {
    const small = await makeVolume();
    await small.put(write(0, 4096, 1));
    const point = await small.freeze();
    const large = await tree.volume(point, 2 * diskBytes);
    same(await tree.bytesOf(large), Buffer.concat([small.model, Buffer.alloc(diskBytes)]));
  });
});

describe('growing', () => {
  it('keeps what was there, and adds zeroes', async () => {
    const volume = await makeVolume();
    await volume.put(write(diskBytes - 4096, 4096, 1));
    const point = await volume.freeze();
    await tree.disks.resize(volume.id, 2 * diskBytes);
    await tree.disks.resize(volume.id, 2 * diskBytes);
    same(await tree.bytesOf(volume.id), Buffer.concat([volume.model, Buffer.alloc(diskBytes)]));
    expect((await tree.bytesOfPoint(point)).length).toBe(diskBytes);
    expect(await tree.disks.sizeOf(volume.id)).toBe(2 * diskBytes);
  });
});

describe('changes since a known root', () => {
  it('are exactly what was written since, data and zeroes alike', async () => {
    const volume = await makeVolume();
    await volume.put(write(0, 4 * mib, 1));
    await know(await volume.freeze(), 'one');
    await volume.put(write(mib, 64 * 1024, 2), write(3 * mib, 128 * 1024, 0));
    await volume.put(write(8 * mib, 64 * 1024, 4));
    await volume.freeze();
    await volume.put(write(10 * mib, 64 * 1024, 5));
    const changes = await since(await volume.freeze());
    expect(changes).toMatchObject({ session: 'one', root: 'root-of-one' });
    const wanted = ExtentSet.of([
      [mib, mib + 64 * 1024],
      [3 * mib, 3 * mib + 128 * 1024],
      [8 * mib, 8 * mib + 64 * 1024],
      [10 * mib, 10 * mib + 64 * 1024],
    ]);
    expect([...(changes?.changed ?? ExtentSet.empty).ranges()]).toEqual([...wanted.ranges()]);
  });

  it('are found over both sides of the tree, without what the common ancestor changed', async () => {
    const left = await makeVolume();
    await left.put(write(0, 64 * 1024, 1));
    const common = await left.freeze();
    const right = await makeVolume(common, Buffer.from(left.model));
    await left.put(write(mib, 64 * 1024, 2));
    await know(await left.freeze(), 'left');
    await right.put(write(2 * mib, 64 * 1024, 3));
    const changes = await since(await right.freeze());
    expect(changes?.session).toBe('left');
    expect([...(changes?.changed ?? ExtentSet.empty).ranges()]).toEqual([
      [mib, mib + 64 * 1024],
      [2 * mib, 2 * mib + 64 * 1024],
    ]);
  });

  it('start from the nearest root, and not from one whose backup is gone', async () => {
    const volume = await makeVolume();
    await know(await volume.freeze(), 'old');
    await know(await volume.freeze(), 'new');
    const point = await volume.freeze();
    expect(await sessionOf(point)).toBe('new');
    await tree.database.transact((tx) => tree.disks.forgetSession(tx, 'new'));
    expect(await sessionOf(point)).toBe('old');
    await tree.database.transact((tx) => tree.disks.forgetSession(tx, 'old'));
    expect(await since(point)).toBeUndefined();
  });

  it('do not mix repositories or domains', async () => {
    const volume = await makeVolume();
    const point = await volume.freeze();
    await know(point, 'mine');
    expect(await tree.disks.changesSince(point, { ...repository, domain: 'other' })).toBeUndefined();
    expect(await tree.disks.changesSince(point, { ...repository, repositoryId: newId() })).toBeUndefined();
  });

  it('are not known across a journal that is lost', async () => {
    const volume = await makeVolume();
    await know(await volume.freeze(), 'before');
    const lost = await volume.freeze();
    await volume.freeze();
    const last = await volume.freeze();
    await tree.disks.idle();
    await tree.database.sql.updateTable('points').set({ journal: null, layer_id: null }).where('id', '=', lost).execute();
    expect(await since(last)).toBeUndefined();
  });

  it('outlive the layers that they are about, for layers merge and journals stay', async () => {
    const volume = await makeVolume();
    await volume.put(write(0, mib, 1));
    const first = await volume.freeze();
    await know(first, 'first');
    await volume.put(write(4 * mib, 64 * 1024, 2));
    const second = await volume.freeze();
    await volume.put(write(6 * mib, 64 * 1024, 3));
    const third = await volume.freeze();
    await tree.release(first);
    await tree.release(second);
    await tree.disks.tidy();
    const changes = await since(third);
    expect(changes?.session).toBe('first');
    expect([...(changes?.changed ?? ExtentSet.empty).ranges()]).toEqual([
      [4 * mib, 4 * mib + 64 * 1024],
      [6 * mib, 6 * mib + 64 * 1024],
    ]);
  });
});

describe('tidying', () => {
  it('merges what no point names any more, keeps every byte, and frees the space', async () => {
    const own = await makeDiskTree();
    try {
      const id = await own.volume();
      const model = Buffer.alloc(diskBytes);
      const points: string[] = [];
      for (let round = 1; round <= 5; round += 1) {
        const writes = [write(0, mib, round), write(round * mib, mib, round), write((round + 8) * mib, 4096, 0)];
        await own.write(id, writes);
        applyTo(model, writes);
        points.push(await own.freeze(id));
      }
      expect(await own.layerCount()).toBe(6);
      for (const point of points) await own.release(point);
      await own.disks.tidy();
      expect(await own.layerCount()).toBe(2);
      expect(await own.layerFiles()).toHaveLength(2);
      same(await own.bytesOf(id), model);
    } finally {
      await own.stop();
    }
  });

  it('leaves named layers apart, and gathers the unnamed ones above each', async () => {
    const own = await makeDiskTree();
    try {
      const id = await own.volume();
      const model = Buffer.alloc(diskBytes);
      const points: string[] = [];
      const models: Buffer[] = [];
      for (let round = 1; round <= 6; round += 1) {
        await own.write(id, [write(round * mib, mib, round)]);
        applyTo(model, [write(round * mib, mib, round)]);
        points.push(await own.freeze(id));
        models.push(Buffer.from(model));
      }
      const named = [1, 4];
      for (const [index, point] of points.entries()) if (!named.includes(index)) await own.release(point);
      await own.disks.tidy();
      // 0 | 1 named | 2+3 | 4 named | 5 | top
      expect(await own.layerCount()).toBe(6);
      for (const index of named) same(await own.bytesOfPoint(points[index] ?? ''), models[index] ?? Buffer.alloc(0));
      same(await own.bytesOf(id), model);
    } finally {
      await own.stop();
    }
  });

  it('never merges below a reader, nor below a server that only reads', async () => {
    const own = await makeDiskTree();
    try {
      const id = await own.volume();
      const points = [await own.freeze(id), await own.freeze(id), await own.freeze(id)];
      await own.database.transact((tx) => own.disks.hold(tx, points[2] ?? '', 'backup:test'));
      for (const point of points) await own.release(point);
      await own.disks.tidy();
      expect(await own.layerCount()).toBe(4);
      await own.release(points[2] ?? '', 'backup:test');
      await own.disks.openExport(id, { readOnly: true });
      await own.disks.tidy();
      expect(await own.layerCount()).toBe(4);
      await own.disks.closeExport(id);
      await own.disks.tidy();
      expect(await own.layerCount()).toBe(2);
    } finally {
      await own.stop();
    }
  });

  it('removes all of a volume that is gone, but not what clones and snapshots stand on', async () => {
    const own = await makeDiskTree();
    try {
      const id = await own.volume();
      const model = Buffer.alloc(diskBytes);
      await own.write(id, [write(0, mib, 1)]);
      applyTo(model, [write(0, mib, 1)]);
      const point = await own.freeze(id);
      const clone = await own.volume(point);
      await own.disks.dropDisk(id);
      await own.disks.dropDisk(id);
      await own.disks.tidy();
      same(await own.bytesOf(clone), model);
      await own.release(point);
      await own.disks.tidy();
      same(await own.bytesOf(clone), model);
      await own.disks.dropDisk(clone);
      await own.disks.tidy();
      expect(await own.layerCount()).toBe(0);
      expect(await own.layerFiles()).toEqual([]);
      expect(await own.database.sql.selectFrom('points').select('id').execute()).toEqual([]);
    } finally {
      await own.stop();
    }
  });
});

describe('a new disk for a volume', () => {
  it('takes the place of the old one in one step, and the old one goes', async () => {
    const volume = await makeVolume();
    await volume.put(write(0, mib, 1));
    const base = { layerId: newId(), pointId: newId(), home: volume.id, sizeBytes: diskBytes, holder: 'restore:test' };
    const restored = Buffer.alloc(diskBytes);
    restored.fill(7, 0, mib);
    await tree.disks.createBase(base, async ({ path }) => {
      const { writeFile } = await import('node:fs/promises');
      await writeFile(path, restored.subarray(0, mib));
      return ExtentSet.of([[0, mib]]);
    });
    same(await tree.bytesOf(volume.id), volume.model);
    const plan = { fromPointId: base.pointId, topLayerId: newId(), sizeBytes: diskBytes };
    await tree.disks.replaceDisk(volume.id, plan);
    await tree.disks.replaceDisk(volume.id, plan);
    await tree.release(base.pointId, 'restore:test');
    await tree.disks.tidy();
    same(await tree.bytesOf(volume.id), restored);
  });

  it('is refused while the disk is attached and open', async () => {
    const volume = await makeVolume();
    const point = await volume.freeze();
    await tree.database.sql.insertInto('volume_attachments').values({ id: newId(), volume_id: volume.id, project_id: 'p' }).execute();
    await tree.disks.openExport(volume.id, { readOnly: false });
    const plan = { fromPointId: point, topLayerId: newId(), sizeBytes: diskBytes };
    await expect(tree.disks.replaceDisk(volume.id, plan)).rejects.toThrow('is open');
    await expect(tree.disks.resize(volume.id, 2 * diskBytes)).rejects.toThrow('is open');
    await tree.disks.closeExport(volume.id);
  });
});
