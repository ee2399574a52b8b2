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
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import { lockSnapshot, move } from './store.ts';

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
        undo: ({ input }) => database.transact((tx) => releaseUnlessFinished(tx, input)),
      },
      {
        name: 'finish',
        async run(context) {
          await context.effect('rows', () => finish(context.input));
          return undefined;
        },
        undo: { notNeeded: 'It is one statement, and the last step.' },
      },
    ],
    async settle({ input }) {
      await move(database.sql, input.snapshotId, 'createFailed');
    },
  };

  async function finish(input: CreateInput): Promise<void> {
    const changes = { pointId: input.pointId, progress: '100%' };
    if (!(await move(database.sql, input.snapshotId, 'created', changes)))
      await database.transact((tx) => releaseUnlessFinished(tx, input));
  }

  /**
   * A snapshot that is being deleted by force, or was reset, has no use for the point. One that names the point is finished, also when a
   * failure is reported: the answer to a commit may be lost.
   */
  async function releaseUnlessFinished(tx: Tx, { snapshotId, pointId }: CreateInput): Promise<void> {
    const snapshot = await lockSnapshot(tx.sql, snapshotId);
    if (snapshot?.pointId !== pointId) await disks.release(tx, pointId, holderOf(snapshotId));
  }
}
