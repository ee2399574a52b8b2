/**
 * Deleting a backup.
 *
 *   tombstone  the commit stops being live: from now on it is garbage, and no restore begins from it. A commit that the rows of imported
 *              records lean on, too, stays for them
 *   remove     the row goes, in one transaction
 *
 * The request itself made the state `deleting` and took the commit out of the roots that incrementals start from, so no new backup leans on
 * it. The tombstone comes before the row: the other way round a crash between them would leave a live commit that nothing refers to.
 *
 * When the tombstone cannot be written, the backup is `error` and may be deleted again. Whether the tombstone is there is unknown then, so the
 * row forgets its root, and with it the right to be called `available` again.
 */
import type { DataMover } from '../../engine/transfer/contract.ts';
import type { Database } from '../database/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import { failReasonOf } from './backup.ts';
import { explained } from './reasons.ts';
import type { Repositories } from './repositories.ts';
import { findBackup, hasSiblings, move, removeBackup } from './store.ts';

export const deleteKind = 'backup.delete';

export type DeleteInput = { readonly backupId: string };

export interface DeleteJobDeps {
  readonly database: Database;
  readonly mover: Pick<DataMover, 'tombstone'>;
  readonly repositories: Repositories;
}

export function deleteBackupSaga(deps: DeleteJobDeps): SagaDefinition<DeleteInput> {
  return {
    kind: deleteKind,
    steps: [
      {
        name: 'tombstone',
        run: (context) => tombstone(deps, context),
        undo: { notNeeded: 'Tombstones are for ever; the settled row says that deletion was begun and may be repeated.' },
      },
      {
        name: 'remove',
        run: (context) => remove(deps, context),
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle({ input }, failure) {
      await move(deps.database.sql, input.backupId, 'deleteFailed', { failReason: failReasonOf(failure.message), root: null });
    },
  };
}

async function tombstone(deps: DeleteJobDeps, context: StepContext<DeleteInput>): Promise<undefined> {
  const backup = await findBackup(deps.database.sql, context.input.backupId);
  if (backup === undefined || backup.session === null || backup.repositoryId === null) return;
  const { session, domain } = backup;
  // Their own deletion ends the commit; of two that are being deleted at once, both do.
  if (await hasSiblings(deps.database.sql, { id: backup.id, session }, 'kept')) return;
  const repository = await deps.repositories.addressOf(backup.repositoryId);
  await explained(context.signal, () => context.effect('write', () => deps.mover.tombstone(repository, domain, session)));
}

async function remove(deps: DeleteJobDeps, context: StepContext<DeleteInput>): Promise<undefined> {
  await context.effect('row', () => removeBackup(deps.database.sql, context.input.backupId));
}
