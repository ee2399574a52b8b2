/** What follows an upload, while the uploader waits: see `prepare-steps.ts`. */
import type { SagaDefinition } from '../jobs/saga.ts';
import type { ImagesDeps } from './deps.ts';
import { type PreparedUpload, prepareSteps, type Received, settleUpload } from './prepare-steps.ts';

export type PrepareInput = PreparedUpload & Received;

export const prepareKind = 'image.prepare';

/** Each has a thread that reads tables, or a `qemu-img`. */
const concurrency = 2;

export function prepareSaga(deps: ImagesDeps): SagaDefinition<PrepareInput> {
  return {
    kind: prepareKind,
    concurrency,
    steps: prepareSteps<PrepareInput>(deps, { received: ({ input }) => input }),
    settle: (context) => settleUpload(deps, context),
  };
}
