/**
 * Deleting a volume, with its snapshots when that was asked for.
 *
 *   disk   the server of its bytes ends, the top layer goes. Layers below stay as long as a snapshot's, an image's or another volume's
 *          disk stands on them; housekeeping removes the rest
 *   rows   one transaction: snapshots that go along lose their points' holds and their rows, then the volume's row goes
 *
 * Half-way: both steps find nothing to do where an interrupted attempt did it. There is no way back once the disk is gone, so a failure leaves
 * `error_deleting`, which deletion by force leads out of.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import type { SnapshotSources } from './sources.ts';
import { deleteVolume, move } from './store.ts';

export const deleteKind = 'volume.delete';

export type DeleteInput = { readonly volumeId: string; readonly cascade: boolean };

export interface DeleteJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'dropDisk'>;
  readonly snapshots: Pick<SnapshotSources, 'finishDeleteAll' | 'failDeleteAll'>;
}

export function deleteVolumeSaga({ database, disks, snapshots }: DeleteJobDeps): SagaDefinition<DeleteInput> {
  return {
    kind: deleteKind,
    steps: [
      {
        name: 'disk',
        async run(context) {
          await context.effect('drop', () => disks.dropDisk(context.input.volumeId));
          return undefined;
        },
        undo: { notNeeded: 'A disk that is gone cannot come back; what was not removed yet is removed by the next attempt.' },
      },
      {
        name: 'rows',
        async run(context) {
          const { volumeId, cascade } = context.input;
          await context.effect('rows', () =>
            database.transact(async (tx) => {
              if (cascade) await snapshots.finishDeleteAll(tx, volumeId);
              await deleteVolume(tx.sql, volumeId);
            }),
          );
          return undefined;
        },
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle(context) {
      const { volumeId, cascade } = context.input;
      await database.transact(async (tx) => {
        await move(tx.sql, volumeId, 'deleteFailed');
        if (cascade) await snapshots.failDeleteAll(tx, volumeId);
      });
    },
  };
}
