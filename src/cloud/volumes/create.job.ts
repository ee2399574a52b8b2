/**
 * Creating a volume: its disk is an empty layer, on nothing or on a point. No bytes are copied, whatever the size.
 *
 *   schedule the backend takes new volumes, and has what the volume's type asks for; else the volume is in error, and its owner is told
 *   freeze   only for a clone: the source volume's present content becomes a hidden point, held for this volume
 *   disk     the top layer is made on the point, and becomes the volume's
 *   finish   one transaction: the volume is available; the hold on the point ends, for the layer that stands on it keeps it from now on
 *
 * The points of snapshots and images are held since the request's own transaction, so they may be deleted right after it. Half-way: the
 * ids of the point and of both layers were chosen in the request, so every step finds what an interrupted attempt made. A failure drops the disk,
 * ends the hold, and leaves the volume in error.
 */
import type { Database, StringMap } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import { gib } from './sizes.ts';
import { findVolume, move } from './store.ts';

export const createKind = 'volume.create';

export type CreateInput = {
  readonly volumeId: string;
  readonly topLayerId: string;
  readonly sizeGib: number;
  readonly pointId: string | null;
  /** What its type asks of the backend; types do not change while volumes are of them. Left out by older releases. */
  readonly extraSpecs?: StringMap;
  /** The image's bytes are what clients call downloading. */
  readonly fromImage: boolean;
  /** For a clone: where the point is made, and the layer that the source goes on in. */
  readonly clone: { readonly volumeId: string; readonly topLayerId: string } | null;
};

export interface CreateJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'freeze' | 'createDisk' | 'dropDisk' | 'release'>;
  readonly placement: Pick<Placement, 'takesVolume'>;
}

type Context = StepContext<CreateInput>;

export const holderOf = (volumeId: string): string => `volume:${volumeId}`;

export function createVolumeSaga(deps: CreateJobDeps): SagaDefinition<CreateInput> {
  return {
    kind: createKind,
    steps: [
      {
        name: 'schedule',
        run: (context) => schedule(deps, context),
        undo: { notNeeded: 'It only looks.' },
      },
      { name: 'freeze', run: (context) => freeze(deps, context), undo: (context) => endHold(deps, context) },
      {
        name: 'disk',
        run: (context) => makeDisk(deps, context),
        undo: (context) => dropUnfinished(deps, context),
      },
      {
        name: 'finish',
        run: (context) => finish(deps, context),
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    async settle(context) {
      await endHold(deps, context);
      await move(deps.database.sql, context.input.volumeId, 'createFailed');
    },
  };
}

async function schedule({ database, placement }: CreateJobDeps, { input }: Context): Promise<undefined> {
  if (!(await placement.takesVolume(database.sql, input.extraSpecs ?? {})))
    throw new Error('No valid backend was found. No weighed backends available');
}

async function freeze({ disks }: CreateJobDeps, context: Context): Promise<undefined> {
  const { volumeId, pointId, clone } = context.input;
  if (clone === null || pointId === null) return;
  const plan = { pointId, topLayerId: clone.topLayerId, holder: holderOf(volumeId) };
  await context.effect('freeze', () => disks.freeze(clone.volumeId, plan));
}

async function endHold({ database, disks }: CreateJobDeps, { input }: Context): Promise<void> {
  const { pointId, volumeId } = input;
  if (pointId !== null) await database.transact((tx) => disks.release(tx, pointId, holderOf(volumeId)));
}

async function makeDisk({ database, disks }: CreateJobDeps, context: Context): Promise<undefined> {
  const { volumeId, topLayerId, sizeGib, pointId, fromImage } = context.input;
  if (fromImage) await move(database.sql, volumeId, 'downloadBegun');
  const plan = { topLayerId, sizeBytes: sizeGib * gib, fromPointId: pointId };
  await context.effect('create', () => disks.createDisk(volumeId, plan));
}

/** Only a disk that nobody can use yet is dropped: the answer to a commit may be lost, and then the volume is available. */
async function dropUnfinished({ database, disks }: CreateJobDeps, context: Context): Promise<void> {
  const { volumeId, topLayerId } = context.input;
  await move(database.sql, volumeId, 'createFailed');
  const volume = await findVolume(database.sql, volumeId);
  // Somebody may have put an image on it as soon as it showed its error.
  const isOurs = volume?.topLayerId === null || volume?.topLayerId === topLayerId;
  if (volume?.status === 'error' && isOurs) await context.effect('drop', () => disks.dropDisk(volumeId));
}

async function finish({ database, disks }: CreateJobDeps, context: Context): Promise<undefined> {
  const { volumeId, pointId } = context.input;
  await context.effect('rows', () =>
    database.transact(async (tx) => {
      // An administrator may have set another status meanwhile: that word stays.
      await move(tx.sql, volumeId, 'created');
      if (pointId !== null) await disks.release(tx, pointId, holderOf(volumeId));
    }),
  );
}
