import { expect, it } from 'vitest';
import type { Volume } from '../../src/cloud/volumes/service.ts';
import { newId } from '../../src/lib/ids.ts';
import { proveSaga, type SagaFixture } from '../support/saga-harness.ts';
import { callerOf, nothingIsLeftOver, startVolumeCloud, type VolumeCloud } from '../support/volume-cloud.ts';

/** Every saga of volumes and snapshots: each step twice, a failure at every marked instant, a cancellation before every step. */

const ada = callerOf('p');
const timeout = 180_000;

type Ordered = { readonly sagaId: string };
type Case = (cloud: VolumeCloud) => Promise<{ order(): Promise<Ordered>; check: SagaFixture['check'] }>;

function prove(kind: string, make: Case): Promise<string[]> {
  return proveSaga({
    kind,
    async make({ openJobs }) {
      const cloud = await startVolumeCloud({ openJobs });
      const { order, check } = await make(cloud);
      return {
        jobs: cloud.jobs,
        order,
        async check(status) {
          await check(status);
          await nothingIsLeftOver(cloud);
        },
        close: () => cloud.stop(),
      };
    },
  });
}

async function sagaOf(cloud: VolumeCloud, subjectId: string, kind: string): Promise<Ordered> {
  const saga = (await cloud.jobs.find(subjectId)).find((view) => view.kind === kind);
  if (saga === undefined) throw new Error(`no ${kind} was started for ${subjectId}`);
  return { sagaId: saga.id };
}

const statusOf = async (cloud: VolumeCloud, id: string): Promise<string> => (await cloud.volumes.get(ada, id)).status;

/** A failure after the last commit leaves a whole volume, one before it none: never half of one. */
async function expectWholeOrNone(cloud: VolumeCloud, id: string, status: string): Promise<void> {
  const found = await statusOf(cloud, id);
  if (status === 'done') expect(found).toBe('available');
  expect(['available', 'error']).toContain(found);
  expect(await cloud.disks.sizeOf(id)).toBe(found === 'available' ? 2 ** 30 : undefined);
}

it('volume.create, blank', { timeout }, async () => {
  await prove('volume.create', async (cloud) => {
    let volume: Volume;
    return {
      async order() {
        volume = await cloud.order(ada);
        return await sagaOf(cloud, volume.id, 'volume.create');
      },
      check: (status) => expectWholeOrNone(cloud, volume.id, status),
    };
  });
});

it('volume.create, a clone of a volume', { timeout }, async () => {
  await prove('volume.create', async (cloud) => {
    const sourceId = await availableWithoutSaga(cloud);
    let clone: Volume;
    return {
      async order() {
        clone = await cloud.order(ada, { source: { kind: 'volume', id: sourceId } });
        return await sagaOf(cloud, clone.id, 'volume.create');
      },
      async check(status) {
        await expectWholeOrNone(cloud, clone.id, status);
        expect(await statusOf(cloud, sourceId)).toBe('available');
      },
    };
  });
});

/** The saga that makes volumes is the changed one. */
async function availableWithoutSaga(cloud: VolumeCloud): Promise<string> {
  const { database } = cloud.held;
  const id = newId();
  await database.transact(async (tx) => {
    await cloud.volumes.forBackups.createForRestore(tx, ada, { id, name: null, description: null, sizeGib: 1, status: 'creating' });
  });
  await cloud.disks.createDisk(id, { topLayerId: newId(), sizeBytes: 2 ** 30, fromPointId: null });
  await database.transact((tx) => cloud.volumes.forBackups.endRestore(tx, id, {}));
  return id;
}

it('volume.extend', { timeout }, async () => {
  await prove('volume.extend', async (cloud) => {
    const { id } = await cloud.volume(ada);
    return {
      async order() {
        await cloud.volumes.extend(ada, id, 2);
        return await sagaOf(cloud, id, 'volume.extend');
      },
      async check() {
        const volume = await cloud.volumes.get(ada, id);
        expect(['available', 'error_extending']).toContain(volume.status);
        // The row and the disk say the same, whatever happened.
        expect(await cloud.disks.sizeOf(id)).toBe(volume.sizeGib * 2 ** 30);
        expect(volume.status === 'available').toBe(volume.sizeGib === 2);
      },
    };
  });
});

it('volume.reimage', { timeout }, async () => {
  await prove('volume.reimage', async (cloud) => {
    const [{ id: source }, { id }] = [await cloud.volume(ada), await cloud.volume(ada)];
    const image = await cloud.snapshot(ada, source);
    const before = (await cloud.volumes.get(ada, id)).topLayerId;
    return {
      async order() {
        await cloud.volumes.reimage(ada, { volumeId: id, imageId: image.id, evenReserved: false });
        return await sagaOf(cloud, id, 'volume.reimage');
      },
      async check(status) {
        const volume = await cloud.volumes.get(ada, id);
        if (status === 'done') expect(volume.status).toBe('available');
        expect(['available', 'error']).toContain(volume.status);
        // The row tells of the image when, and only when, the disk is its.
        expect(volume.topLayerId !== before).toBe(volume.status === 'available');
        expect(volume.imageMetadata).toEqual(volume.status === 'available' ? { image_id: image.id } : {});
        expect(await cloud.disks.sizeOf(id)).toBe(2 ** 30);
      },
    };
  });
});

it('volume.delete, with its snapshots', { timeout }, async () => {
  await prove('volume.delete', async (cloud) => {
    const { id } = await cloud.volume(ada);
    const snapshot = await cloud.snapshot(ada, id);
    return {
      async order() {
        await cloud.volumes.delete(ada, id, { cascade: true, force: false });
        return await sagaOf(cloud, id, 'volume.delete');
      },
      async check(status) {
        const volume = await cloud.volumes.get(ada, id).catch(() => undefined);
        if (status === 'done') return expect(volume).toBeUndefined();
        // The last step may have been through when it failed.
        if (volume !== undefined) {
          expect(volume.status).toBe('error_deleting');
          expect((await cloud.snapshots.get(ada, snapshot.id)).status).toBe('error_deleting');
        }
      },
    };
  });
});

it('volume.revert', { timeout }, async () => {
  await prove('volume.revert', async (cloud) => {
    const { id } = await cloud.volume(ada);
    const snapshot = await cloud.snapshot(ada, id);
    await cloud.snapshot(ada, id);
    let before: string | null;
    return {
      async order() {
        before = (await cloud.volumes.get(ada, id)).topLayerId;
        await cloud.snapshots.revert(ada, { volumeId: id, snapshotId: snapshot.id, latestOnly: false });
        return await sagaOf(cloud, id, 'volume.revert');
      },
      async check(status) {
        const volume = await cloud.volumes.get(ada, id);
        expect(['available', 'error']).toContain(volume.status);
        if (status === 'done') expect(volume.status).toBe('available');
        // Reverted or as it was, and the status says which.
        expect(volume.topLayerId === before).toBe(volume.status === 'error');
        expect(await cloud.disks.sizeOf(id)).toBe(2 ** 30);
        expect((await cloud.snapshots.get(ada, snapshot.id)).status).toBe('available');
      },
    };
  });
});

it('snapshot.create', { timeout }, async () => {
  await prove('snapshot.create', async (cloud) => {
    const { id } = await cloud.volume(ada);
    let snapshotId: string;
    return {
      async order() {
        const order = { volumeId: id, name: null, description: null, metadata: {}, inUse: false };
        snapshotId = (await cloud.snapshots.create(ada, order)).id;
        return await sagaOf(cloud, snapshotId, 'snapshot.create');
      },
      async check(status) {
        const snapshot = await cloud.snapshots.get(ada, snapshotId);
        expect(status === 'done' ? ['available'] : ['available', 'error']).toContain(snapshot.status);
        expect(await statusOf(cloud, id)).toBe('available');
        if (snapshot.status === 'available') expect((await cloud.disks.sourceOf(snapshot.pointId ?? '')).sizeBytes).toBe(2 ** 30);
      },
    };
  });
});

it('snapshot.delete', { timeout }, async () => {
  await prove('snapshot.delete', async (cloud) => {
    const { id } = await cloud.volume(ada);
    const snapshot = await cloud.snapshot(ada, id);
    return {
      async order() {
        await cloud.snapshots.delete(ada, snapshot.id);
        return await sagaOf(cloud, snapshot.id, 'snapshot.delete');
      },
      async check(status) {
        const found = await cloud.snapshots.get(ada, snapshot.id).catch(() => undefined);
        if (status === 'done') expect(found).toBeUndefined();
        else if (found !== undefined) expect(found.status).toBe('error_deleting');
      },
    };
  });
});
