/** Snapshots as parts of group snapshots, and of images of servers. `contract.ts` says what each promises. */
import type { Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Quotas } from '../quotas/service.ts';
import type { NewPart, SnapshotsForGroups, SnapshotsForServers, SnapshotsForTransfers } from './contract.ts';
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

export interface PartsDeps {
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly disks: Pick<DisksService, 'release'>;
}

async function insertPart(
  { quotas }: PartsDeps,
  tx: Tx,
  caller: Caller,
  part: Omit<NewPart, 'groupSnapshotId'> & Partial<NewPart>,
): Promise<void> {
  const { id, volume, groupSnapshotId, name, description } = part;
  const { id: volumeId, projectId, sizeGib } = volume;
  await quotas.reserve(tx, projectId, quotaOfSnapshot(volume.volumeType.name, sizeGib));
  const row = { id, projectId, userId: caller.userId, volumeId, name, description, sizeGib, metadata: {} };
  await insertSnapshot(tx.sql, groupSnapshotId === undefined ? row : { ...row, groupSnapshotId });
}

async function finishPart(tx: Tx, id: string, pointId: string): Promise<boolean> {
  if (await move(tx.sql, id, 'created', { pointId, progress: '100%' })) return true;
  return (await findSnapshot(tx.sql, id))?.pointId === pointId;
}

export function createSnapshotsForServers(deps: PartsDeps): SnapshotsForServers {
  return {
    insert: (tx, caller, part) => insertPart(deps, tx, caller, part),
    finish: finishPart,
    isFinished: async (tx, id, pointId) => (await findSnapshot(tx.sql, id))?.pointId === pointId,
    async drop(tx, id) {
      if ((await findSnapshot(tx.sql, id))?.pointId === null) await deleteSnapshot(tx.sql, id);
    },
    holderOf,
  };
}

export function createSnapshotsForGroups(deps: PartsDeps): SnapshotsForGroups {
  return {
    insertPart: (tx, caller, part) => insertPart(deps, tx, caller, part),
    finish: finishPart,
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
