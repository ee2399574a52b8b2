/** The request to restore a backup: the contract's checks, the states of backup and volume, and the saga, in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Volume, VolumesForBackups } from '../volumes/contract.ts';
import type { Backup } from './backup.ts';
import type { Restore, RestoreBackupOrder, VolumeOrder } from './orders.ts';
import { restoreKind } from './restore.job.ts';
import type { RestoreInput } from './restore-work.ts';
import { can } from './states.ts';
import { move } from './store.ts';

export interface BeginRestoreDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly volumes: VolumesForBackups;
  readonly placement: Pick<Placement, 'requireBackups'>;
}

export async function beginRestore(
  deps: BeginRestoreDeps,
  tx: Tx,
  caller: Caller,
  backup: Backup,
  order: RestoreBackupOrder,
): Promise<Restore> {
  const { repositoryId, session, root } = backup;
  if (!can.restore(backup) || repositoryId === null || session === null || root === null) throw notAvailable();
  await deps.placement.requireBackups(tx.sql);
  const volume = await targetOf(deps, tx, caller, backup, order);
  await startRestore(
    deps,
    tx,
    caller,
    { backup, repositoryId, session, root, volume, intoNewVolume: order.volumeId === null },
    'restoreBegun',
  );
  return { backupId: backup.id, volumeId: volume.id, volumeName: volume.name ?? '' };
}

/** A new volume that starts as what the backup holds. Any number may be made at once. */
export async function beginVolume(deps: BeginRestoreDeps, tx: Tx, caller: Caller, backup: Backup, order: VolumeOrder): Promise<Volume> {
  const { repositoryId, session, root } = backup;
  if (!can.makeVolume(backup) || repositoryId === null || session === null || root === null) throw notAvailable();
  await deps.placement.requireBackups(tx.sql);
  const sizeGib = order.sizeGib ?? backup.sizeGib;
  if (sizeGib < backup.sizeGib) {
    throw badRequest(
      `Invalid input received: Volume size ${sizeGib}GB cannot be smaller than the backup size ${backup.sizeGib}GB. It must be >= backup size.`,
    );
  }
  const volume = await deps.volumes.createForRestore(tx, caller, { ...order, id: newId(), sizeGib, status: 'creating' });
  await startRestore(deps, tx, caller, { backup, repositoryId, session, root, volume, intoNewVolume: true }, 'restoreJoined');
  return volume;
}

interface Start {
  readonly backup: Backup;
  readonly repositoryId: string;
  readonly session: string;
  readonly root: string;
  readonly volume: Volume;
  readonly intoNewVolume: boolean;
}

async function startRestore(
  deps: BeginRestoreDeps,
  tx: Tx,
  caller: Caller,
  { backup, repositoryId, session, root, volume, intoNewVolume }: Start,
  transition: 'restoreBegun' | 'restoreJoined',
): Promise<void> {
  // The volume is locked first, as everywhere; the backup may have changed since it was looked at.
  const changes = { restoreVolumeId: volume.id, restoringTo: volume.id, failReason: null };
  if (!(await move(tx.sql, backup.id, transition, changes))) throw notAvailable();
  const input: RestoreInput = {
    backupId: backup.id,
    domain: backup.domain,
    repositoryId,
    session,
    root,
    sourceVolumeId: backup.volumeId,
    volumeMeta: backup.volumeMeta,
    volumeId: volume.id,
    volumeSizeGib: volume.sizeGib,
    intoNewVolume,
    onto: intoNewVolume ? null : { frozenPointId: newId(), frozenTopLayerId: newId(), overlayLayerId: newId() },
    baseLayerId: newId(),
    pointId: newId(),
    topLayerId: newId(),
  };
  await deps.jobs.start(tx, { kind: restoreKind, subjectId: backup.id, projectId: caller.projectId, input, requestId: caller.requestId });
}

const notAvailable = () => badRequest('Invalid backup: Backup status must be available');

async function targetOf(deps: BeginRestoreDeps, tx: Tx, caller: Caller, backup: Backup, order: RestoreBackupOrder): Promise<Volume> {
  if (order.volumeId !== null) return await deps.volumes.beginRestore(tx, caller, order.volumeId, backup);
  return await deps.volumes.createForRestore(tx, caller, {
    id: newId(),
    name: order.name ?? `restore_backup_${backup.id}`,
    description: 'auto-created_from_restore_from_backup',
    sizeGib: backup.sizeGib,
    status: 'restoring-backup',
  });
}
