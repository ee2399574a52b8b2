import fc from 'fast-check';
import { expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, type Write } from '../support/disk-tree.ts';

/**
 * Whatever is done in whatever order: a volume and a held point always hold what a plain buffer holds that got the same writes, and when
 * everything is deleted nothing is left.
 */

type Step =
  | { readonly kind: 'write'; readonly which: number; readonly writes: readonly Write[] }
  | { readonly kind: 'freeze' | 'clone' | 'release' | 'drop' | 'replace' | 'open' | 'close'; readonly which: number }
  | { readonly kind: 'tidy' | 'restart'; readonly which?: number };

const which = fc.nat(1000);
const anyWrite = fc.record({
  offset: fc.nat(diskBytes / 4096 - 64).map((page) => page * 4096),
  length: fc.integer({ min: 1, max: 64 }).map((pages) => pages * 4096),
  pattern: fc.nat(255),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('write' as const), which, writes: fc.array(anyWrite, { minLength: 1, maxLength: 4 }) }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('freeze' as const), which }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'clone' as const,
        'release' as const,
        'release' as const,
        'replace' as const,
        'open' as const,
        'close' as const,
      ),
      which,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), which }) },
  { weight: 3, arbitrary: fc.constantFrom({ kind: 'tidy' as const }, { kind: 'tidy' as const }, { kind: 'restart' as const }) },
);

interface Modelled {
  readonly id: string;
  model: Buffer;
}

class Model {
  tree: DiskTree;
  volumes: Modelled[] = [];
  points: Modelled[] = [];

  constructor(tree: DiskTree) {
    this.tree = tree;
  }

  async take(action: Step): Promise<void> {
    if (action.kind === 'tidy') return void (await this.tree.disks.tidy());
    if (action.kind === 'restart') {
      this.tree = await this.tree.restart();
      return await this.tree.disks.adoptExports();
    }
    const volume = this.volumes[(action.which ?? 0) % Math.max(1, this.volumes.length)];
    const point = this.points[(action.which ?? 0) % Math.max(1, this.points.length)];
    switch (action.kind) {
      case 'write':
        if (volume === undefined) return;
        await this.tree.write(volume.id, action.writes);
        return applyTo(volume.model, action.writes);
      case 'freeze':
        if (volume === undefined) return;
        this.points.push({ id: await this.tree.freeze(volume.id), model: Buffer.from(volume.model) });
        return;
      case 'open':
        if (volume !== undefined) await this.tree.disks.openExport(volume.id, { readOnly: false });
        return;
      case 'close':
        if (volume !== undefined) await this.tree.disks.closeExport(volume.id);
        return;
      case 'clone':
        if (point !== undefined) this.volumes.push({ id: await this.tree.volume(point.id), model: Buffer.from(point.model) });
        return;
      case 'release':
        if (point === undefined) return;
        await this.tree.release(point.id);
        this.points = this.points.filter((other) => other !== point);
        return;
      case 'replace':
        if (volume === undefined || point === undefined) return;
        await this.tree.disks.replaceDisk(volume.id, { fromPointId: point.id, topLayerId: newId(), sizeBytes: diskBytes });
        volume.model = Buffer.from(point.model);
        return;
      case 'drop':
        if (volume === undefined || this.volumes.length === 1) return;
        await this.tree.disks.dropDisk(volume.id);
        this.volumes = this.volumes.filter((other) => other !== volume);
        return;
    }
  }

  async check(): Promise<void> {
    for (const { id, model } of this.points) expect((await this.tree.bytesOfPoint(id)).equals(model)).toBe(true);
    for (const { id, model } of this.volumes) {
      await this.tree.disks.closeExport(id);
      expect((await this.tree.bytesOf(id)).equals(model)).toBe(true);
    }
  }

  async clear(): Promise<void> {
    for (const { id } of this.points) await this.tree.release(id);
    for (const { id } of this.volumes) await this.tree.disks.dropDisk(id);
    await this.tree.disks.tidy();
    expect(await this.tree.layerCount()).toBe(0);
    expect(await this.tree.layerFiles()).toEqual([]);
    expect(await this.tree.database.sql.selectFrom('points').select('id').execute()).toEqual([]);
  }
}

const runs = 6;

it.each(['layered-files', 'memory'] as const)(
  'every volume and point holds what it should, whatever is done in whatever order, on %s',
  {
    timeout: 120_000,
  },
  async (backend) => {
    let model = new Model(await makeDiskTree(backend));
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 40 }), async (steps) => {
          model = new Model(model.tree);
          model.volumes.push({ id: await model.tree.volume(), model: Buffer.alloc(diskBytes) });
          for (const action of steps) await model.take(action);
          await model.check();
          await model.tree.disks.tidy();
          await model.check();
          await model.clear();
        }),
        { numRuns: runs, endOnFailure: true },
      );
    } finally {
      await model.tree.stop();
    }
  },
);
