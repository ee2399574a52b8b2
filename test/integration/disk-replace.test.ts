import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { createDisksService } from '../../src/cloud/disks/service.ts';
import type { VolumeBackend } from '../../src/engine/volumes/contract.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { applyTo, diskBytes, makeDiskTree, mib, testHolder } from '../support/disk-tree.ts';

it('a disk is replaced after a freeze whose rows were not written yet, and the frozen moment keeps its bytes', async () => {
  const tree = await makeDiskTree();
  try {
    const { database, backend } = tree;
    const volumeId = await tree.volume();
    const older = await tree.freeze(volumeId);
    const model = Buffer.alloc(diskBytes);
    const writes = [{ offset: 0, length: mib, pattern: 5 }];
    await tree.disks.openExport(volumeId, { readOnly: false });
    await tree.write(volumeId, writes);
    applyTo(model, writes);

    // The server takes the overlay, and then nobody hears of it.
    const deaf: VolumeBackend = {
      ...backend,
      async snapshotExport(...plan) {
        await backend.snapshotExport(...plan);
        throw new Error('no answer');
      },
      inspectExport: () => Promise.reject(new Error('no answer')),
    };
    const interrupted = createDisksService({ database, backend: deaf, log: silentLog });
    const pointId = newId();
    await expect(interrupted.freeze(volumeId, { pointId, topLayerId: newId(), holder: testHolder })).rejects.toThrow('no answer');

    await tree.disks.replaceDisk(volumeId, { fromPointId: older, topLayerId: newId(), sizeBytes: diskBytes });
    expect((await tree.bytesOfPoint(pointId)).equals(model)).toBe(true);
    expect((await tree.bytesOf(volumeId)).equals(Buffer.alloc(diskBytes))).toBe(true);

    for (const point of [older, pointId]) await tree.release(point);
    await tree.disks.dropDisk(volumeId);
    await tree.disks.tidy();
    expect(await tree.layerFiles()).toEqual([]);
    expect(await tree.layerCount()).toBe(0);
    await interrupted.stop();
  } finally {
    await tree.stop();
  }
});

it('a disk that is made again has its layer, although what the first attempt left was being removed', async () => {
  const tree = await makeDiskTree();
  try {
    const { database, backend } = tree;
    const volumeId = await tree.volume();
    await tree.write(volumeId, [{ offset: 0, length: mib, pattern: 5 }]);
    const point = await tree.freeze(volumeId);
    const plan = { fromPointId: point, topLayerId: newId(), sizeBytes: diskBytes };
    const dying: VolumeBackend = { ...backend, createLayer: () => Promise.reject(new Error('it died')) };
    const interrupted = createDisksService({ database, backend: dying, log: silentLog });
    await expect(interrupted.replaceDisk(volumeId, plan)).rejects.toThrow('it died');
    await interrupted.stop();

    const { promise: isRemoving, resolve: begin } = Promise.withResolvers<void>();
    const slow: VolumeBackend = {
      ...backend,
      async removeLayer(layer) {
        begin();
        await sleep(300);
        await backend.removeLayer(layer);
      },
    };
    const housekeeper = createDisksService({ database, backend: slow, log: silentLog });
    const tidied = housekeeper.tidy();
    await isRemoving;
    await tree.disks.replaceDisk(volumeId, plan);
    await tidied;
    expect((await tree.bytesOf(volumeId)).equals(await tree.bytesOfPoint(point))).toBe(true);
    await housekeeper.stop();
  } finally {
    await tree.stop();
  }
});
