/**
 * An import: as what follows an upload (`prepare-steps.ts`), but nobody waits for it, and the bytes were staged before, or are fetched first.
 *
 * Fetching begins anew when it is repeated: half a download is worth nothing. It is undone by the settling, which removes the files and
 * returns the image to the queue; the task that clients look at says why.
 */

import { imageTooLarge, isDiskFull, storageFull } from '../../engine/image-intake/refusals.ts';
import { SpaceError } from '../../engine/space/contract.ts';
import { gone } from '../../lib/errors.ts';
import type { SagaDefinition, SagaFailure, StepContext } from '../jobs/saga.ts';
import type { ImagesDeps } from './deps.ts';
import { type PreparedUpload, prepareSteps, type Received, settleUpload } from './prepare-steps.ts';
import { reserveArrived } from './quota.ts';
import { lockImage } from './store.ts';
import { endTask } from './task-store.ts';
import { withSpaceFor } from './upload-space.ts';

export type ImportInput = PreparedUpload & {
  readonly source: { readonly kind: 'staged'; readonly received: Received } | { readonly kind: 'web'; readonly uri: string };
};

export const importKind = 'image.import';

type Context = StepContext<ImportInput>;

const concurrency = 2;
/** What users are told when it is nothing that they did; the log has the rest. */
const internalFailure = 'The import failed within the service.';

export function importSaga(deps: ImagesDeps): SagaDefinition<ImportInput> {
  const { files, uploads, webDownload } = deps.intake;

  async function download({ input, signal }: Context, uri: string): Promise<Received> {
    if (webDownload === undefined) throw new Error('web-download was switched off');
    await files.discardUpload(input.imageId, input.uploadId);
    const target = await files.beginUpload(input.imageId, input.uploadId);
    const sizeBytesMax = deps.limits.uploadBytesMax;
    // No server waits until others are through.
    const { sizeBytes, md5, sha512 } = await uploads.inTurn(async (receive) => {
      const { stream, expectedBytes, close } = await webDownload.open(uri, { signal });
      try {
        if (expectedBytes !== undefined && expectedBytes > sizeBytesMax) throw imageTooLarge(sizeBytesMax);
        const arriving = { path: target.path, isRaw: input.kind === 'raw', expectedBytes, stream };
        return await withSpaceFor(deps.space, arriving, (spaced) => receive(target, spaced, { expectedBytes, sizeBytesMax, signal }));
      } finally {
        close();
      }
    }, signal);
    await deps.database.transact(async (tx) => {
      const image = await lockImage(tx.sql, input.imageId);
      if (image?.status !== 'importing') throw gone(`Image ${input.imageId} was deleted.`);
      await reserveArrived(deps.quota, tx, image, { uploadId: input.uploadId, sizeBytes, md5, sha512 });
    });
    return { sizeBytes, md5, sha512 };
  }

  async function fetch(context: Context): Promise<Received> {
    const { source } = context.input;
    if (source.kind === 'staged') return source.received;
    try {
      return await context.effect('download', () => download(context, source.uri));
    } catch (error) {
      throw isDiskFull(error) || error instanceof SpaceError ? storageFull(error) : error;
    }
  }

  function received(context: Context): Received {
    const found = context.output<Received>('fetch');
    if (found === undefined) throw new Error('the bytes were not fetched');
    return found;
  }

  async function settle(context: Context, failure: SagaFailure): Promise<void> {
    await settleUpload(deps, context);
    const message = failure.isRefusal === true || failure.cancelled ? failure.message : internalFailure;
    await context.effect('task', () => endTask(deps.database.sql, context.sagaId, 'failure', message, deps.clock.nowText()));
  }

  return {
    kind: importKind,
    concurrency,
    steps: [
      { name: 'fetch', run: fetch, undo: { notNeeded: 'The settling removes what was fetched.' } },
      ...prepareSteps<ImportInput>(deps, {
        received,
        activated: (tx, { sagaId }) => endTask(tx.sql, sagaId, 'success', '', deps.clock.nowText()),
      }),
    ],
    settle,
  };
}
