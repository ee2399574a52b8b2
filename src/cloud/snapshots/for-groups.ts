/** Snapshots as parts of group snapshots. `contract.ts` says what each promises. */
import type { DisksService } from '../disks/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { SnapshotsForGroups, SnapshotsForTransfers } from './contract.ts';
import { holderOf } from './create.job.ts';
import { quotaOfSnapshot } from './quota.ts';
import {
  countSnapshotsOf,
  deleteSnapshot,
  findSnapshot,
  giveSnapshotsOf,
  insertSnapshot,
  lockPartsOf,
  lockSnapshotsOf,
  move,
} from './store.ts';

export function createSnapshotsForGroups(deps: {
  quotas: Pick<Quotas, 'reserve'>;
  disks: Pick<DisksService, 'release'>;
}): SnapshotsForGroups {
  return {
    async insertPart(tx, caller, { id, volume, groupSnapshotId, name, description }) {
      const { id: volumeId, projectId, sizeGib } = volume;
      await deps.quotas.reserve(tx, projectId, quotaOfSnapshot(volume.volumeType.name, sizeGib));
      const row = { id, projectId, userId: caller.userId, volumeId, name, description, sizeGib, metadata: {}, groupSnapshotId };
      await insertSnapshot(tx.sql, row);
    },
    async finish(tx, id, pointId) {
      if (await move(tx.sql, id, 'created', { pointId, progress: '100%' })) return true;
      return (await findSnapshot(tx.sql, id))?.pointId === pointId;
    },
    async fail(tx, id) {
      await move(tx.sql, id, 'createFailed');
    },
    lockParts: (tx, groupSnapshotId) => lockPartsOf(tx.sql, groupSnapshotId),
    hasAny: async (tx, volumeId) => (await countSnapshotsOf(tx.sql, volumeId)) > 0,
    beginDelete: (tx, id) => move(tx.sql, id, 'partDeleteBegun'),
    async removeParts(tx, groupSnapshotId) {
      for (const { id, pointId } of await lockPartsOf(tx.sql, groupSnapshotId)) {
        if (pointId !== null) await deps.disks.release(tx, pointId, holderOf(id));
        await deleteSnapshot(tx.sql, id);
      }
    },
    async failDelete(tx, id) {
      await move(tx.sql, id, 'deleteFailed');
    },
    holderOf,
  };
}

export function createSnapshotsForTransfers(): SnapshotsForTransfers {
  return {
    lockOf: async (tx, { id, projectId }) => (await lockSnapshotsOf(tx.sql, id)).filter((snapshot) => snapshot.projectId === projectId),
    giveTo: (tx, { id, projectId }, receiver) => giveSnapshotsOf(tx.sql, id, projectId, receiver),
  };
}
