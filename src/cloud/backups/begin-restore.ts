/** The request to restore a backup: the contract's checks, the states of backup and volume, and the saga, in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Volume, VolumesForBackups } from '../volumes/contract.ts';
import type { Backup } from './backup.ts';
import type { Restore, RestoreBackupOrder } from './orders.ts';
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
  // The volume is locked first, as everywhere; the backup may have changed since it was looked at.
  if (!(await move(tx.sql, backup.id, 'restoreBegun', { restoreVolumeId: volume.id, failReason: null }))) throw notAvailable();
  const input: RestoreInput = {
    backupId: backup.id,
    domain: backup.projectId,
    repositoryId,
    session,
    root,
    sourceVolumeId: backup.volumeId,
    volumeMeta: backup.volumeMeta,
    volumeId: volume.id,
    volumeSizeGib: volume.sizeGib,
    intoNewVolume: order.volumeId === null,
    onto: order.volumeId === null ? null : { frozenPointId: newId(), frozenTopLayerId: newId(), overlayLayerId: newId() },
    baseLayerId: newId(),
    pointId: newId(),
    topLayerId: newId(),
  };
  await deps.jobs.start(tx, { kind: restoreKind, subjectId: backup.id, projectId: caller.projectId, input, requestId: caller.requestId });
  return { backupId: backup.id, volumeId: volume.id, volumeName: volume.name ?? '' };
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
