/**
 * Restoring a backup to a volume, new or existing.
 *
 *   freeze  what an existing volume holds becomes a hidden point, so that it can be read and built on. A disk that cannot be frozen is no obstacle
 *   write   onto that point an overlay is written that makes the disk the backup's: only what differs. A new volume, or one whose disk cannot be
 *           read, gets a whole new base instead. Either is checked against the backup's map, chunk by chunk
 *   swap    the volume is put on the new layer: one transaction. Then, in a second one, the rows say so: the volume is available, with the
 *           name, metadata and bootable flag that the backup remembers; the layer's point is known under the commit's root, so that the next incremental
 *           of this volume reads only what changed after the restore. What only the old disk needed is merged or goes soon after
 *
 * Half-way. Until the swap the old disk is what it was, so a failed or cancelled restore costs nothing but the new layer, which is removed, and the hidden
 * point, which is given up. After the swap the restore has happened; whatever fails then, settling goes forward and never calls a restored volume
 * broken. A repeated `write` makes its layer anew.
 *
 * Statuses of a restore that ends badly are the contract's: the volume is `error_restoring`, or `error` when it was made for this restore or the
 * restore was cancelled. The backup is available again, because nothing happened to it; its fail_reason says what went wrong.
 */
import type { Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { SagaDefinition, SagaFailure } from '../jobs/saga.ts';
import type { RestoredFacts, Volume } from '../volumes/contract.ts';
import { auditEvent } from './audit-finding.ts';
import { failReasonOf } from './backup.ts';
import { explained } from './reasons.ts';
import { freeze, release, write } from './restore-disk.ts';
import { type RestoreContext as Context, gib, holderOf, type RestoreInput, type RestoreJobDeps, type WriteNote } from './restore-work.ts';
import { endRestoreTo, lockBackup, move } from './store.ts';

export const restoreKind = 'backup.restore';

/** Each keeps a slot for as long as its bytes move; snapshots and other short work must find one free. */
const restoresMax = 8;

/** Settling asks for volumes by id, whoever owns them. */
const system: Caller = { userId: '', userName: 'stillpoint', projectId: null, roles: ['admin'], isAdmin: true, requestId: 'saga' };

export function restoreBackupSaga(deps: RestoreJobDeps): SagaDefinition<RestoreInput> {
  return {
    kind: restoreKind,
    concurrency: restoresMax,
    steps: [
      {
        name: 'freeze',
        run: (context) => freeze(deps, context),
        undo: (context) => release(deps, context, context.input.onto?.frozenPointId),
      },
      { name: 'write', run: (context) => write(deps, context), undo: (context) => release(deps, context, context.input.pointId) },
      {
        name: 'swap',
        run: (context) => swap(deps, context),
        undo: { notNeeded: 'Where the swap took place the restore is complete, and settling says so; where it did not, nothing changed.' },
      },
    ],
    settle: (context, failure) => settle(deps, context, failure),
  };
}

async function swap(deps: RestoreJobDeps, context: Context): Promise<undefined> {
  const { input } = context;
  const plan = { fromPointId: input.pointId, topLayerId: input.topLayerId, sizeBytes: input.volumeSizeGib * gib };
  await explained(context.signal, () =>
    context.effect('disk', () =>
      input.intoNewVolume ? deps.disks.createDisk(input.volumeId, plan) : deps.disks.replaceDisk(input.volumeId, plan),
    ),
  );
  await context.effect('rows', () => deps.database.transact((tx) => finish(deps, context, tx)));
}

async function finish(deps: RestoreJobDeps, context: Context, tx: Tx): Promise<void> {
  const { input } = context;
  const volume = await deps.volumes.getForUpdate(tx, system, input.volumeId);
  await deps.volumes.endRestore(tx, input.volumeId, restoredFacts(input, volume));
  await endOnBackup(tx, input, null);
  const { repositoryId, domain, session, root } = input;
  await deps.disks.recordRoot(tx, input.pointId, { repositoryId, domain, session, root });
  for (const pointId of [input.pointId, input.onto?.frozenPointId]) {
    if (pointId !== undefined) await deps.disks.release(tx, pointId, holderOf(context));
  }
  const finding = context.output<WriteNote>('write')?.finding;
  const { volumeId, backupId } = input;
  if (finding !== undefined) await deps.events.record(tx, auditEvent('a restore', { projectId: domain, volumeId, backupId }, finding));
}

/** The backup may be gone, reset, or busy with restores to other volumes: then this one has no say any more. */
async function endOnBackup(tx: Tx, input: RestoreInput, failReason: string | null): Promise<void> {
  const backup = await lockBackup(tx.sql, input.backupId);
  if (backup === undefined || !backup.restoreVolumeIds.includes(input.volumeId)) return;
  if ((await endRestoreTo(tx.sql, backup.id, input.volumeId)) === 0) await move(tx.sql, backup.id, 'restoreEnded', { failReason });
}

/** A volume that has a name of its own keeps it, and its description; otherwise it takes those of the volume that was backed up. */
function restoredFacts(input: RestoreInput, volume: Volume): RestoredFacts {
  const { name, description, metadata, bootable, imageMetadata } = input.volumeMeta;
  const keepsName = volume.name !== null && volume.name !== '' && !volume.name.startsWith('restore_backup_');
  return {
    ...(keepsName ? {} : { name, description }),
    // A new volume may have been given some of its own.
    metadata:
      input.volumeId === input.sourceVolumeId
        ? metadata
        : { ...metadata, src_backup_id: input.backupId, ...(input.intoNewVolume && volume.metadata) },
    bootable,
    imageMetadata,
  };
}

async function settle(deps: RestoreJobDeps, context: Context, failure: SagaFailure): Promise<void> {
  const { input } = context;
  await deps.database.transact(async (tx) => {
    const volume = await deps.volumes.getForUpdate(tx, system, input.volumeId);
    if (volume.topLayerId === input.topLayerId) {
      await finish(deps, context, tx);
      return;
    }
    await deps.volumes.failRestore(tx, input.volumeId, input.intoNewVolume || failure.cancelled ? 'error' : 'error_restoring');
    await endOnBackup(tx, input, failReasonOf(failure.message));
  });
}
