/**
 * Removes what a deleted image leaves behind. Its row went in the request's transaction, so nobody can ask for it any more.
 *
 * First the files, then the hold on the base. The base of a raw image is the same file under another name: as long as somebody still
 * downloads it, it must not lose its holder, because a base without one may be merged into. Volumes made from the image keep the
 * base by themselves, for as long as they need it.
 *
 * There is no way back, and every part may be repeated. When a step fails (a disk error), the settling does the same work again, and is
 * itself repeated until it is done.
 */
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import { holderOf, type ImagesDeps } from './deps.ts';

export type DeleteInput = {
  readonly imageId: string;
  readonly pointId: string | null;
};

export const deleteKind = 'image.delete';

const noWayBack = { notNeeded: 'The image is gone for its users already; the settling finishes the removal.' } as const;

export function deleteSaga(deps: ImagesDeps): SagaDefinition<DeleteInput> {
  async function removeFiles({ input, effect, signal }: StepContext<DeleteInput>): Promise<undefined> {
    await effect('files', () => deps.intake.files.remove(input.imageId, signal));
  }

  async function releaseBase({ input, effect }: StepContext<DeleteInput>): Promise<undefined> {
    const { pointId } = input;
    if (pointId === null) return;
    await effect('release', () => deps.database.transact((tx) => deps.disks.release(tx, pointId, holderOf(input.imageId))));
  }

  return {
    kind: deleteKind,
    steps: [
      { name: 'files', run: removeFiles, undo: noWayBack },
      { name: 'release', run: releaseBase, undo: noWayBack },
    ],
    settle: async (context) => {
      await removeFiles(context);
      await releaseBase(context);
    },
  };
}
