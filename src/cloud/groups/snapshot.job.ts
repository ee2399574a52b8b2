/**
 * Group snapshots: of all volumes of a group at once, or of none.
 *
 * Creating:
 *   freeze   points of all the volumes, of one moment (`disks.freezeTogether` says how, and when that fails)
 *   finish   one transaction: every part is available and names its point, and so is the group snapshot
 * Half-way: the ids were chosen in the request, so a repeat finds what an interrupted attempt made. A failure releases every point, those that were
 * made too, and leaves all of it in error.
 *
 * Deleting is one transaction: it happened or it did not.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { SnapshotsForGroups } from '../snapshots/service.ts';
import { deleteGroupSnapshot, moveGroupSnapshot } from './store.ts';

export const createSnapshotKind = 'group_snapshot.create';
export const deleteSnapshotKind = 'group_snapshot.delete';

export type CreateSnapshotInput = {
  readonly groupSnapshotId: string;
  readonly parts: readonly {
    readonly snapshotId: string;
    readonly volumeId: string;
    readonly pointId: string;
    readonly topLayerId: string;
  }[];
};
export type DeleteSnapshotInput = { readonly groupSnapshotId: string };

export interface SnapshotJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'freezeTogether' | 'release'>;
  readonly snapshots: SnapshotsForGroups;
}

type Context = StepContext<CreateSnapshotInput>;

export function createGroupSnapshotSaga({ database, disks, snapshots }: SnapshotJobDeps): SagaDefinition<CreateSnapshotInput> {
  async function freeze(context: Context): Promise<undefined> {
    const plans = context.input.parts.map(({ snapshotId, ...plan }) => ({ ...plan, holder: snapshots.holderOf(snapshotId) }));
    await context.effect('freeze', () => disks.freezeTogether(plans));
  }

  /** Parts that name their points are finished, also when a failure is reported: the answer to a commit may be lost. */
  async function releaseUnfinished({ input }: Context): Promise<void> {
    await database.transact(async (tx) => {
      const finished = new Set((await snapshots.lockParts(tx, input.groupSnapshotId)).map(({ pointId }) => pointId));
      for (const { pointId, snapshotId } of input.parts) {
        if (!finished.has(pointId)) await disks.release(tx, pointId, snapshots.holderOf(snapshotId));
      }
    });
  }

  async function finish(context: Context): Promise<undefined> {
    const { groupSnapshotId, parts } = context.input;
    await context.effect('rows', () =>
      database.transact(async (tx) => {
        for (const { snapshotId, pointId } of parts) {
          if (!(await snapshots.finish(tx, snapshotId, pointId))) await disks.release(tx, pointId, snapshots.holderOf(snapshotId));
        }
        await moveGroupSnapshot(tx.sql, groupSnapshotId, 'created');
      }),
    );
  }

  return {
    kind: createSnapshotKind,
    steps: [
      { name: 'freeze', run: freeze, undo: releaseUnfinished },
      { name: 'finish', run: finish, undo: { notNeeded: 'It is one transaction, and the last step.' } },
    ],
    async settle({ input }) {
      await database.transact(async (tx) => {
        for (const { snapshotId } of input.parts) await snapshots.fail(tx, snapshotId);
        await moveGroupSnapshot(tx.sql, input.groupSnapshotId, 'createFailed');
      });
    },
  };
}

export function deleteGroupSnapshotSaga({ database, snapshots }: SnapshotJobDeps): SagaDefinition<DeleteSnapshotInput> {
  return {
    kind: deleteSnapshotKind,
    steps: [
      {
        name: 'rows',
        async run(context) {
          const { groupSnapshotId } = context.input;
          await context.effect('rows', () =>
            database.transact(async (tx) => {
              await snapshots.removeParts(tx, groupSnapshotId);
              await deleteGroupSnapshot(tx.sql, groupSnapshotId);
            }),
          );
          return undefined;
        },
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle({ input }) {
      await database.transact(async (tx) => {
        for (const { id } of await snapshots.lockParts(tx, input.groupSnapshotId)) await snapshots.failDelete(tx, id);
        await moveGroupSnapshot(tx.sql, input.groupSnapshotId, 'deleteFailed');
      });
    },
  };
}
