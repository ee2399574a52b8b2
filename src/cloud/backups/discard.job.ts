/**
 * Tombstones the sessions of a backup that never came to be.
 *
 * A session may have left packs, and even a commit when it was cancelled in its last moment. Without a tombstone such a commit would count as a
 * live backup that no row knows. Tombstones are tiny, but the store that made the backup fail may be full or away for hours; so the work is
 * done in the `undo` of a step that never succeeds at a first failure: an undo is tried until it goes through, over restarts too.
 */
import type { DataMover } from '../../engine/transfer/contract.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { Repositories } from './repositories.ts';

export const discardKind = 'backup.discard';

export type DiscardInput = {
  readonly repositoryId: string;
  readonly domain: string;
  readonly sessions: readonly string[];
};

export interface DiscardJobDeps {
  readonly mover: Pick<DataMover, 'tombstone'>;
  readonly repositories: Repositories;
}

export function discardSessionsSaga(deps: DiscardJobDeps): SagaDefinition<DiscardInput> {
  const tombstoneAll = async (context: StepContext<DiscardInput>): Promise<void> => {
    const { repositoryId, domain, sessions } = context.input;
    const repository = await deps.repositories.addressOf(repositoryId);
    await context.effect('tombstones', async () => {
      for (const session of sessions) await deps.mover.tombstone(repository, domain, session);
    });
  };
  return {
    kind: discardKind,
    steps: [
      {
        name: 'tombstone',
        run: async (context) => {
          await tombstoneAll(context);
          return undefined;
        },
        undo: tombstoneAll,
      },
    ],
    settle: async () => {},
  };
}
