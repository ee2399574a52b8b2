/**
 * From uploaded bytes to an image that volumes can start from.
 *
 * The bytes are durable when this begins, and the uploader waits for the end. First the file is inspected: nothing may open what was not.
 * Then it becomes the raw base of the volumes to come: a raw image lends its own file to it (a second name for the same bytes), a qcow2
 * image is converted once. Then the upload gets its final name, and last of all the row becomes active. So an image that can be seen as
 * active has both its bytes and its base, whenever the process dies.
 *
 * What can go wrong half-way: the bytes are not what was declared, the disk fills up while converting, the owner deletes the image
 * meanwhile. All end alike: base and files go, and the image, if it is still there, is queued for another try. Before the base is given
 * up, the names that it shares with a raw upload are removed, because a base that nobody holds may be merged into.
 */

import type { ExtentSet } from '../../engine/disk/extent-set.ts';
import { isDiskFull, notAcceptable, storageFull } from '../../engine/image-intake/refusals.ts';
import { SpaceError } from '../../engine/space/contract.ts';
import { gone } from '../../lib/errors.ts';
import type { Json } from '../database/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import { holderOf, type ImagesDeps } from './deps.ts';
import type { ImageData } from './image.ts';
import { changeStatus, findImage } from './store.ts';

export type PrepareInput = {
  readonly imageId: string;
  readonly uploadId: string;
  readonly kind: 'raw' | 'qcow2' | 'opaque';
  readonly sizeBytes: number;
  readonly md5: string;
  readonly sha512: string;
  readonly layerId: string;
  readonly pointId: string;
};

export const prepareKind = 'image.prepare';

/** `dataBytes`: what a base made from it takes at most. */
type Inspected = { readonly virtualBytes: number | null; readonly dataBytes?: number };
type Based = { readonly pointId: string | null };
type Context = StepContext<PrepareInput>;

const sectorBytes = 512;
/** Each has a thread that reads tables, or a `qemu-img`. */
const concurrency = 2;

export function prepareSaga(deps: ImagesDeps): SagaDefinition<PrepareInput> {
  const { files } = deps.intake;

  async function inspect({ input, signal }: Context): Promise<Inspected> {
    if (input.kind === 'opaque') return { virtualBytes: null };
    const { virtualBytesMax } = deps.limits;
    if (input.kind === 'raw') {
      if (input.sizeBytes > virtualBytesMax) throw notAcceptable(`the disk is larger than ${virtualBytesMax} bytes`);
      return { virtualBytes: input.sizeBytes };
    }
    const path = files.uploadPath(input.imageId, input.uploadId);
    const { virtualBytes, dataBytesMax } = await deps.intake.inspectQcow2(path, { virtualBytesMax, signal });
    return { virtualBytes, dataBytes: dataBytesMax };
  }

  /** The raw bytes under the base's name: linked where possible, copied where not (odd lengths, another file system). */
  async function writeBase(context: Context, path: string, sizeBytes: number): Promise<ExtentSet> {
    const { imageId, uploadId, kind } = context.input;
    if (kind === 'raw' && sizeBytes === context.input.sizeBytes && (await files.linkUpload(imageId, uploadId, path))) {
      return await files.uploadedExtents(imageId, uploadId);
    }
    const bytes = context.output<Inspected>('inspect')?.dataBytes ?? (await files.uploadedExtents(imageId, uploadId)).totalBytes;
    const reserved = await deps.space.reserve({ path, bytes, purpose: 'the image' });
    try {
      return await deps.intake.convertToRaw({
        source: { path: files.uploadPath(imageId, uploadId), format: kind === 'qcow2' ? 'qcow2' : 'raw' },
        target: path,
        sizeBytes,
        signal: context.signal,
        onProgress: (doneBytes, totalBytes) => context.progress({ doneBytes, totalBytes }),
      });
    } finally {
      reserved.release();
    }
  }

  async function makeBase(context: Context): Promise<Based> {
    const { imageId, layerId, pointId } = context.input;
    const virtualBytes = context.output<Inspected>('inspect')?.virtualBytes ?? 0;
    if (virtualBytes === 0) return { pointId: null };
    const sizeBytes = Math.ceil(virtualBytes / sectorBytes) * sectorBytes;
    const plan = { layerId, pointId, home: imageId, sizeBytes, holder: holderOf(imageId) };
    try {
      await context.effect('base', () => deps.disks.createBase(plan, ({ path }) => writeBase(context, path, sizeBytes)));
    } catch (error) {
      throw isDiskFull(error) || error instanceof SpaceError ? storageFull(error) : error;
    }
    return { pointId };
  }

  async function dropBase({ input, effect, signal }: Context): Promise<void> {
    await effect('files', () => files.remove(input.imageId, signal));
    await effect('release', () => deps.database.transact((tx) => deps.disks.release(tx, input.pointId, holderOf(input.imageId))));
  }

  async function activate(context: Context): Promise<void> {
    const { input } = context;
    const data: ImageData = {
      sizeBytes: input.sizeBytes,
      virtualBytes: context.output<Inspected>('inspect')?.virtualBytes ?? null,
      checksum: input.md5,
      hashAlgorithm: 'sha512',
      hashValue: input.sha512,
      pointId: context.output<Based>('base')?.pointId ?? null,
    };
    await context.effect('row', async () => {
      const { sql } = deps.database;
      if (await changeStatus(sql, input.imageId, 'prepared', deps.clock.nowText(), data)) return;
      // A repeat finds its own work; anything else means that the image was deleted.
      const image = await findImage(sql, input.imageId);
      if (image?.hashValue !== input.sha512 || image.pointId !== data.pointId) throw gone(`Image ${input.imageId} was deleted.`);
    });
  }

  return {
    kind: prepareKind,
    concurrency,
    steps: [
      { name: 'inspect', run: inspect, undo: { notNeeded: 'It only reads.' } },
      { name: 'base', run: makeBase, undo: dropBase },
      {
        name: 'publish',
        run: async ({ input, effect }) => {
          await effect('rename', () => files.publish(input.imageId, input.uploadId));
          return undefined;
        },
        undo: { notNeeded: 'The undo of the base, and the settling, remove the files by either name.' },
      },
      {
        name: 'activate',
        run: async (context): Promise<Json | undefined> => {
          await activate(context);
          return undefined;
        },
        undo: async ({ input, effect }) => {
          await effect('row', async () => {
            await changeStatus(deps.database.sql, input.imageId, 'withdrawn', deps.clock.nowText(), null);
          });
        },
      },
    ],
    // The files first: a queued image may be uploaded to again at once, into the same folder.
    settle: async ({ input, effect, signal }) => {
      await effect('files', () => files.remove(input.imageId, signal));
      await effect('row', async () => {
        await changeStatus(deps.database.sql, input.imageId, 'uploadFailed', deps.clock.nowText(), null);
      });
    },
  };
}
