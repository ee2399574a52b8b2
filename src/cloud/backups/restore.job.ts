/**
 * Restoring a backup to a volume, new or existing.
 *
 *   write   a new base layer is written beside whatever the volume has now, and its content is checked against the commit's root
 *   swap    the volume is put on the new base: one transaction. Then, in a second one, the rows say so: the volume is available, with the
 *           name, metadata and bootable flag that the backup remembers; the base is known under the commit's root, so that the next incremental of
 *           this volume reads only what changed after the restore. The old layers go soon after, where nobody holds them
 *
 * Half-way. Until the swap the old disk is untouched, so a failed or cancelled restore costs nothing but the new base, which is removed. After the
 * swap the restore has happened; whatever fails then, settling goes forward and never calls a restored volume broken. A repeated `write` makes the
 * base anew.
 *
 * Statuses of a restore that ends badly are the contract's: the volume is `error_restoring`, or `error` when it was made for this restore or the
 * restore was cancelled. The backup is available again, because nothing happened to it; its fail_reason says what went wrong.
 */
import type { LayerTarget } from '../../engine/disk/contract.ts';
import { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { Reservation, SpaceAccount } from '../../engine/space/contract.ts';
import type { DataMover } from '../../engine/transfer/contract.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/contract.ts';
import type { Caller } from '../identity/caller.ts';
import type { SagaDefinition, SagaFailure, StepContext } from '../jobs/saga.ts';
import type { RestoredFacts, Volume, VolumesForBackups } from '../volumes/contract.ts';
import { failReasonOf, type VolumeMeta } from './backup.ts';
import { explained, withNewMover } from './reasons.ts';
import type { Repositories } from './repositories.ts';
import { lockBackup, move } from './store.ts';

export const restoreKind = 'backup.restore';

/** Everything that is needed of the backup's row: it may be deleted by force meanwhile. */
export type RestoreInput = {
  readonly backupId: string;
  /** The project of the backup: its chunks and key. */
  readonly domain: string;
  readonly repositoryId: string;
  readonly session: string;
  readonly root: string;
  readonly sourceVolumeId: string;
  readonly volumeMeta: VolumeMeta;
  readonly volumeId: string;
  readonly volumeSizeGib: number;
  /** The volume was made for this restore. */
  readonly intoNewVolume: boolean;
  readonly baseLayerId: string;
  readonly pointId: string;
  readonly topLayerId: string;
};

export interface RestoreJobDeps {
  readonly database: Database;
  readonly disks: DisksService;
  readonly mover: Pick<DataMover, 'restore'>;
  readonly volumes: VolumesForBackups;
  readonly repositories: Repositories;
  readonly space: Pick<SpaceAccount, 'reserve'>;
}

/** Each keeps a slot for as long as its bytes move; snapshots and other short work must find one free. */
const restoresMax = 8;

type Context = StepContext<RestoreInput>;

const gib = 1024 ** 3;
const holderOf = (context: Context): string => `restore:${context.sagaId}`;

/** Settling asks for volumes by id, whoever owns them. */
const system: Caller = { userId: '', userName: 'stillpoint', projectId: null, roles: ['admin'], isAdmin: true, requestId: 'saga' };

export function restoreBackupSaga(deps: RestoreJobDeps): SagaDefinition<RestoreInput> {
  return {
    kind: restoreKind,
    concurrency: restoresMax,
    steps: [
      { name: 'write', run: (context) => write(deps, context), undo: (context) => releaseBase(deps, context) },
      {
        name: 'swap',
        run: (context) => swap(deps, context),
        undo: { notNeeded: 'Where the swap took place the restore is complete, and settling says so; where it did not, nothing changed.' },
      },
    ],
    settle: (context, failure) => settle(deps, context, failure),
  };
}

async function write(deps: RestoreJobDeps, context: Context): Promise<undefined> {
  const { input } = context;
  const repository = await deps.repositories.addressOf(input.repositoryId);
  const sizeBytes = input.volumeSizeGib * gib;
  const { signal } = context;
  const base = { layerId: input.baseLayerId, pointId: input.pointId, home: input.volumeId, sizeBytes, holder: holderOf(context) };
  const fill = async ({ path }: LayerTarget): Promise<ExtentSet> => {
    const order = { repository, domain: input.domain, session: input.session, targetPath: path, targetSizeBytes: sizeBytes };
    const outcome = await withReserved(deps, path, (admit) =>
      deps.mover.restore(order, { signal, admit, onProgress: (doneBytes, totalBytes) => context.progress({ doneBytes, totalBytes }) }),
    );
    if (outcome.root !== input.root) throw new Error('the restored disk is not the one that was backed up');
    return ExtentSet.decode(Buffer.from(outcome.allocated, 'base64'));
  };
  await explained(signal, () => context.effect('base', () => withNewMover(signal, () => deps.disks.createBase(base, fill))));
}

/** What the mover is going to write is reserved before its first byte, and for as long as it writes. */
async function withReserved<T>(
  deps: RestoreJobDeps,
  path: string,
  write: (admit: (bytes: number) => Promise<void>) => Promise<T>,
): Promise<T> {
  let reserved: Reservation | undefined;
  let isOver = false;
  try {
    return await write(async (bytes) => {
      reserved = await deps.space.reserve({ path, bytes, purpose: 'the restore' });
      // A cancel does not wait for it.
      if (isOver) reserved.release();
    });
  } finally {
    isOver = true;
    reserved?.release();
  }
}

async function releaseBase(deps: RestoreJobDeps, context: Context): Promise<void> {
  await deps.database.transact((tx) => deps.disks.release(tx, context.input.pointId, holderOf(context)));
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
  await deps.disks.release(tx, input.pointId, holderOf(context));
}

/** The backup may be gone, reset, or busy with a later restore to another volume: then this one has no say any more. */
async function endOnBackup(tx: Tx, input: RestoreInput, failReason: string | null): Promise<void> {
  const backup = await lockBackup(tx.sql, input.backupId);
  if (backup?.restoreVolumeId === input.volumeId) await move(tx.sql, backup.id, 'restoreEnded', { failReason });
}

/** A volume that has a name of its own keeps it, and its description; otherwise it takes those of the volume that was backed up. */
function restoredFacts(input: RestoreInput, volume: Volume): RestoredFacts {
  const { name, description, metadata, bootable, imageMetadata } = input.volumeMeta;
  const keepsName = volume.name !== null && volume.name !== '' && !volume.name.startsWith('restore_backup_');
  return {
    ...(keepsName ? {} : { name, description }),
    metadata: input.volumeId === input.sourceVolumeId ? metadata : { ...metadata, src_backup_id: input.backupId },
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
