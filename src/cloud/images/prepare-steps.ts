/**
 * From bytes that are durable to an image that volumes can start from: what uploading and importing have in common.
 *
 * First the file is inspected: nothing may open what was not. Then it becomes the raw base of the volumes to come: a raw image lends its own
 * file to it (a second name for the same bytes), an image in another format is converted once. Then the upload gets its final name, and
 * last of all the row becomes active. So an image that can be seen as active has both its bytes and its base, whenever the process dies.
 *
 * What can go wrong half-way: the bytes are not what was declared, the disk fills up while converting, the owner deletes the image
 * meanwhile. All end alike: base and files go, and the image, if it is still there, is queued for another try. Before the base is given
 * up, the names that it shares with a raw upload are removed, because a base that nobody holds may be merged into.
 */
import type { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { DiskKind } from '../../engine/image-intake/disk-kind.ts';
import { isDiskFull, storageFull } from '../../engine/image-intake/refusals.ts';
import { SpaceError } from '../../engine/space/contract.ts';
import { gone } from '../../lib/errors.ts';
import type { Tx } from '../database/service.ts';
import type { SagaStep, StepContext } from '../jobs/saga.ts';
import { holderOf, type ImagesDeps } from './deps.ts';
import type { ImageData } from './image.ts';
import { changeStatus, findImage } from './store.ts';

/** All ids are chosen beforehand. */
export type PreparedUpload = {
  readonly imageId: string;
  readonly uploadId: string;
  readonly kind: DiskKind | 'opaque';
  readonly layerId: string;
  readonly pointId: string;
};

export type Received = {
  readonly sizeBytes: number;
  readonly md5: string;
  readonly sha512: string;
};

export interface Preparation<Input extends PreparedUpload> {
  /** What has arrived. */
  received(context: StepContext<Input>): Received;
  /** In the transaction that makes the image active. */
  activated?(tx: Tx, context: StepContext<Input>): Promise<void>;
}

/** `dataBytes`: what a base made from it takes at most. */
type Inspected = { readonly virtualBytes: number | null; readonly dataBytes?: number };
type Based = { readonly pointId: string | null };

const sectorBytes = 512;

/** The steps up to the base, and what the inspection found. */
function baseWork<Input extends PreparedUpload>(deps: ImagesDeps, plan: Preparation<Input>) {
  type Context = StepContext<Input>;
  const { files } = deps.intake;
  const inspected = (context: Context): Inspected | undefined => context.output<Inspected>('inspect');

  async function inspect({ input, signal }: Context): Promise<Inspected> {
    if (input.kind === 'opaque') return { virtualBytes: null };
    const { virtualBytesMax } = deps.limits;
    const path = files.uploadPath(input.imageId, input.uploadId);
    const { virtualBytes, dataBytesMax } = await deps.intake.inspect(path, input.kind, { virtualBytesMax, signal });
    return { virtualBytes, ...(dataBytesMax === undefined ? {} : { dataBytes: dataBytesMax }) };
  }

  /** The raw bytes under the base's name: linked where possible, copied where not (odd lengths, another file system). */
  async function writeBase(context: Context, path: string, sizeBytes: number): Promise<ExtentSet> {
    const { imageId, uploadId, kind } = context.input;
    const isRaw = kind === 'raw' || kind === 'iso' || kind === 'opaque';
    if (isRaw && sizeBytes === plan.received(context).sizeBytes && (await files.linkUpload(imageId, uploadId, path))) {
      return await files.uploadedExtents(imageId, uploadId);
    }
    const bytes = inspected(context)?.dataBytes ?? (await files.uploadedExtents(imageId, uploadId)).totalBytes;
    const reserved = await deps.space.reserve({ path, bytes, purpose: 'the image' });
    try {
      return await deps.intake.convertToRaw({
        source: { path: files.uploadPath(imageId, uploadId), format: isRaw ? 'raw' : kind },
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
    const virtualBytes = inspected(context)?.virtualBytes ?? 0;
    if (virtualBytes === 0) return { pointId: null };
    const sizeBytes = Math.ceil(virtualBytes / sectorBytes) * sectorBytes;
    const base = { layerId, pointId, home: imageId, sizeBytes, holder: holderOf(imageId) };
    try {
      await context.effect('base', () => deps.disks.createBase(base, ({ path }) => writeBase(context, path, sizeBytes)));
    } catch (error) {
      throw isDiskFull(error) || error instanceof SpaceError ? storageFull(error) : error;
    }
    return { pointId };
  }

  async function dropBase({ input, effect, signal }: Context): Promise<void> {
    await effect('files', () => files.remove(input.imageId, signal));
    await effect('release', () => deps.database.transact((tx) => deps.disks.release(tx, input.pointId, holderOf(input.imageId))));
  }

  return { inspected, inspect, makeBase, dropBase };
}

export function prepareSteps<Input extends PreparedUpload>(deps: ImagesDeps, plan: Preparation<Input>): readonly SagaStep<Input>[] {
  type Context = StepContext<Input>;
  const { files } = deps.intake;
  const { inspected, inspect, makeBase, dropBase } = baseWork(deps, plan);

  async function publish({ input, effect }: Context): Promise<undefined> {
    await effect('rename', () => files.publish(input.imageId, input.uploadId));
  }

  async function activate(context: Context): Promise<undefined> {
    const { imageId } = context.input;
    const { sizeBytes, md5, sha512 } = plan.received(context);
    const data: ImageData = {
      sizeBytes,
      virtualBytes: inspected(context)?.virtualBytes ?? null,
      checksum: md5,
      hashAlgorithm: 'sha512',
      hashValue: sha512,
      pointId: context.output<Based>('base')?.pointId ?? null,
    };
    await context.effect('row', () =>
      deps.database.transact(async (tx) => {
        if (!(await changeStatus(tx.sql, imageId, 'prepared', deps.clock.nowText(), data))) {
          // A repeat finds its own work; anything else means that the image was deleted.
          const image = await findImage(tx.sql, imageId);
          if (image?.hashValue !== sha512 || image.pointId !== data.pointId) throw gone(`Image ${imageId} was deleted.`);
        }
        await plan.activated?.(tx, context);
      }),
    );
  }

  async function withdraw({ input, effect }: Context): Promise<void> {
    await effect('row', async () => {
      await changeStatus(deps.database.sql, input.imageId, 'withdrawn', deps.clock.nowText(), null);
    });
  }

  return [
    { name: 'inspect', run: inspect, undo: { notNeeded: 'It only reads.' } },
    { name: 'base', run: makeBase, undo: dropBase },
    { name: 'publish', run: publish, undo: { notNeeded: 'The undo of the base, and the settling, remove the files by either name.' } },
    { name: 'activate', run: activate, undo: withdraw },
  ];
}

/** Nothing is left of the upload, and the image may be tried again. The files first: a queued image may be uploaded to at once, into the same folder. */
export async function settleUpload(deps: ImagesDeps, { input, effect, signal }: StepContext<PreparedUpload>): Promise<void> {
  await effect('files', () => deps.intake.files.remove(input.imageId, signal));
  await effect('row', async () => {
    await changeStatus(deps.database.sql, input.imageId, 'uploadFailed', deps.clock.nowText(), null);
  });
}
