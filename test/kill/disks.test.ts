/**
 * A process that works on disks is killed at every marked instant; the next one adopts what is there and repeats the work. Acknowledged
 * writes are there afterwards, the work is done once, and nothing is left over.
 */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, type Write } from '../support/disk-tree.ts';
import type { DiskOrder } from '../support/disks-child.ts';
import { proveKills } from '../support/kill-harness.ts';

const script = join(import.meta.dirname, '../support/disks-child.ts');
const first: readonly Write[] = [
  { offset: 0, length: mib, pattern: 1 },
  { offset: 4 * mib, length: mib, pattern: 2 },
];
const later: readonly Write[] = [
  { offset: mib / 2, length: mib, pattern: 3 },
  { offset: 9 * mib, length: 4096, pattern: 4 },
];

let tree: DiskTree;
let volumeId: string;
let model: Buffer;
beforeEach(async () => {
  tree = await makeDiskTree();
});
afterEach(() => tree.stop());

async function freshVolume(): Promise<void> {
  volumeId = await tree.volume();
  model = Buffer.alloc(diskBytes);
  await tree.write(volumeId, first);
  applyTo(model, first);
}

const orderOf = (operation: DiskOrder['operation'], more: Partial<DiskOrder> = {}): DiskOrder => ({
  operation,
  volumeId,
  pointId: newId(),
  layerId: newId(),
  topLayerId: newId(),
  ...more,
});

const argumentsFor = (order: DiskOrder): string[] => [JSON.stringify(tree.held.connection), tree.folder, JSON.stringify(order)];

const expectVolume = async (wanted: Buffer): Promise<void> => {
  expect((await tree.bytesOf(volumeId)).equals(wanted)).toBe(true);
};
const expectPoint = async (pointId: string, wanted: Buffer): Promise<void> => {
  expect((await tree.bytesOfPoint(pointId)).equals(wanted)).toBe(true);
};

/** What is left over after everything was given up: nothing. */
async function expectClean(pointIds: readonly string[]): Promise<void> {
  for (const pointId of pointIds) await tree.release(pointId);
  await tree.disks.dropDisk(volumeId);
  await tree.disks.tidy();
  expect(await tree.layerFiles()).toEqual([]);
  expect(await tree.layerCount()).toBe(0);
}

it('a freeze of a disk that nobody has open', async () => {
  let order: DiskOrder;
  await proveKills({
    script,
    points: ['freeze:planned', 'freeze:layer-made'],
    async prepare() {
      await freshVolume();
      order = orderOf('freeze');
      return argumentsFor(order);
    },
    async check() {
      await expectPoint(order.pointId, model);
      await expectVolume(model);
      await expectClean([order.pointId]);
    },
  });
});

it.each([false, true])('a freeze of an open disk whose client goes on writing (power cut afterwards: %s)', async (powerCut) => {
  let order: DiskOrder;
  await proveKills({
    script,
    points: ['freeze:planned', 'freeze:layer-made', 'snapshot:transaction:before', 'snapshot:transaction:after', 'freeze:switched'],
    async prepare() {
      await freshVolume();
      await tree.disks.openExport(volumeId, { readOnly: false });
      order = orderOf('freeze', { meanwhile: later, powerCut });
      return argumentsFor(order);
    },
    async check(point) {
      const afterwards = Buffer.from(model);
      applyTo(afterwards, later);
      // Before the switch the client's writes still went into what was frozen in the end.
      const switched = point === 'snapshot:transaction:after' || point === 'freeze:switched';
      await expectPoint(order.pointId, switched ? model : afterwards);
      await tree.disks.closeExport(volumeId);
      await expectVolume(afterwards);
      await expectClean([order.pointId]);
    },
  });
});

it('a freeze of an open disk that is never repeated: nothing is lost, nothing is left', async () => {
  let order: DiskOrder;
  await proveKills({
    script,
    points: ['freeze:planned', 'freeze:layer-made', 'snapshot:transaction:before', 'snapshot:transaction:after', 'freeze:switched'],
    async prepare() {
      await freshVolume();
      await tree.disks.openExport(volumeId, { readOnly: false });
      order = orderOf('freeze', { meanwhile: later, successor: 'tidy' });
      return argumentsFor(order);
    },
    async check() {
      applyTo(model, later);
      await tree.disks.closeExport(volumeId);
      await expectVolume(model);
      await tree.release(order.pointId);
      await tree.disks.tidy();
      await expectVolume(model);
      await expectClean([]);
    },
  });
});

it('opening and closing a disk', async () => {
  await proveKills({
    script,
    points: ['export:planned', 'export:launch:after', 'export:started'],
    async prepare() {
      await freshVolume();
      return argumentsFor(orderOf('open'));
    },
    async check() {
      await tree.write(volumeId, later);
      applyTo(model, later);
      await tree.disks.closeExport(volumeId);
      await expectVolume(model);
      await expectClean([]);
    },
  });
  await proveKills({
    script,
    points: ['export:quit:after', 'export:closed'],
    async prepare() {
      await freshVolume();
      await tree.disks.openExport(volumeId, { readOnly: false });
      await tree.write(volumeId, later);
      applyTo(model, later);
      return argumentsFor(orderOf('close'));
    },
    async check() {
      await expectVolume(model);
      await expectClean([]);
    },
  });
});

it('making a disk from a point, growing, replacing and dropping one', async () => {
  let pointId: string;
  let order: DiskOrder;
  await proveKills({
    script,
    points: ['disk:planned', 'disk:made'],
    async prepare() {
      await freshVolume();
      pointId = await tree.freeze(volumeId);
      order = { ...orderOf('create', { pointId }), volumeId: await tree.volumeRow() };
      return argumentsFor(order);
    },
    async check() {
      expect((await tree.bytesOf(order.volumeId)).equals(model)).toBe(true);
      await tree.disks.dropDisk(order.volumeId);
      await expectClean([pointId]);
    },
  });
  await proveKills({
    script,
    points: ['disk:planned', 'disk:made'],
    async prepare() {
      await freshVolume();
      pointId = await tree.freeze(volumeId);
      await tree.write(volumeId, later);
      return argumentsFor(orderOf('replace', { pointId }));
    },
    async check() {
      await expectVolume(model);
      await expectClean([pointId]);
    },
  });
  await proveKills({
    script,
    points: ['resize:grown'],
    async prepare() {
      await freshVolume();
      return argumentsFor(orderOf('resize'));
    },
    async check() {
      await expectVolume(Buffer.concat([model, Buffer.alloc(diskBytes)]));
      await expectClean([]);
    },
  });
  await proveKills({
    script,
    points: ['drop:doomed', 'drop:removed'],
    async prepare() {
      await freshVolume();
      pointId = await tree.freeze(volumeId);
      return argumentsFor(orderOf('drop'));
    },
    async check() {
      await expectPoint(pointId, model);
      await expectClean([pointId]);
    },
  });
});

it('making a base', async () => {
  let order: DiskOrder;
  await proveKills({
    script,
    points: ['base:planned', 'base:written', 'base:sealed'],
    async prepare() {
      await freshVolume();
      order = orderOf('base');
      return argumentsFor(order);
    },
    async check() {
      const wanted = Buffer.alloc(diskBytes);
      wanted.fill(7, 0, mib);
      await expectPoint(order.pointId, wanted);
      await expectClean([order.pointId]);
    },
  });
});

it('merging layers', async () => {
  await proveKills({
    script,
    points: ['merge:marked', 'merge:commit:before', 'merge:commit:after', 'merge:rebase:after', 'merge:folded', 'merge:recorded'],
    async prepare() {
      await freshVolume();
      const points = [await tree.freeze(volumeId)];
      await tree.write(volumeId, later);
      applyTo(model, later);
      points.push(await tree.freeze(volumeId), await tree.freeze(volumeId));
      // This process must not tidy by itself before the other one does.
      tree = await tree.restart();
      await tree.database.sql.deleteFrom('point_holds').where('point_id', 'in', points).execute();
      return argumentsFor(orderOf('tidy'));
    },
    async check() {
      expect(await tree.layerFiles()).toHaveLength(2);
      await expectVolume(model);
      await expectClean([]);
    },
  });
});

it('removing layers', async () => {
  await proveKills({
    script,
    points: ['tidy:doomed', 'tidy:removed'],
    async prepare() {
      await freshVolume();
      const shared = await tree.freeze(volumeId);
      const clone = await tree.volume(shared);
      const points = [shared, await tree.freeze(clone)];
      await tree.disks.dropDisk(clone);
      tree = await tree.restart();
      await tree.database.sql.deleteFrom('point_holds').where('point_id', 'in', points).execute();
      return argumentsFor(orderOf('tidy'));
    },
    async check() {
      expect(await tree.layerFiles()).toHaveLength(2);
      await expectVolume(model);
      await expectClean([]);
    },
  });
});
