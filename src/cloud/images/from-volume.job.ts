/**
 * An image made of a volume.
 *
 *   freeze    what the volume holds becomes a point, held as by any reader; from here on the volume may change as it likes
 *   convert   the point is written as one file in the asked format
 *   take      that file goes the way of any upload: it is hashed and made durable under the name of this attempt
 *   publish   the file becomes the image's data
 *   activate  one transaction: the image is active, the hold becomes the image's, volumes made from it start at the point itself, and the volume is back where it was
 *
 * Half-way: ids were chosen in the request, and every step makes its file anew. Any failure removes the files, gives the point up, lets the volume go
 * and leaves the image queued, as a failed upload does; an image that was deleted meanwhile ends all of it.
 */
import type { ExportFormat } from '../../engine/image-intake/export-disk.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { VolumesForImages } from '../volumes/service.ts';
import { type Converted, createPointImages, type PointImageDeps, readerOf, type Taken } from './point-image.ts';
import { changeStatus } from './store.ts';

export const fromVolumeKind = 'image.from_volume';

export type FromVolumeInput = {
  readonly imageId: string;
  readonly volumeId: string;
  readonly format: ExportFormat;
  readonly pointId: string;
  readonly topLayerId: string;
  readonly convertedId: string;
  readonly uploadId: string;
};

export interface FromVolumeDeps extends PointImageDeps {
  readonly disks: Pick<DisksService, 'freeze' | 'sourceOf' | 'hold' | 'release'>;
  readonly volumes: Pick<VolumesForImages, 'endUpload'>;
}

type Context = StepContext<FromVolumeInput>;

/** Each is a `qemu-img` that reads as fast as it can. */
const concurrency = 2;

export function fromVolumeSaga(deps: FromVolumeDeps): SagaDefinition<FromVolumeInput> {
  const images = createPointImages(deps);
  const removeFiles = (context: Context): Promise<void> => images.removeFiles(context, context.input.imageId);

  async function freeze({ input, effect }: Context): Promise<undefined> {
    const { volumeId, pointId, topLayerId, imageId } = input;
    await effect('freeze', () => deps.disks.freeze(volumeId, { pointId, topLayerId, holder: readerOf(imageId) }));
  }

  async function publish(context: Context): Promise<undefined> {
    await images.publish(context, context.input);
  }

  async function activate(context: Context): Promise<undefined> {
    const taken = context.output<Taken>('take');
    const converted = context.output<Converted>('convert');
    if (taken === undefined || converted === undefined) throw new Error('the earlier steps left no word of the file');
    await context.effect('rows', () =>
      deps.database.transact(async (tx) => {
        await deps.volumes.endUpload(tx, context.input.volumeId);
        await images.activate(tx, context.input, { converted, taken });
      }),
    );
  }

  return {
    kind: fromVolumeKind,
    concurrency,
    steps: [
      { name: 'freeze', run: freeze, undo: (context) => images.release(context, context.input) },
      { name: 'convert', run: (context) => images.convert(context, context.input), undo: removeFiles },
      { name: 'take', run: (context) => images.take(context, context.input), undo: removeFiles },
      { name: 'publish', run: publish, undo: removeFiles },
      {
        name: 'activate',
        run: activate,
        undo: ({ input, effect }) =>
          effect('row', async () => {
            await changeStatus(deps.database.sql, input.imageId, 'withdrawn', deps.clock.nowText(), null);
          }),
      },
    ],
    // The files first: a queued image may be uploaded to at once, into the same folder.
    settle: async (context) => {
      await removeFiles(context);
      const { imageId, volumeId } = context.input;
      await context.effect('rows', () =>
        deps.database.transact(async (tx) => {
          await deps.volumes.endUpload(tx, volumeId);
          await changeStatus(tx.sql, imageId, 'uploadFailed', deps.clock.nowText(), null);
        }),
      );
    },
  };
}
