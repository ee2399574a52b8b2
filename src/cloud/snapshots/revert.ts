/** The request to revert a volume to one of its snapshots: every check first, then both rows and the saga in one transaction. */
import { badRequest, conflict } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Volume, VolumesForSnapshots } from '../volumes/service.ts';
import { lockedSnapshot } from './access.ts';
import type { Snapshot } from './contract.ts';
import { type RevertInput, revertHolderOf, revertKind } from './revert.job.ts';
import { findLatestSnapshotOf, move } from './store.ts';

export interface RevertOrder {
  readonly volumeId: string;
  readonly snapshotId: string;
  /** Block Storage reverts to the latest snapshot only, and only a volume that has not grown since. */
  readonly latestOnly: boolean;
}

export interface RevertDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly disks: Pick<DisksService, 'hold'>;
  readonly volumes: Pick<VolumesForSnapshots, 'lock' | 'beginRevert'>;
}

const gib = 2 ** 30;

/** Returns the id of the saga. */
export async function beginRevert(deps: RevertDeps, tx: Tx, caller: Caller, order: RevertOrder): Promise<string> {
  const volume = await deps.volumes.lock(tx, caller, order.volumeId);
  authorise(caller, 'volume:revert', volume);
  if (order.latestOnly) await checkLatest(tx, volume, order.snapshotId);
  const snapshot = await lockedSnapshot(tx, caller, order.snapshotId, 'snapshot:get');
  if (snapshot.volumeId !== volume.id) {
    throw badRequest(`Invalid snapshot: Snapshot ${snapshot.id} is not one of volume ${volume.id}.`);
  }
  if (order.latestOnly && volume.sizeGib !== snapshot.sizeGib) {
    throw badRequest(
      `Can't revert volume ${volume.id} to its latest snapshot ${snapshot.id}. The volume size must be equal to the snapshot size.`,
    );
  }
  const pointId = await moveBoth(deps, tx, volume, snapshot, order);
  await deps.disks.hold(tx, pointId, revertHolderOf(volume.id));
  const input: RevertInput = {
    volumeId: volume.id,
    snapshotId: snapshot.id,
    pointId,
    topLayerId: newId(),
    sizeBytes: volume.sizeGib * gib,
  };
  return await deps.jobs.start(tx, { kind: revertKind, subjectId: volume.id, projectId: volume.projectId, input });
}

async function checkLatest(tx: Tx, volume: Volume, snapshotId: string): Promise<void> {
  const latest = await findLatestSnapshotOf(tx.sql, volume.id);
  if (latest === undefined) throw badRequest(`Volume ${volume.id} doesn't have any snapshots.`);
  if (latest.id !== snapshotId) {
    throw badRequest(`Specified snapshot ${snapshotId} is None or not the latest one of volume ${volume.id}.`);
  }
}

/** Returns the snapshot's point. */
async function moveBoth(deps: RevertDeps, tx: Tx, volume: Volume, snapshot: Snapshot, { latestOnly }: RevertOrder): Promise<string> {
  const begin = `Can't revert volume ${volume.id} to ${latestOnly ? 'its latest snapshot' : 'snapshot'} ${snapshot.id}.`;
  if (!(await deps.volumes.beginRevert(tx, volume))) {
    throw conflict(`Invalid volume: ${begin} Volume's status must be 'available'.`);
  }
  if (snapshot.pointId === null || !(await move(tx.sql, snapshot.id, 'revertBegun'))) {
    throw conflict(`Invalid snapshot: ${begin} Snapshot's status must be 'available'.`);
  }
  return snapshot.pointId;
}
