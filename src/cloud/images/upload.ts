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
import { crashPoint } from '../../lib/crash-points.ts';
import { badRequest, conflict, forbidden, gone, type ProductError, unavailable } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Caller } from '../identity/caller.ts';
import { isAllowed } from '../identity/policy.ts';
import type { SagaView } from '../jobs/service.ts';
import { authorise, imageNotFound, visibleImage } from './access.ts';
import type { ImagesDeps } from './deps.ts';
import { diskKindOf, type Image } from './image.ts';
import { type PrepareInput, prepareKind } from './prepare.job.ts';
import { reserveArrived, reserveImages } from './quota.ts';
import { can, transitions } from './states.ts';
import { arrivingImages, changeStatus, findImage, lockImage, stageImage } from './store.ts';
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
  stage(caller: Caller, id: string, body: UploadBody): Promise<void>;
  download(caller: Caller, id: string): Promise<ImageDownload | undefined>;
  /** Ends an upload that is still arriving here. */
  interrupt(id: string, reason: ProductError): void;
  recover(): Promise<void>;
  stop(): void;
}

export const isUnfinished = (saga: SagaView): boolean =>
  saga.status === 'pending' || saga.status === 'running' || saga.status === 'undoing';

const goneMeanwhile = (id: string): ProductError =>
  gone(`Image ${id} could not be found after upload. The image may have been deleted during the upload, cleaning up the chunks uploaded.`);

export function createImageBytes(deps: ImagesDeps): ImageBytes {
  const { database, jobs } = deps;
  const { files } = deps.intake;
  const arriving = new Map<string, AbortController>();
  const stopping = new AbortController();

  /** queued → saving or uploading, or the refusal. The formats cannot change any more afterwards. */
  async function begin(caller: Caller, id: string, body: UploadBody, transition: 'uploadBegun' | 'stageBegun'): Promise<Image> {
    const sagas = await jobs.find(id);
    return await database.transact(async (tx) => {
      const image = await visibleImage(tx.sql, caller, id, lockImage);
      authorise(caller, 'image:upload', image.owner);
      // A failed upload is over when its saga is: until then the saga may still remove files.
      if (!can.upload(image) || sagas.some(isUnfinished)) {
        throw conflict(`Image status transition from ${image.status} to ${transitions[transition].to} is not allowed`);
      }
      if (transition === 'uploadBegun') checkFormats(image);
      const { expectedBytes = 0 } = body;
      const sizeKey = transition === 'uploadBegun' ? 'image_size_total' : 'image_stage_total';
      await reserveImages(deps.quota, tx, image.owner, { [sizeKey]: expectedBytes, image_count_uploading: 1 });
      await changeStatus(tx.sql, id, transition, deps.clock.nowText());
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
      await reserveArrived(deps.quota, tx, current, { uploadId, ...received });
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
    if ((await jobs.find(id)).some(isUnfinished)) return;
    const image = await findImage(database.sql, id);
    if (image !== undefined && isInterrupted(image)) {
      await changeStatus(database.sql, id, 'uploadFailed', deps.clock.nowText(), null);
      deps.log.warn({ imageId: id }, 'an upload was interrupted: the image is queued again');
    }
    if (image?.status === 'active' || image?.status === 'deactivated') await files.sweep(id, 'data');
    else await files.sweep(id, image?.status === 'uploading' && image.staged !== null ? image.staged : 'nothing');
  }

  /** Takes all bytes of one attempt, and has them handed on in one transaction. When that fails, nothing is left. */
  async function take<T>(image: Image, body: UploadBody, handOn: (uploadId: string, received: ReceivedFile) => Promise<T>): Promise<T> {
    const uploadId = newId();
    const controller = new AbortController();
    arriving.set(image.id, controller);
    try {
      return await handOn(uploadId, await receive(image, uploadId, body, controller.signal));
    } catch (error) {
      throw await giveUp(image.id, uploadId, error);
    } finally {
      arriving.delete(image.id);
    }
  }

  function checkAnnounced({ expectedBytes = 0 }: UploadBody): void {
    if (expectedBytes > deps.limits.uploadBytesMax) throw imageTooLarge(deps.limits.uploadBytesMax);
  }

  return {
    async upload(caller, id, body) {
      checkAnnounced(body);
      const image = await begin(caller, id, body, 'uploadBegun');
      const sagaId = await take(image, body, (uploadId, received) => handOver(image, uploadId, received));
      await awaitPrepared(id, sagaId);
    },

    async stage(caller, id, body) {
      checkAnnounced(body);
      const image = await begin(caller, id, body, 'stageBegun');
      await take(image, body, async (uploadId, { sizeBytes, md5, sha512 }) => {
        const staged = { uploadId, sizeBytes, md5, sha512 };
        await database.transact(async (tx) => {
          await reserveImages(deps.quota, tx, image.owner, { image_stage_total: sizeBytes });
          if (!(await stageImage(tx.sql, id, staged, deps.clock.nowText()))) throw goneMeanwhile(id);
        });
        crashPoint('image-intake:stage:recorded');
      });
    },

    async download(caller, id) {
      const image = await visibleImage(database.sql, caller, id, findImage);
      if (image.status === 'deactivated' && !isAllowed(caller, 'image:download_deactivated', { projectId: image.owner })) {
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
      for (const id of new Set([...(await files.imageIds()), ...(await arrivingImages(database.sql))])) await recoverImage(id);
    },

    stop() {
      const reason = unavailable('The service is stopping.');
      stopping.abort(reason);
      for (const controller of arriving.values()) controller.abort(reason);
    },
  };
}

/** Unless a saga works on it. */
const isInterrupted = ({ status, staged }: Pick<Image, 'status' | 'staged'>): boolean =>
  status === 'saving' || status === 'importing' || (status === 'uploading' && staged === null);

function checkFormats(image: Image): void {
  const missing = [...(image.diskFormat === null ? ['disk_format'] : []), ...(image.containerFormat === null ? ['container_format'] : [])];
  if (missing.length === 0) return;
  throw badRequest(`${missing.length === 1 ? 'Property' : 'Properties'} ${missing.join(', ')} must be set prior to saving data.`);
}
