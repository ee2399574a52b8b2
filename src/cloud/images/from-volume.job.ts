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
import { createReadStream } from 'node:fs';
import { type ExportFormat, exportedBytesMax } from '../../engine/image-intake/export-disk.ts';
import type { ImageIntake } from '../../engine/image-intake/intake.ts';
import { isDiskFull, storageFull } from '../../engine/image-intake/refusals.ts';
import { type SpaceAccount, SpaceError } from '../../engine/space/contract.ts';
import type { Clock } from '../../lib/clock.ts';
import { gone } from '../../lib/errors.ts';
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { VolumesForImages } from '../volumes/service.ts';
import { holderOf } from './deps.ts';
import type { ImageData } from './image.ts';
import { type ImageLimitSource, reserveImages } from './quota.ts';
import { changeStatus, lockImage } from './store.ts';
import { withSpaceFor } from './upload-space.ts';

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

export interface FromVolumeDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'freeze' | 'sourceOf' | 'hold' | 'release'>;
  readonly intake: ImageIntake;
  readonly space: Pick<SpaceAccount, 'reserve'>;
  readonly quota: ImageLimitSource;
  readonly volumes: Pick<VolumesForImages, 'endUpload'>;
  readonly clock: Clock;
}

/** While its bytes are read: then nobody may merge below it. */
const readerOf = (imageId: string): string => `image-of-volume:${imageId}`;

type Context = StepContext<FromVolumeInput>;
type Converted = { readonly virtualBytes: number };
type Taken = { readonly sizeBytes: number; readonly md5: string; readonly sha512: string };

/** Each is a `qemu-img` that reads as fast as it can. */
const concurrency = 2;

export function fromVolumeSaga(deps: FromVolumeDeps): SagaDefinition<FromVolumeInput> {
  const { files } = deps.intake;

  const removeFiles = (context: Context): Promise<void> =>
    context.effect('files', () => files.remove(context.input.imageId, context.signal));

  async function freeze({ input, effect }: Context): Promise<undefined> {
    const { volumeId, pointId, topLayerId, imageId } = input;
    await effect('freeze', () => deps.disks.freeze(volumeId, { pointId, topLayerId, holder: readerOf(imageId) }));
  }

  async function release({ input, effect }: Context): Promise<void> {
    const { pointId, imageId } = input;
    await effect('release', () =>
      deps.database.transact(async (tx) => {
        for (const holder of [holderOf(imageId), readerOf(imageId)]) await deps.disks.release(tx, pointId, holder);
      }),
    );
  }

  async function convert(context: Context): Promise<Converted> {
    const { imageId, convertedId, pointId, format } = context.input;
    const source = await deps.disks.sourceOf(pointId);
    const { path: target } = await files.beginUpload(imageId, convertedId);
    const onProgress = (doneBytes: number, totalBytes: number): void => context.progress({ doneBytes, totalBytes });
    const purpose = 'the image';
    const reserved = await deps.space.reserve({ path: target, bytes: await exportedBytesMax(source), purpose }).catch((error: unknown) => {
      throw error instanceof SpaceError ? storageFull(error) : error;
    });
    try {
      await context.effect('convert', () => deps.intake.exportDisk({ source, target, format, signal: context.signal, onProgress }));
    } finally {
      reserved.release();
    }
    return { virtualBytes: source.sizeBytes };
  }

  async function take(context: Context): Promise<Taken> {
    const { imageId, convertedId, uploadId, format } = context.input;
    return await context.effect('take', async () => {
      const target = await files.beginUpload(imageId, uploadId);
      await files.discardUpload(imageId, uploadId);
      const stream = createReadStream(files.uploadPath(imageId, convertedId));
      const arriving = { path: target.path, isRaw: format === 'raw', expectedBytes: undefined, stream };
      const options = { expectedBytes: undefined, sizeBytesMax: Number.MAX_SAFE_INTEGER, signal: context.signal };
      try {
        return await withSpaceFor(deps.space, arriving, (body) => deps.intake.uploads.receive(target, body, options));
      } catch (error) {
        throw error instanceof SpaceError || isDiskFull(error) ? storageFull(error) : error;
      } finally {
        stream.destroy();
      }
    });
  }

  async function publish({ input, effect }: Context): Promise<undefined> {
    await effect('rename', () => files.publish(input.imageId, input.uploadId));
    // Only now: until here a repeat starts from it.
    await files.discardUpload(input.imageId, input.convertedId);
  }

  async function activate(context: Context): Promise<undefined> {
    const { imageId, volumeId, pointId } = context.input;
    const taken = context.output<Taken>('take');
    const converted = context.output<Converted>('convert');
    if (taken === undefined || converted === undefined) throw new Error('the earlier steps left no word of the file');
    const data: ImageData = {
      sizeBytes: taken.sizeBytes,
      virtualBytes: converted.virtualBytes,
      checksum: taken.md5,
      hashAlgorithm: 'sha512',
      hashValue: taken.sha512,
      pointId,
    };
    await context.effect('rows', () =>
      deps.database.transact(async (tx) => {
        await deps.volumes.endUpload(tx, volumeId);
        const image = await lockImage(tx.sql, imageId);
        if (image === undefined) throw gone(`Image ${imageId} was deleted.`);
        // A repeat finds its own work.
        if (image.pointId !== pointId) {
          await reserveImages(deps.quota, tx, image.owner, { image_size_total: data.sizeBytes });
          const isActive = await changeStatus(tx.sql, imageId, 'prepared', deps.clock.nowText(), data);
          if (!isActive) throw new Error(`image ${imageId} is ${image.status}, and does not wait for this volume`);
        }
        await deps.disks.hold(tx, pointId, holderOf(imageId));
        await deps.disks.release(tx, pointId, readerOf(imageId));
      }),
    );
  }

  return {
    kind: fromVolumeKind,
    concurrency,
    steps: [
      { name: 'freeze', run: freeze, undo: release },
      { name: 'convert', run: convert, undo: removeFiles },
      { name: 'take', run: take, undo: removeFiles },
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
