/** What volumes ask of snapshots: to start from one, and to take them along when a volume is deleted. */
import { badRequest } from '../../lib/errors.ts';
import type { Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import { canSee } from '../identity/policy.ts';
import type { SnapshotSources } from '../volumes/service.ts';
import { lockedSnapshot, visibleSnapshot } from './access.ts';
import { holderOf } from './create.job.ts';
import { transitions } from './states.ts';
import { countSnapshotsOf, deleteSnapshot, lockSnapshotsOf, move, originOf } from './store.ts';

export function createSnapshotSources({ disks }: { disks: Pick<DisksService, 'release'> }): SnapshotSources {
  return {
    volumeOf: async (tx, caller, id) => (await visibleSnapshot(tx.sql, caller, id, 'snapshot:get')).volumeId,

    async sourceFor(tx, caller, id) {
      const snapshot = await lockedSnapshot(tx, caller, id, 'snapshot:get');
      if (snapshot.status !== 'available' || snapshot.pointId === null) {
        throw badRequest("Invalid snapshot: Originating snapshot status must be one of 'available' values");
      }
      const { pointId, sizeGib, projectId } = snapshot;
      return { snapshotId: id, pointId, sizeGib, projectId, ...(await originOf(tx.sql, id)) };
    },

    countOf: (tx, volumeId) => countSnapshotsOf(tx.sql, volumeId),

    async beginDeleteAll(tx, caller, volumeId) {
      const snapshots = await lockSnapshotsOf(tx.sql, volumeId);
      const deletable: readonly string[] = transitions.deleteBegun.from;
      const isFree = ({ status, projectId, groupSnapshotId }: (typeof snapshots)[number]) =>
        deletable.includes(status) && canSee(caller, { projectId }) && groupSnapshotId === null;
      if (!snapshots.every(isFree)) return false;
      for (const { id } of snapshots) await move(tx.sql, id, 'deleteBegun');
      return true;
    },

    async finishDeleteAll(tx, volumeId) {
      for (const { id, status, pointId } of await lockSnapshotsOf(tx.sql, volumeId)) {
        if (status !== 'deleting') throw new Error(`snapshot ${id} became ${status} while its volume was being deleted`);
        await removeRow(tx, id, pointId);
      }
    },

    async failDeleteAll(tx, volumeId) {
      for (const { id } of await lockSnapshotsOf(tx.sql, volumeId)) await move(tx.sql, id, 'deleteFailed');
    },
  };

  async function removeRow(tx: Tx, id: string, pointId: string | null): Promise<void> {
    if (pointId !== null) await disks.release(tx, pointId, holderOf(id));
    await deleteSnapshot(tx.sql, id);
  }
}
