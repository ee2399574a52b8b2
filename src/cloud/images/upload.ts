/**
 * The use cases around an image's bytes: taking them, handing them out, and tidying up after a process that died in between.
 *
 * While bytes arrive the image is `saving`, and this process is the only one that knows about the upload. When they are durable, one
 * transaction hands the image to the saga `image.prepare`, and the uploader waits until that has ended.
 */
import type { Readable } from 'node:stream';
import { imageTooLarge, isDiskFull, refusalOf, storageFull } from '../../engine/image-intake/refusals.ts';
import type { ReceivedFile } from '../../engine/image-intake/upload.ts';
import { SpaceError } from '../../engine/space/contract.ts';
import { badRequest, conflict, forbidden, gone, type ProductError, unavailable } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Caller } from '../identity/caller.ts';
import type { SagaView } from '../jobs/service.ts';
import { authorise, imageNotFound, visibleImage } from './access.ts';
import type { ImagesDeps } from './deps.ts';
import { diskKindOf, type Image } from './image.ts';
import { type PrepareInput, prepareKind } from './prepare.job.ts';
import { can } from './states.ts';
import { changeStatus, findImage, lockImage, savingImages } from './store.ts';
import { withSpaceFor } from './upload-space.ts';

export interface UploadBody {
  readonly stream: AsyncIterable<Uint8Array>;
  /** What the sender announced, when it did. */
  readonly expectedBytes: number | undefined;
}

export interface ImageDownload {
  readonly sizeBytes: number;
  readonly checksum: string | null;
  /** Both ends included. The stream has to be read or destroyed. */
  read(range: { readonly start: number; readonly end: number }): Promise<Readable>;
}

export interface ImageBytes {
  upload(caller: Caller, id: string, body: UploadBody): Promise<void>;
  download(caller: Caller, id: string): Promise<ImageDownload | undefined>;
  /** Ends an upload that is still arriving here. */
  interrupt(id: string, reason: ProductError): void;
  recover(): Promise<void>;
  stop(): void;
}

const unfinished = (saga: SagaView): boolean => saga.status === 'pending' || saga.status === 'running' || saga.status === 'undoing';

const goneMeanwhile = (id: string): ProductError =>
  gone(`Image ${id} could not be found after upload. The image may have been deleted during the upload, cleaning up the chunks uploaded.`);

export function createImageBytes(deps: ImagesDeps): ImageBytes {
  const { database, jobs } = deps;
  const { files } = deps.intake;
  const arriving = new Map<string, AbortController>();
  const stopping = new AbortController();

  /** queued → saving, or the refusal. The formats cannot change any more afterwards. */
  async function begin(caller: Caller, id: string): Promise<Image> {
    const sagas = await jobs.find(id);
    return await database.transact(async (tx) => {
      const image = await visibleImage(caller, id, (imageId) => lockImage(tx.sql, imageId));
      authorise(caller, 'image:upload', image.owner);
      // A failed upload is over when its saga is: until then the saga may still remove files.
      if (!can.upload(image) || sagas.some(unfinished)) {
        throw conflict(`Image status transition from ${image.status} to saving is not allowed`);
      }
      checkFormats(image);
      await changeStatus(tx.sql, id, 'uploadBegun', deps.clock.nowText());
      return image;
    });
  }

  async function receive(image: Image, uploadId: string, body: UploadBody, signal: AbortSignal): Promise<ReceivedFile> {
    const { expectedBytes } = body;
    const sizeBytesMax = deps.limits.uploadBytesMax;
    try {
      const target = await files.beginUpload(image.id, uploadId);
      const arriving = { ...body, path: target.path, isRaw: diskKindOf(image) === 'raw' };
      return await withSpaceFor(deps.space, arriving, (stream) =>
        deps.intake.uploads.receive(target, stream, { expectedBytes, sizeBytesMax, signal }),
      );
    } catch (error) {
      throw error instanceof SpaceError || isDiskFull(error) ? storageFull(error) : error;
    }
  }

  async function handOver(image: Image, uploadId: string, received: ReceivedFile): Promise<string> {
    const input: PrepareInput = {
      imageId: image.id,
      uploadId,
      kind: diskKindOf(image),
      ...received,
      layerId: newId(),
      pointId: newId(),
    };
    return await database.transact(async (tx) => {
      const current = await lockImage(tx.sql, image.id);
      if (current?.status !== 'saving') throw goneMeanwhile(image.id);
      return await jobs.start(tx, { kind: prepareKind, subjectId: image.id, projectId: image.owner, input });
    });
  }

  /** Back to queued for another try; the error to answer with. */
  async function giveUp(id: string, uploadId: string, error: unknown): Promise<unknown> {
    // What cannot be removed now is swept at the next start: it must not keep the image from being queued again.
    await files
      .discardUpload(id, uploadId)
      .catch((failure: unknown) => deps.log.warn({ imageId: id, failure }, 'an upload was not removed'));
    const isThere = await changeStatus(database.sql, id, 'uploadFailed', deps.clock.nowText(), null);
    return isThere ? error : goneMeanwhile(id);
  }

  async function awaitPrepared(id: string, sagaId: string): Promise<void> {
    if ((await jobs.settled(sagaId, { signal: stopping.signal })) === 'done') return;
    if ((await findImage(database.sql, id)) === undefined) throw goneMeanwhile(id);
    const failure = (await jobs.get(sagaId))?.failure ?? 'unknown';
    throw refusalOf(failure) ?? new Error(`image ${id} could not be prepared: ${failure}`);
  }

  /** Sagas that a dead process left may be running again by now, and end at any moment: only when none is left, the row says what is so. */
  async function recoverImage(id: string): Promise<void> {
    if ((await jobs.find(id)).some(unfinished)) return;
    const status = (await findImage(database.sql, id))?.status;
    if (status === 'saving') {
      await changeStatus(database.sql, id, 'uploadFailed', deps.clock.nowText(), null);
      deps.log.warn({ imageId: id }, 'an upload was interrupted: the image is queued again');
    }
    await files.sweep(id, status === 'active' || status === 'deactivated' ? 'data' : 'nothing');
  }

  return {
    async upload(caller, id, body) {
      if ((body.expectedBytes ?? 0) > deps.limits.uploadBytesMax) throw imageTooLarge(deps.limits.uploadBytesMax);
      const image = await begin(caller, id);
      const uploadId = newId();
      const controller = new AbortController();
      arriving.set(id, controller);
      let sagaId: string;
      try {
        const received = await receive(image, uploadId, body, controller.signal);
        sagaId = await handOver(image, uploadId, received);
      } catch (error) {
        throw await giveUp(id, uploadId, error);
      } finally {
        arriving.delete(id);
      }
      await awaitPrepared(id, sagaId);
    },

    async download(caller, id) {
      const image = await visibleImage(caller, id, (imageId) => findImage(database.sql, imageId));
      if (image.status === 'deactivated' && !caller.isAdmin) {
        throw forbidden('The requested image has been deactivated. Image data download is forbidden.');
      }
      authorise(caller, 'image:download', null);
      if (!can.read(image) || image.sizeBytes === null) return undefined;
      return {
        sizeBytes: image.sizeBytes,
        checksum: image.checksum,
        read: async (range) => {
          try {
            return await files.read(id, range);
          } catch (error) {
            // Deleted since the row was read.
            if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw imageNotFound(id);
            throw error;
          }
        },
      };
    },

    interrupt: (id, reason) => arriving.get(id)?.abort(reason),

    async recover() {
      for (const id of new Set([...(await files.imageIds()), ...(await savingImages(database.sql))])) await recoverImage(id);
    },

    stop() {
      const reason = unavailable('The service is stopping.');
      stopping.abort(reason);
      for (const controller of arriving.values()) controller.abort(reason);
    },
  };
}

function checkFormats(image: Image): void {
  const missing = [...(image.diskFormat === null ? ['disk_format'] : []), ...(image.containerFormat === null ? ['container_format'] : [])];
  if (missing.length === 0) return;
  throw badRequest(`${missing.length === 1 ? 'Property' : 'Properties'} ${missing.join(', ')} must be set prior to saving data.`);
}
