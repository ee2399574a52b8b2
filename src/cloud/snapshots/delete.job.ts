/**
 * Deleting a snapshot: its hold on the point ends and its row goes, in one transaction. Volumes that were made from it stand on the layer itself
 * and keep it. What nobody needs any more is merged or removed by housekeeping, later and whatever the order of deletions.
 *
 * There is no half-way: the transaction happened or it did not.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import { holderOf } from './create.job.ts';
import { deleteSnapshot, lockSnapshot, move } from './store.ts';

export const deleteKind = 'snapshot.delete';

export type DeleteInput = { readonly snapshotId: string };

export interface DeleteJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'release'>;
}

export function deleteSnapshotSaga({ database, disks }: DeleteJobDeps): SagaDefinition<DeleteInput> {
  return {
    kind: deleteKind,
    steps: [
      {
        name: 'rows',
        async run(context) {
          const { snapshotId } = context.input;
          await context.effect('rows', () =>
            database.transact(async (tx) => {
              const snapshot = await lockSnapshot(tx.sql, snapshotId);
              if (snapshot === undefined) return;
              if (snapshot.pointId !== null) await disks.release(tx, snapshot.pointId, holderOf(snapshotId));
              await deleteSnapshot(tx.sql, snapshotId);
            }),
          );
          return undefined;
        },
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle({ input }) {
      await move(database.sql, input.snapshotId, 'deleteFailed');
    },
  };
}
