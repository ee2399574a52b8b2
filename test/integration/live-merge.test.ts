import { execFileSync } from 'node:child_process';
import { stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { restMs } from '../../src/cloud/disks/restless.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { layerContent } from '../../src/engine/disk/layer-content.ts';
import type { LayerFile } from '../../src/engine/disk/load-layer.ts';
import { newId } from '../../src/lib/ids.ts';
import { waitForEnd } from '../../src/lib/processes.ts';
import { seededRandom } from '../../src/lib/random.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, type Write, writeThrough } from '../support/disk-tree.ts';
import { connectNbd } from '../support/nbd-client.ts';

/** Merging the layers of a volume that stays connected. */

let tree: DiskTree;
const start = async (storage?: 'slowly merging'): Promise<void> => {
  tree = await makeDiskTree(storage);
};
afterEach(() => tree.stop());

const cluster = 65_536;
/** Header, the table of reference counts and a block of it, the upper and the lower table of places. */
const tableClusters = 5;
const write = (offset: number, length: number, pattern: number): Write => ({ offset, length, pattern });
const same = (actual: Buffer, wanted: Buffer): void => expect(actual.equals(wanted)).toBe(true);

interface Connected {
  readonly id: string;
  readonly model: Buffer;
  readonly socketPath: string;
  put(...writes: Write[]): Promise<void>;
}

async function connected(fromPointId: string | null = null, model = Buffer.alloc(diskBytes)): Promise<Connected> {
  const id = await tree.volume(fromPointId);
  const { socketPath } = await tree.disks.openExport(id, { readOnly: false });
  const put = async (...writes: Write[]): Promise<void> => {
    await writeThrough(socketPath, writes);
    applyTo(model, writes);
  };
  return { id, model, socketPath, put };
}

/** Two layers of 3 MiB, frozen live, whose points nobody holds any more: slowly, merging them takes 12 s. */
async function withMergeableLayers(): Promise<Connected> {
  const volume = await connected();
  const points: string[] = [];
  for (const round of [1, 2]) {
    await volume.put(write(0, 2 * mib, round), write((round + 2) * mib, mib, round));
    points.push(await tree.freeze(volume.id));
  }
  for (const point of points) await tree.release(point);
  return volume;
}

async function stateOfLayers(): Promise<string[]> {
  const rows = await tree.database.sql.selectFrom('layers').select('state').execute();
  return rows.map(({ state }) => state).sort();
}

/** Resolves once bytes are being copied. */
async function untilMerging(): Promise<void> {
  await expect.poll(stateOfLayers, { timeout: 20_000, interval: 5 }).toContain('merging');
  await sleep(50);
}

const serverOf = async (volumeId: string) =>
  await tree.database.sql.selectFrom('volume_exports').selectAll().where('volume_id', '=', volumeId).executeTakeFirstOrThrow();

const checkedFiles = async (): Promise<{ path: string; leaks: number; corruptions: number }[]> =>
  (await tree.layerFiles())
    .filter((path) => path.endsWith('.qcow2'))
    .map((path) => {
      const report = JSON.parse(execFileSync('qemu-img', ['check', '--output=json', path], { encoding: 'utf8' }));
      return { path, leaks: report.leaks ?? 0, corruptions: report.corruptions ?? 0 };
    });

async function expectNothingLeftOver(volume: Connected): Promise<void> {
  await tree.disks.closeExport(volume.id);
  same(await tree.bytesOf(volume.id), volume.model);
  for (const { leaks, corruptions } of await checkedFiles()) expect({ leaks, corruptions }).toEqual({ leaks: 0, corruptions: 0 });
  expect(await tree.layerFiles()).toHaveLength(await tree.layerCount());
}

describe('a volume that stays connected', () => {
  it('keeps a short chain, all its bytes and exactly its space through many snapshots, under writes', { timeout: 180_000 }, async () => {
    await start();
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const pick = (limit: number): number => Math.floor(random() * limit);
    const volume = await connected();
    const client = await connectNbd(volume.socketPath);
    const held: { point: string; model: Buffer }[] = [];
    for (let round = 1; round <= 30; round += 1) {
      // While a tidy may be merging, the client writes; the model takes each write when it is acknowledged.
      const tidying = tree.disks.tidy();
      for (let count = 0; count < 12; count += 1) {
        const at = pick(diskBytes / cluster) * cluster;
        // Zeroes fill whole clusters, so that none of what is left is for nothing.
        const one = pick(5) === 0 ? write(at, cluster, 0) : write(at, (1 + pick(4)) * 16_384, 1 + pick(255));
        if (one.pattern === 0) await client.zero(one.offset, one.length);
        else await client.write(one.offset, Buffer.alloc(one.length, one.pattern));
        applyTo(volume.model, [one]);
      }
      held.push({ point: await tree.freeze(volume.id), model: Buffer.from(volume.model) });
      if (held.length > 3) {
        const [gone] = held.splice(pick(held.length), 1);
        if (gone !== undefined) await tree.release(gone.point);
      }
      await tidying;
      if (round % 5 !== 0) continue;
      await tree.disks.tidy();
      expect(await tree.layerCount()).toBeLessThanOrEqual(2 * held.length + 2);
      for (const { point, model } of held) same(await tree.bytesOfPoint(point), model);
    }
    for (const { point } of held) await tree.release(point);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(2);
    await client.close();
    await expectNothingLeftOver(volume);
    // The frozen layer has each cluster that is not zero, once; the top has nothing. Both have a few tables.
    const offsets = Array.from({ length: diskBytes / cluster }, (_, i) => i * cluster);
    const filled = offsets.filter((at) => volume.model.subarray(at, at + cluster).some((byte) => byte !== 0)).length;
    const sizes = await Promise.all((await tree.layerFiles()).map(async (path) => (await stat(path)).blocks * 512));
    expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual((filled + 2 * tableClusters) * cluster);
  });

  it('merges below clones of it too, but leaves what a connected clone reads', async () => {
    await start();
    const volume = await connected();
    await volume.put(write(0, mib, 1));
    const points = [await tree.freeze(volume.id)];
    await volume.put(write(mib, mib, 2));
    points.push(await tree.freeze(volume.id));
    await volume.put(write(2 * mib, mib, 3));
    const shared = await tree.freeze(volume.id);
    await volume.put(write(3 * mib, mib, 4));
    const clone = await connected(shared, Buffer.from(await tree.bytesOfPoint(shared)));
    for (const point of points) await tree.release(point);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(5);
    await tree.disks.closeExport(clone.id);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(4);
    same(await tree.bytesOfPoint(shared), clone.model);
    same(await tree.bytesOf(clone.id), clone.model);
    await expectNothingLeftOver(volume);
  });

  it('merges into the base that a restore wrote, and notes what that holds', async () => {
    await start();
    const id = await tree.volume();
    const base = { layerId: newId(), pointId: newId(), home: id, sizeBytes: diskBytes, holder: 'restore:test' };
    const model = Buffer.alloc(diskBytes);
    model.fill(7, 0, mib);
    await tree.disks.createBase(base, async ({ path }) => {
      await writeFile(path, model.subarray(0, mib));
      return ExtentSet.of([[0, mib]]);
    });
    await tree.disks.replaceDisk(id, { fromPointId: base.pointId, topLayerId: newId(), sizeBytes: diskBytes });
    const { socketPath } = await tree.disks.openExport(id, { readOnly: false });
    const writes = [write(mib / 2, mib / 2, 0), write(3 * mib, mib, 4)];
    await writeThrough(socketPath, writes);
    applyTo(model, writes);
    const point = await tree.freeze(id);
    const named = await tree.freeze(id);
    await tree.release(base.pointId, base.holder);
    await tree.release(point);
    await tree.disks.tidy();
    expect((await tree.layerFiles()).filter((path) => path.endsWith('.raw'))).toHaveLength(1);
    expect(await tree.layerCount()).toBe(3);
    same(await tree.bytesOfPoint(named), model);
    const { layers } = await tree.disks.sourceOf(named);
    expect([...(await layerContent(layers[0] as LayerFile)).data.ranges()]).toEqual([
      [0, mib / 2],
      [3 * mib, 4 * mib],
    ]);
    await tree.disks.closeExport(id);
  });
});

describe('a merge below a client', () => {
  /** Runs `work` while layers merge that would take 12 s, and returns how many milliseconds it took. */
  async function during(work: () => Promise<unknown>): Promise<number> {
    const tidying = tree.disks.tidy();
    await untilMerging();
    const startedAt = performance.now();
    await work();
    const tookMs = performance.now() - startedAt;
    await tidying;
    return tookMs;
  }

  it('gives way to a snapshot, in no time that anybody notices, and is complete in the end', { timeout: 120_000 }, async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    const times: number[] = [];
    const points: { point: string; model: Buffer }[] = [];
    for (let count = 0; count < 12; count += 1) {
      await volume.put(write(10 * mib, 65_536, count + 1));
      times.push(await during(async () => void points.push({ point: await tree.freeze(volume.id), model: Buffer.from(volume.model) })));
    }
    times.sort((a, b) => a - b);
    console.log(`snapshots while layers merge: median ${times[6]?.toFixed(0)} ms, longest ${times.at(-1)?.toFixed(0)} ms`);
    expect(times[6]).toBeLessThan(1000);
    expect(times.at(-1)).toBeLessThan(4000);
    for (const { point, model } of points) same(await tree.bytesOfPoint(point), model);
    await tree.disks.closeExport(volume.id);
    for (const { point } of points) await tree.release(point);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(2);
    await expectNothingLeftOver(volume);
  });

  it.each<[string, (volume: Connected) => Promise<unknown>]>([
    ['closing', ({ id }) => tree.disks.closeExport(id)],
    ['opening', ({ id }) => tree.disks.openExport(id, { readOnly: false })],
    ['opening it for reading', ({ id }) => tree.disks.openExport(id, { readOnly: true })],
    ['growing', ({ id }) => tree.disks.resize(id, diskBytes)],
  ])('gives way to %s', async (_what, work) => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    expect(await during(() => work(volume))).toBeLessThan(4000);
    await expectNothingLeftOver(volume);
  });

  it('gives way to a refusal to grow, of which its client notices nothing', async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    await tree.database.sql.insertInto('volume_attachments').values({ id: newId(), volume_id: volume.id, project_id: 'p' }).execute();
    const client = await connectNbd(volume.socketPath);
    await during(() => expect(tree.disks.resize(volume.id, 2 * diskBytes)).rejects.toThrow('is open'));
    expect(client.sizeBytes).toBe(diskBytes);
    await client.write(0, Buffer.alloc(4096, 9));
    applyTo(volume.model, [write(0, 4096, 9)]);
    await client.close();
    expect(await tree.disks.sizeOf(volume.id)).toBe(diskBytes);
    await expectNothingLeftOver(volume);
  });

  it('gives way to the deletion of its volume', async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    expect(await during(() => tree.disks.dropDisk(volume.id))).toBeLessThan(4000);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(0);
    expect(await tree.layerFiles()).toEqual([]);
  });

  it('gives way to whoever reads a point above it, and to a clone that is connected', async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    const point = await tree.freeze(volume.id);
    const model = Buffer.from(volume.model);
    const readMs = await during(async () => {
      await tree.database.transact((tx) => tree.disks.hold(tx, point, 'reader:test'));
      same(await tree.bytesOfPoint(point), model);
    });
    expect(readMs).toBeLessThan(4000);
    await tree.database.transact((tx) => tree.disks.release(tx, point, 'reader:test'));
    const clone = await tree.volume(point);
    expect(await during(() => tree.disks.openExport(clone, { readOnly: false }))).toBeLessThan(4000);
    expect(await stateOfLayers()).not.toContain('merging');
    same(await tree.bytesOf(clone), model);
    await expectNothingLeftOver(volume);
  });

  it('gives way to the end of the service', async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    const tidying = tree.disks.tidy();
    await untilMerging();
    const startedAt = performance.now();
    tree = await tree.restart();
    await tidying;
    expect(performance.now() - startedAt).toBeLessThan(4000);
    await tree.disks.adoptExports();
    await tree.freeze(volume.id);
    await expectNothingLeftOver(volume);
  });

  it('begins by itself when the snapshots of the volume have paused', { timeout: 60_000 }, async () => {
    await start();
    const volume = await withMergeableLayers();
    const frozenAt = performance.now();
    await expect.poll(() => tree.layerCount(), { timeout: 30_000 }).toBe(2);
    expect(performance.now() - frozenAt).toBeGreaterThan(restMs - 500);
    await expectNothingLeftOver(volume);
  });

  it('goes on by itself some time after it gave way', { timeout: 60_000 }, async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    await during(() => tree.freeze(volume.id));
    expect(await stateOfLayers()).not.toContain('merging');
    await untilMerging();
    await expectNothingLeftOver(volume);
  });

  it('does not keep others from having their layers removed', { timeout: 60_000 }, async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    const other = await tree.volume();
    const point = await tree.freeze(other);
    const count = await tree.layerCount();
    const tidying = tree.disks.tidy();
    await untilMerging();
    await tree.disks.dropDisk(other);
    await tree.release(point);
    await expect.poll(() => tree.layerCount(), { timeout: 6000, interval: 20 }).toBe(count - 2);
    expect(await stateOfLayers()).toContain('merging');
    await tree.disks.closeExport(volume.id);
    await tidying;
    await expectNothingLeftOver(volume);
  });

  it('whose server is killed has harmed nothing, and is done without a server', async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    const server = await serverOf(volume.id);
    await during(async () => {
      process.kill(server.process_id, 'SIGKILL');
      await waitForEnd(server.process_id, server.export_id, 5000);
    });
    expect(await stateOfLayers()).not.toContain('merging');
    same(await tree.bytesOf(volume.id), volume.model);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(2);
    await expectNothingLeftOver(volume);
  });

  it('whose server no longer answers ends with a reason, and is settled when it answers again', { timeout: 180_000 }, async () => {
    await start('slowly merging');
    const volume = await withMergeableLayers();
    const server = await serverOf(volume.id);
    try {
      await during(async () => process.kill(server.process_id, 'SIGSTOP'));
      expect(await stateOfLayers()).toContain('merging');
    } finally {
      process.kill(server.process_id, 'SIGCONT');
    }
    await volume.put(write(9 * mib, mib, 9));
    const point = await tree.freeze(volume.id);
    same(await tree.bytesOfPoint(point), volume.model);
    await tree.release(point);
    await tree.disks.closeExport(volume.id);
    await tree.disks.tidy();
    expect(await tree.layerCount()).toBe(2);
    await expectNothingLeftOver(volume);
  });
});
