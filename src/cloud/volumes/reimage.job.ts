/**
 * Putting an image on a volume that is there already: the volume goes on in an empty layer above the image, and what it held is dropped. Nothing is
 * copied, so it takes milliseconds, whatever the size; snapshots of the volume keep their bytes.
 *
 *   swap     the volume's disk is put on the image's point: one transaction
 *   finish   the volume is bootable, tells of its image and is what it was before; the hold on the image's point goes
 *
 * Half-way: until the swap nothing has changed, and after it the image is there, so settling looks at which it is. One that did not happen leaves
 * the volume in error, as the contract has it, with every byte that it had.
 */
import type { Database, StringMap, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import { gib } from './sizes.ts';
import { lockVolume, move } from './store.ts';

export const reimageKind = 'volume.reimage';

export type ReimageInput = {
  readonly volumeId: string;
  readonly sizeGib: number;
  readonly pointId: string;
  readonly topLayerId: string;
  readonly imageMetadata: StringMap;
};

export interface ReimageJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'replaceDisk' | 'release'>;
}

export const reimageHolderOf = (volumeId: string): string => `reimage:${volumeId}`;

export function reimageVolumeSaga({ database, disks }: ReimageJobDeps): SagaDefinition<ReimageInput> {
  const end = async (tx: Tx, { volumeId, topLayerId, pointId, imageMetadata }: ReimageInput): Promise<void> => {
    const volume = await lockVolume(tx.sql, volumeId);
    if (volume?.topLayerId === topLayerId) await move(tx.sql, volumeId, 'reimaged', { imageMetadata, bootable: true });
    else await move(tx.sql, volumeId, 'reimageFailed');
    await disks.release(tx, pointId, reimageHolderOf(volumeId));
  };
  return {
    kind: reimageKind,
    steps: [
      {
        name: 'swap',
        async run(context) {
          const { volumeId, pointId, topLayerId, sizeGib } = context.input;
          await context.effect('disk', () => disks.replaceDisk(volumeId, { fromPointId: pointId, topLayerId, sizeBytes: sizeGib * gib }));
          return undefined;
        },
        undo: { notNeeded: 'Where the swap took place the image is there, and settling says so; where it did not, nothing changed.' },
      },
      {
        name: 'finish',
        async run(context) {
          await context.effect('rows', () => database.transact((tx) => end(tx, context.input)));
          return undefined;
        },
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    settle: ({ input }) => database.transact((tx) => end(tx, input)),
  };
}
