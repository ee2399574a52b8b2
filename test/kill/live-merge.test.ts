/**
 * A process whose tidy merges layers below a connected client is killed at every marked instant. The client goes on writing through the server, or the
 * server is killed as well; the next process finds out how far the merge came.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, type Write } from '../support/disk-tree.ts';
import type { DiskOrder } from '../support/disks-child.ts';
import { proveKills } from '../support/kill-harness.ts';

const script = join(import.meta.dirname, '../support/disks-child.ts');
const layers: readonly (readonly Write[])[] = [
  [{ offset: 0, length: 2 * mib, pattern: 1 }],
  [
    { offset: mib, length: 1.25 * mib, pattern: 2 },
    { offset: 0, length: mib / 2, pattern: 0 },
  ],
  [{ offset: 5 * mib, length: 4096, pattern: 3 }],
];
const later: readonly Write[] = [
  { offset: mib / 2, length: mib, pattern: 4 },
  { offset: 9 * mib, length: 4096, pattern: 5 },
];
const instants = [
  'merge:marked',
  'live-merge:prepared',
  'live-merge:started',
  'live-merge:copied',
  'live-merge:finalised',
  'live-merge:merged',
  'live-merge:durable',
  'merge:folded',
  'merge:recorded',
];

let tree: DiskTree;
let volumeId: string;
let model: Buffer;
let order: DiskOrder;
beforeEach(async () => {
  tree = await makeDiskTree();
});
afterEach(() => tree.stop());

/** A connected volume of three layers, of which the lower two may be merged. */
async function prepare(more: Partial<DiskOrder>): Promise<string[]> {
  volumeId = await tree.volume();
  model = Buffer.alloc(diskBytes);
  await tree.disks.openExport(volumeId, { readOnly: false });
  const points: string[] = [];
  for (const [index, writes] of layers.entries()) {
    if (index > 0) points.push(await tree.freeze(volumeId));
    await tree.write(volumeId, writes);
    applyTo(model, writes);
  }
  // This process must not tidy by itself before the other one does.
  tree = await tree.restart();
  await tree.database.sql.deleteFrom('point_holds').where('point_id', 'in', points).execute();
  order = { operation: 'tidy', volumeId, pointId: newId(), layerId: newId(), topLayerId: newId(), meanwhile: later, ...more };
  applyTo(model, later);
  return [JSON.stringify(tree.held.connection), tree.folder, JSON.stringify(order)];
}

const isServed = async (): Promise<boolean> => {
  const row = await tree.database.sql.selectFrom('volume_exports').selectAll().where('volume_id', '=', volumeId).executeTakeFirst();
  if (row === undefined) return false;
  const { export_id: id, socket_path: socketPath, monitor_path: monitorPath, process_id: processId } = row;
  return (await tree.backend.inspectExport({ id, home: volumeId, socketPath, monitorPath, processId })).alive;
};

/** All files are whole, nobody's mark is left, and nothing at all when the volume goes. */
async function expectWholeAndClean(): Promise<void> {
  await tree.disks.closeExport(volumeId);
  expect((await tree.bytesOf(volumeId)).equals(model)).toBe(true);
  for (const path of await tree.layerFiles()) {
    const report = JSON.parse(execFileSync('qemu-img', ['check', '--output=json', path], { encoding: 'utf8' }));
    expect([report.leaks ?? 0, report.corruptions ?? 0]).toEqual([0, 0]);
    expect(existsSync(`${path}.open`)).toBe(false);
  }
  await tree.disks.dropDisk(volumeId);
  await tree.disks.tidy();
  expect(await tree.layerFiles()).toEqual([]);
  expect(await tree.layerCount()).toBe(0);
}

it('the next process completes it, and the client never noticed', async () => {
  await proveKills({
    script,
    points: instants,
    prepare: () => prepare({}),
    async check() {
      expect(await isServed()).toBe(true);
      expect(await tree.layerFiles()).toHaveLength(2);
      expect(await tree.layerCount()).toBe(2);
      await expectWholeAndClean();
    },
  });
});

it('the next process takes a snapshot, which a merge that goes on without its watcher does not hinder', async () => {
  await proveKills({
    script,
    points: instants,
    prepare: () => prepare({ slowly: true, successor: 'freeze' }),
    async check() {
      expect(await isServed()).toBe(true);
      expect((await tree.bytesOfPoint(order.pointId)).equals(model)).toBe(true);
      await tree.release(order.pointId);
      await tree.disks.tidy();
      expect(await tree.layerFiles()).toHaveLength(2);
      await expectWholeAndClean();
    },
  });
});

it('the server is killed, too: nothing is lost, and the merge is done without it', async () => {
  await proveKills({
    script,
    points: instants,
    prepare: () => prepare({ slowly: true, powerCut: true }),
    async check() {
      expect(await isServed()).toBe(false);
      await tree.disks.tidy();
      expect(await tree.layerFiles()).toHaveLength(2);
      await expectWholeAndClean();
    },
  });
});
