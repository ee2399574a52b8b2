/** The request to create a backup: the contract's checks in the contract's order, then the row and its saga, in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { Snapshot, SnapshotsForBackups } from '../snapshots/contract.ts';
import type { Volume, VolumesForBackups } from '../volumes/contract.ts';
import type { Backup, VolumeMeta } from './backup.ts';
import { type CreateInput, createKind } from './create.job.ts';
import type { CreateBackupOrder } from './orders.ts';
import { can } from './states.ts';
import { backupsOfVolume, databaseTime, insertBackup, lockBackup } from './store.ts';

export interface BeginCreateDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly volumes: VolumesForBackups;
  readonly snapshots: SnapshotsForBackups;
  readonly availabilityZone: string;
}

/** Returns the id of the new backup. */
export async function beginCreate(
  deps: BeginCreateDeps,
  tx: Tx,
  caller: Caller & { projectId: string },
  repositoryId: string,
  order: CreateBackupOrder,
): Promise<string> {
  const { volume, snapshot } = await beginOnSource(deps, tx, caller, order);
  await deps.quotas.reserve(tx, caller.projectId, { backups: 1, backup_gigabytes: volume.sizeGib });
  const parent = order.incremental ? await chooseParent(tx, caller.projectId, volume.id, snapshot) : undefined;

  const createdAt = await databaseTime(tx.sql);
  const backupId = newId();
  await insertBackup(tx.sql, {
    id: backupId,
    projectId: caller.projectId,
    userId: caller.userId,
    volumeId: volume.id,
    snapshotId: snapshot?.id ?? null,
    parentId: parent?.id ?? null,
    name: order.name,
    description: order.description,
    sizeGib: volume.sizeGib,
    container: order.container,
    availabilityZone: order.availabilityZone ?? deps.availabilityZone,
    metadata: order.metadata,
    volumeMeta: metaOf(volume),
    dataTimestamp: snapshot?.createdAt ?? createdAt,
    createdAt,
    repositoryId,
  });
  const input: CreateInput = {
    backupId,
    projectId: caller.projectId,
    volumeId: volume.id,
    snapshotId: snapshot?.id ?? null,
    repositoryId,
    pointId: snapshot === undefined ? newId() : pointOf(snapshot),
    topLayerId: newId(),
    incremental: order.incremental,
    availabilityZone: order.availabilityZone,
  };
  await deps.jobs.start(tx, { kind: createKind, subjectId: backupId, projectId: caller.projectId, input, requestId: caller.requestId });
  return backupId;
}

/** The volume or the snapshot becomes `backing-up`; whatever stands against it is said in the contract's words. */
async function beginOnSource(
  deps: BeginCreateDeps,
  tx: Tx,
  caller: Caller,
  order: CreateBackupOrder,
): Promise<{ volume: Volume; snapshot: Snapshot | undefined }> {
  const volume = await deps.volumes.getForUpdate(tx, caller, order.volumeId);
  authorise(caller, 'backup:create', volume);
  if (order.snapshotId === null) {
    return { volume: await deps.volumes.beginBackup(tx, caller, volume.id, { force: order.force }), snapshot: undefined };
  }
  const snapshot = await deps.snapshots.getForUpdate(tx, caller, order.snapshotId);
  if (snapshot.volumeId !== volume.id) {
    throw badRequest(`Invalid volume: Inconsistent snapshot ${snapshot.id}: it was not taken of volume ${volume.id}.`);
  }
  return { volume, snapshot: await deps.snapshots.beginBackup(tx, caller, snapshot.id) };
}

/**
 * The newest usable backup of the volume that belongs to the same project. For a snapshot one with older data is preferred, and any is better
 * than a refusal, because the parent is a matter of books: what is read follows from the journals, not from here. The row is locked, so that it cannot
 * be deleted before its child is there.
 */
async function chooseParent(tx: Tx, projectId: string, volumeId: string, snapshot: Snapshot | undefined): Promise<Backup> {
  const all = await backupsOfVolume(tx.sql, volumeId, projectId);
  if (all.length === 0) throw badRequest('Invalid backup: No backups available to do an incremental backup.');
  const usable = all.filter(can.beParent);
  const older = snapshot === undefined ? usable : usable.filter(({ dataTimestamp }) => dataTimestamp < snapshot.createdAt);
  const chosen = older.at(-1) ?? usable[0];
  const parent = chosen === undefined ? undefined : await lockBackup(tx.sql, chosen.id);
  if (parent === undefined || !can.beParent(parent)) {
    throw badRequest('Invalid backup: The parent backup must be available for incremental backup.');
  }
  return parent;
}

function metaOf({ name, description, bootable, metadata, imageMetadata }: Volume): VolumeMeta {
  return { name, description, bootable, metadata, imageMetadata };
}

function pointOf(snapshot: Snapshot): string {
  if (snapshot.pointId === null) throw new Error(`snapshot ${snapshot.id} is available without a point`);
  return snapshot.pointId;
}
