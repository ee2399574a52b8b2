/**
 * A process that freezes connected volumes together is killed at every marked instant. Its clients go on by themselves; the next process takes away what is
 * left of the pause, and all of the points are there, or none.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { connectQmp } from '../../src/engine/qemu/qmp.ts';
import { newId } from '../../src/lib/ids.ts';
import { applyTo, type DiskTree, diskBytes, makeDiskTree, mib, testHolder, type Write } from '../support/disk-tree.ts';
import type { DiskOrder } from '../support/disks-child.ts';
import { proveKills } from '../support/kill-harness.ts';

const script = join(import.meta.dirname, '../support/disks-child.ts');
const first: readonly Write[] = [{ offset: 0, length: mib, pattern: 1 }];
const later: readonly Write[] = [
  { offset: mib / 2, length: mib, pattern: 2 },
  { offset: 9 * mib, length: 4096, pattern: 3 },
];
const beforeTheMoment = [
  'freeze:planned',
  'freeze:layer-made',
  'write-pause:closed',
  'freeze-together:paused',
  'snapshot:transaction:before',
];
const instants = [...beforeTheMoment, 'snapshot:transaction:after', 'freeze:switched', 'freeze-together:switched', 'write-pause:unlimited'];

let tree: DiskTree;
let volumeIds: string[];
let order: DiskOrder;
const before = Buffer.alloc(diskBytes);
applyTo(before, first);
const after = Buffer.from(before);
applyTo(after, later);

beforeEach(async () => {
  tree = await makeDiskTree();
});
afterEach(() => tree.stop());

async function prepare(more: Partial<DiskOrder>): Promise<string[]> {
  volumeIds = [await tree.volume(), await tree.volume(), await tree.volume()];
  for (const volumeId of volumeIds) {
    await tree.disks.openExport(volumeId, { readOnly: false });
    await tree.write(volumeId, first);
  }
  const plans = volumeIds.map((volumeId) => ({ volumeId, pointId: newId(), topLayerId: newId(), holder: testHolder }));
  order = { operation: 'freeze-together', volumeId: '', pointId: '', layerId: '', topLayerId: '', plans, meanwhile: later, ...more };
  return [JSON.stringify(tree.held.connection), tree.folder, JSON.stringify(order)];
}

/** The limits of writes, of every server that runs. */
async function limits(): Promise<number[]> {
  const found: number[] = [];
  for (const { monitor_path } of await tree.database.sql.selectFrom('volume_exports').selectAll().execute()) {
    const monitor = await connectQmp(monitor_path);
    const path = { path: '/objects/gate', property: 'limits' };
    found.push((await monitor.execute<{ 'bps-write': number }>('qom-get', path))['bps-write']);
    monitor.close();
  }
  return found;
}

/** The points that somebody holds: all are of what was there when the process was killed, or of what clients wrote after that. */
async function expectAllOrNone(wanted: readonly ('all' | 'none')[]): Promise<void> {
  const points = (order.plans ?? []).map(({ pointId }) => pointId);
  const held = await tree.database.sql.selectFrom('point_holds').select('point_id').where('point_id', 'in', points).execute();
  expect(wanted.map((how) => (how === 'all' ? points.length : 0))).toContain(held.length);
  if (held.length === 0) return;
  const contents = await Promise.all(points.map((pointId) => tree.bytesOfPoint(pointId)));
  const content = contents[0]?.equals(before) === true ? before : after;
  for (const bytes of contents) expect(bytes.equals(content)).toBe(true);
  for (const pointId of points) await tree.release(pointId);
}

async function expectWholeAndClean(): Promise<void> {
  for (const volumeId of volumeIds) {
    await tree.disks.closeExport(volumeId);
    expect((await tree.bytesOf(volumeId)).equals(after)).toBe(true);
  }
  // An overlay that was not put on top may still be there, with its mark.
  await tree.disks.tidy();
  for (const path of await tree.layerFiles()) expect(existsSync(`${path}.open`)).toBe(false);
  for (const volumeId of volumeIds) await tree.disks.dropDisk(volumeId);
  await tree.disks.tidy();
  expect(await tree.layerFiles()).toEqual([]);
  expect(await tree.layerCount()).toBe(0);
}

it('clients go on by themselves, and the next process leaves all of it or nothing', async () => {
  await proveKills({
    script,
    points: instants,
    prepare: () => prepare({}),
    async check(instant) {
      expect(await limits()).toEqual([0, 0, 0]);
      await expectAllOrNone([beforeTheMoment.includes(instant) ? 'all' : 'none']);
      await expectWholeAndClean();
    },
  });
});

it('the servers are killed, too', async () => {
  await proveKills({
    script,
    points: instants,
    prepare: () => prepare({ powerCut: true }),
    async check() {
      expect(await limits()).toEqual([]);
      await expectAllOrNone(['all', 'none']);
      await expectWholeAndClean();
    },
  });
});
