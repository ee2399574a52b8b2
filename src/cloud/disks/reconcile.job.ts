/**
 * Comparing the disks with the rows, as an operator asked for it. A job rather than an answer: a deep check takes minutes, and must survive the terminal
 * that asked for it. Its report is what the step puts out.
 *
 * There is nothing half-way: every repair is complete in itself, and a repeated check finds what is still wrong.
 */
import type { Json } from '../database/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import type { Reconciler } from './reconcile.ts';

export const checkKind = 'disks.check';
export const checkStep = 'check';

export type CheckInput = { readonly repair: boolean; readonly deep: boolean };

export function checkSaga(reconciler: Pick<Reconciler, 'check'>): SagaDefinition<CheckInput> {
  return {
    kind: checkKind,
    concurrency: 1,
    steps: [
      {
        name: checkStep,
        async run({ input, signal, progress, effect }) {
          const onProgress = (doneBytes: number, totalBytes: number): void => progress({ doneBytes, totalBytes });
          const report = await effect('compare', () => reconciler.check({ ...input, signal, onProgress }));
          // Plain data: what it is made of goes through JSON unchanged.
          return report as unknown as Json;
        },
        undo: { notNeeded: 'Each repair is complete in itself and none makes anything worse.' },
      },
    ],
    settle: async () => {},
  };
}
