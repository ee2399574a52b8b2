/** What a step is handed: see `StepContext`. One is made for each run of a step, of an undo, and of `settle`. */
import { crashPoint } from '../../lib/crash-points.ts';
import type { Json } from '../database/schema.ts';
import type { Progress, StepContext } from './saga.ts';
import type { SagaRow } from './store.ts';

export interface ContextPlan {
  readonly row: SagaRow;
  /** Under which key notes are stored. */
  readonly step: string;
  /** How crash points inside the step begin. */
  readonly mark: string;
  readonly signal: AbortSignal;
  readonly output: (step: string) => Json | undefined;
  readonly note: (step: string, value: Json) => Promise<void>;
  /** Throws when this process no longer owns the saga. */
  readonly ensureOwned: () => Promise<void>;
  readonly progress: (progress: Progress) => void;
}

export function createContext(plan: ContextPlan): StepContext {
  return {
    sagaId: plan.row.id,
    epoch: plan.row.epoch,
    input: plan.row.input,
    signal: plan.signal,
    // The caller names the shape that it stored itself under this name.
    output: <T extends Json>(step: string) => plan.output(step) as T | undefined,
    note: (output) => plan.note(plan.step, output),
    async effect(name, work) {
      plan.signal.throwIfAborted();
      await plan.ensureOwned();
      plan.signal.throwIfAborted();
      crashPoint(`${plan.mark}:${name}:before`);
      const result = await work();
      crashPoint(`${plan.mark}:${name}:after`);
      return result;
    },
    progress: plan.progress,
  };
}

export interface ProgressWriter {
  report(progress: Progress): void;
  /**
   * What was reported and not written yet, once the write under way has ended: no report may meet a row that has moved on. Nothing is
   * written by itself until the next report.
   */
  takeLast(): Promise<Progress | undefined>;
}

const writeEveryMs = 1_000;

/** Hands the newest report on at once, then at most once a second. */
export function createProgressWriter(write: (progress: Progress) => Promise<void>): ProgressWriter {
  let last: Progress | undefined;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> | undefined;
  const flush = (): void => {
    timer = undefined;
    if (last === undefined) return;
    const progress = last;
    last = undefined;
    timer = setTimeout(flush, writeEveryMs);
    timer.unref();
    // A report that cannot be written is not worth failing for: the next one is a second away.
    writing = write(progress)
      .catch(() => {})
      .finally(() => {
        writing = undefined;
      });
  };
  return {
    report(progress) {
      last = { doneBytes: progress.doneBytes, totalBytes: progress.totalBytes };
      if (timer === undefined) flush();
    },
    async takeLast() {
      clearTimeout(timer);
      timer = undefined;
      if (writing !== undefined) await writing;
      const progress = last;
      last = undefined;
      return progress;
    },
  };
}
