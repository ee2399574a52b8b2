/**
 * An image's bytes, written from a point of a disk: what images of volumes and images of servers have in common. The point is held by `readerOf` while its
 * bytes are read, and by the image in the end.
 *
 *   convert   the point is written as one file in the asked format
 *   take      that file goes the way of any upload: it is hashed and made durable under the name of this attempt
 *   publish   the file becomes the image's data
 *   activate  in the caller's transaction: the image is active, the hold becomes the image's, volumes made from it start at the point itself
 */
import { createReadStream } from 'node:fs';
import { type ExportFormat, exportedBytesMax } from '../../engine/image-intake/export-disk.ts';
import type { ImageIntake } from '../../engine/image-intake/intake.ts';
import { isDiskFull, storageFull } from '../../engine/image-intake/refusals.ts';
import { type SpaceAccount, SpaceError } from '../../engine/space/contract.ts';
import type { Clock } from '../../lib/clock.ts';
import { gone } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { StepContext } from '../jobs/saga.ts';
import { holderOf } from './deps.ts';
import type { ImageData } from './image.ts';
import { type ImageLimitSource, reserveImages } from './quota.ts';
import { changeStatus, lockImage, saveImage } from './store.ts';
import { withSpaceFor } from './upload-space.ts';

/** Ids are chosen beforehand, so that every step finds what an interrupted attempt made. */
export type PointImage = {
  readonly imageId: string;
  readonly pointId: string;
  readonly convertedId: string;
  readonly uploadId: string;
  readonly format: ExportFormat;
};

export interface PointImageDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'sourceOf' | 'hold' | 'release'>;
  readonly intake: ImageIntake;
  readonly space: Pick<SpaceAccount, 'reserve'>;
  readonly quota: ImageLimitSource;
  readonly clock: Clock;
}

/** What a step of a saga is given, whatever its input. */
export type Step = Pick<StepContext, 'effect' | 'signal' | 'progress'>;

export type Converted = { readonly virtualBytes: number };
export type Taken = { readonly sizeBytes: number; readonly md5: string; readonly sha512: string };

/** While its bytes are read: then nobody may merge below it. */
export const readerOf = (imageId: string): string => `image-of-volume:${imageId}`;

export interface PointImages {
  /** Who holds the point until the image does. */
  readerOf(imageId: string): string;
  convert(step: Step, image: PointImage): Promise<Converted>;
  take(step: Step, image: PointImage): Promise<Taken>;
  publish(step: Step, image: PointImage): Promise<void>;
  /** `formats`: what the image is said to be only now. Repeatable; 410 when the image was deleted. */
  activate(tx: Tx, image: PointImage, written: { converted: Converted; taken: Taken; formats?: ImageFormats }): Promise<void>;
  removeFiles(step: Step, imageId: string): Promise<void>;
  /** Gives the point up, whoever of the two held it. */
  release(step: Step, image: Pick<PointImage, 'imageId' | 'pointId'>): Promise<void>;
}

export interface ImageFormats {
  readonly diskFormat: string;
  readonly containerFormat: string;
  readonly properties: Readonly<Record<string, string>>;
}

export function createPointImages(deps: PointImageDeps): PointImages {
  const { files } = deps.intake;
  return {
    readerOf,
    async convert(step, { imageId, convertedId, pointId, format }) {
      const source = await deps.disks.sourceOf(pointId);
      const { path: target } = await files.beginUpload(imageId, convertedId);
      const onProgress = (doneBytes: number, totalBytes: number): void => step.progress({ doneBytes, totalBytes });
      const purpose = 'the image';
      const reserved = await deps.space
        .reserve({ path: target, bytes: await exportedBytesMax(source), purpose })
        .catch((error: unknown) => {
          throw error instanceof SpaceError ? storageFull(error) : error;
        });
      try {
        await step.effect('convert', () => deps.intake.exportDisk({ source, target, format, signal: step.signal, onProgress }));
      } finally {
        reserved.release();
      }
      return { virtualBytes: source.sizeBytes };
    },

    async take(step, { imageId, convertedId, uploadId, format }) {
      return await step.effect('take', async () => {
        const target = await files.beginUpload(imageId, uploadId);
        await files.discardUpload(imageId, uploadId);
        const stream = createReadStream(files.uploadPath(imageId, convertedId));
        const arriving = { path: target.path, isRaw: format === 'raw', expectedBytes: undefined, stream };
        const options = { expectedBytes: undefined, sizeBytesMax: Number.MAX_SAFE_INTEGER, signal: step.signal };
        try {
          return await withSpaceFor(deps.space, arriving, (body) => deps.intake.uploads.receive(target, body, options));
        } catch (error) {
          throw error instanceof SpaceError || isDiskFull(error) ? storageFull(error) : error;
        } finally {
          stream.destroy();
        }
      });
    },

    async publish(step, { imageId, uploadId, convertedId }) {
      await step.effect('rename', () => files.publish(imageId, uploadId));
      // Only now: until here a repeat starts from it.
      await files.discardUpload(imageId, convertedId);
    },

    async activate(tx, { imageId, pointId }, { converted, taken, formats }) {
      const data: ImageData = {
        sizeBytes: taken.sizeBytes,
        virtualBytes: converted.virtualBytes,
        checksum: taken.md5,
        hashAlgorithm: 'sha512',
        hashValue: taken.sha512,
        pointId,
      };
      const image = await lockImage(tx.sql, imageId);
      if (image === undefined) throw gone(`Image ${imageId} was deleted.`);
      // A repeat finds its own work.
      if (image.pointId !== pointId) {
        await reserveImages(deps.quota, tx, image.owner, { image_size_total: data.sizeBytes });
        if (formats !== undefined) {
          const { diskFormat, containerFormat, properties } = formats;
          await saveImage(
            tx.sql,
            { ...image, diskFormat, containerFormat, properties: { ...image.properties, ...properties } },
            deps.clock.nowText(),
          );
        }
        const isActive = await changeStatus(tx.sql, imageId, 'prepared', deps.clock.nowText(), data);
        if (!isActive) throw new Error(`image ${imageId} is ${image.status}, and does not wait for this disk`);
      }
      await deps.disks.hold(tx, pointId, holderOf(imageId));
      await deps.disks.release(tx, pointId, readerOf(imageId));
    },

    removeFiles: (step, imageId) => step.effect('files', () => files.remove(imageId, step.signal)),

    release: (step, { imageId, pointId }) =>
      step.effect('release', () =>
        deps.database.transact(async (tx) => {
          for (const holder of [holderOf(imageId), readerOf(imageId)]) await deps.disks.release(tx, pointId, holder);
        }),
      ),
  };
}
