/**
 * Creating a snapshot: the volume's disk is frozen at this moment and goes on in an empty layer. Milliseconds, whatever the size, also while a
 * server has the disk open.
 *
 *   freeze   makes the point, held for the snapshot
 *   finish   the snapshot is available, and names its point
 *
 * Half-way: the ids of the point and of the volume's next layer were chosen in the request, so a repeat finds what an interrupted attempt
 * made. A failure ends the hold (the two layers are merged again later) and leaves the snapshot in error; the volume never notices.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import { move } from './store.ts';

export const createKind = 'snapshot.create';

export type CreateInput = {
  readonly snapshotId: string;
  readonly volumeId: string;
  readonly pointId: string;
  readonly topLayerId: string;
};

export interface CreateJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'freeze' | 'release'>;
}

export const holderOf = (snapshotId: string): string => `snapshot:${snapshotId}`;

export function createSnapshotSaga({ database, disks }: CreateJobDeps): SagaDefinition<CreateInput> {
  return {
    kind: createKind,
    steps: [
      {
        name: 'freeze',
        async run(context) {
          const { snapshotId, volumeId, pointId, topLayerId } = context.input;
          await context.effect('freeze', () => disks.freeze(volumeId, { pointId, topLayerId, holder: holderOf(snapshotId) }));
          return undefined;
        },
        undo: ({ input }) => database.transact((tx) => disks.release(tx, input.pointId, holderOf(input.snapshotId))),
      },
      {
        name: 'finish',
        async run({ input }) {
          const { snapshotId, pointId } = input;
          // A snapshot that is being deleted by force meanwhile has no further use for the point.
          const done = await move(database.sql, snapshotId, 'created', { pointId, progress: '100%' });
          if (!done) await database.transact((tx) => disks.release(tx, pointId, holderOf(snapshotId)));
          return undefined;
        },
        undo: { notNeeded: 'It is one statement, and the last step.' },
      },
    ],
    async settle({ input }) {
      await move(database.sql, input.snapshotId, 'createFailed');
    },
  };
}
