/**
 * Deleting a group with its volumes.
 *
 *   disks   the members' servers end, their top layers go
 *   rows    one transaction: the rows of the members and of the group
 *
 * Half-way: both steps find nothing to do where an interrupted attempt did it. There is no way back once a disk is gone, so a failure leaves
 * `error_deleting`, from which the group may be deleted again.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import type { VolumesForGroups } from '../volumes/service.ts';
import { deleteGroup, moveGroup } from './store.ts';

export const deleteKind = 'group.delete';

export type DeleteInput = { readonly groupId: string; readonly volumeIds: readonly string[] };

export interface DeleteJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'dropDisk'>;
  readonly volumes: Pick<VolumesForGroups, 'remove' | 'failDelete'>;
}

export function deleteGroupSaga({ database, disks, volumes }: DeleteJobDeps): SagaDefinition<DeleteInput> {
  return {
    kind: deleteKind,
    steps: [
      {
        name: 'disks',
        async run(context) {
          await context.effect('drop', async () => {
            for (const volumeId of context.input.volumeIds) await disks.dropDisk(volumeId);
          });
          return undefined;
        },
        undo: { notNeeded: 'A disk that is gone cannot come back; what was not removed yet is removed by the next attempt.' },
      },
      {
        name: 'rows',
        async run(context) {
          const { groupId, volumeIds } = context.input;
          await context.effect('rows', () =>
            database.transact(async (tx) => {
              for (const volumeId of volumeIds) await volumes.remove(tx, volumeId);
              await deleteGroup(tx.sql, groupId);
            }),
          );
          return undefined;
        },
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle({ input }) {
      await database.transact(async (tx) => {
        await moveGroup(tx.sql, input.groupId, 'deleteFailed');
        for (const volumeId of input.volumeIds) await volumes.failDelete(tx, volumeId);
      });
    },
  };
}
