/**
 * Reverting a volume to one of its snapshots: the volume goes on in an empty layer above the snapshot's, and what it held is dropped. Nothing is
 * copied, so it takes milliseconds, and any snapshot will do; the other snapshots keep their bytes.
 *
 *   swap     the volume's disk is put on the snapshot's point: one transaction
 *   finish   volume and snapshot are available again; the hold on the point, which a snapshot that is deleted by force would end, goes
 *
 * Half-way: until the swap nothing has changed, and after it the revert has happened, so settling looks at which it is. A revert that did not happen
 * leaves the volume in error, as the contract has it, with every byte that it had.
 */
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import type { VolumesForSnapshots } from '../volumes/service.ts';
import { move } from './store.ts';

export const revertKind = 'volume.revert';

export type RevertInput = {
  readonly volumeId: string;
  readonly snapshotId: string;
  readonly pointId: string;
  readonly topLayerId: string;
  /** The volume's size; beyond the end of a smaller snapshot it reads as zeroes. */
  readonly sizeBytes: number;
};

export interface RevertJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'replaceDisk' | 'release'>;
  readonly volumes: Pick<VolumesForSnapshots, 'endRevert' | 'topLayerOf'>;
}

export const revertHolderOf = (volumeId: string): string => `revert:${volumeId}`;

export function revertVolumeSaga({ database, disks, volumes }: RevertJobDeps): SagaDefinition<RevertInput> {
  const end = async (tx: Tx, { volumeId, snapshotId, pointId }: RevertInput, outcome: 'done' | 'failed'): Promise<void> => {
    // The volume's row first, as everywhere.
    await volumes.endRevert(tx, volumeId, outcome);
    await move(tx.sql, snapshotId, 'revertEnded');
    await disks.release(tx, pointId, revertHolderOf(volumeId));
  };
  return {
    kind: revertKind,
    steps: [
      {
        name: 'swap',
        async run(context) {
          const { volumeId, pointId, topLayerId, sizeBytes } = context.input;
          await context.effect('disk', () => disks.replaceDisk(volumeId, { fromPointId: pointId, topLayerId, sizeBytes }));
          return undefined;
        },
        undo: { notNeeded: 'Where the swap took place the revert is complete, and settling says so; where it did not, nothing changed.' },
      },
      {
        name: 'finish',
        async run(context) {
          await context.effect('rows', () => database.transact((tx) => end(tx, context.input, 'done')));
          return undefined;
        },
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle({ input }) {
      await database.transact(async (tx) => {
        const isSwapped = (await volumes.topLayerOf(tx, input.volumeId)) === input.topLayerId;
        await end(tx, input, isSwapped ? 'done' : 'failed');
      });
    },
  };
}
