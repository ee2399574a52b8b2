/** What disks ask of whoever runs guests, and what they keep of the answer. With real guests it is in server-snapshots.test.ts. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDisksService, type PointConsistency, type Quiescence } from '../../src/cloud/disks/service.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type DiskTree, makeDiskTree, mib, testHolder } from '../support/disk-tree.ts';

let tree: DiskTree;
let asked: (readonly string[])[];

beforeEach(async () => {
  tree = await makeDiskTree();
  asked = [];
});
afterEach(() => tree.stop());

const stood: PointConsistency = { consistency: 'quiesced', freezeMs: 12.5 };

const disksWith = (around: Quiescence['around']) =>
  createDisksService({
    database: tree.database,
    backend: tree.backend,
    quiescence: {
      around(volumeIds, work) {
        asked.push(volumeIds);
        return around(volumeIds, work);
      },
    },
    log: silentLog,
  });

async function openVolume(): Promise<string> {
  const id = await tree.volume();
  await tree.disks.openExport(id, { readOnly: false });
  await tree.write(id, [{ offset: 0, length: mib, pattern: 1 }]);
  return id;
}

const plan = (volumeId: string) => ({ volumeId, pointId: newId(), topLayerId: newId(), holder: testHolder });

const quiesced: Quiescence['around'] = async (_volumeIds, work) => {
  await work();
  return stood;
};

it('a point tells how the guest stood; one of a disk that nobody has open asks nobody', async () => {
  const disks = disksWith(quiesced);
  const [open, closed] = [plan(await openVolume()), plan(await tree.volume())];
  for (const { volumeId, ...one } of [open, closed]) await disks.freeze(volumeId, one);
  expect(asked).toEqual([[open.volumeId]]);
  expect(await disks.consistencyOf(open.pointId)).toEqual(stood);
  expect(await disks.consistencyOf(closed.pointId)).toEqual({ consistency: null, freezeMs: null });
});

it('points of several disks are asked for together, and tell the same', async () => {
  const disks = disksWith(quiesced);
  const plans = [plan(await openVolume()), plan(await openVolume())];
  await disks.freezeTogether(plans);
  expect(asked).toEqual([plans.map(({ volumeId }) => volumeId)]);
  for (const { pointId } of plans) expect(await disks.consistencyOf(pointId)).toEqual(stood);
});

it('a guest that says no leaves its disk as it was', async () => {
  const disks = disksWith(async () => {
    throw new Error('a hook has failed');
  });
  const refused = plan(await openVolume());
  await expect(disks.freeze(refused.volumeId, refused)).rejects.toThrow('a hook has failed');
  await tree.release(refused.pointId);
  await expect(tree.bytesOfPoint(refused.pointId)).rejects.toThrow();
  const next = plan(refused.volumeId);
  await tree.disks.freeze(next.volumeId, next);
  expect(await tree.disks.consistencyOf(next.pointId)).toEqual({ consistency: 'crash-consistent', freezeMs: null });
});
