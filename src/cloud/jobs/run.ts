/**
 * One saga, run by one process under one claim, from wherever its row says it stands to its end.
 *
 * Forward, each step's output is stored before the next step starts; the last one together with `done`. When a step fails or a user
 * cancels, the failure is stored (`undoing`), then the steps are undone from the failed one backwards, each noted in the row, then
 * `settle` runs and the end is written. A run that finds the saga in `undoing` goes on with the undo.
 *
 * Two things end a run without a trace: the ownership is lost (another process goes on, or will), or the service stops (the next
 * start goes on). Then nothing is undone and nothing is marked: the row says how far it got.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf, ProductError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Json } from '../database/schema.ts';
import { type Database, sqlState } from '../database/service.ts';
import { createContext, createProgressWriter } from './context.ts';
import type { SagaDefinition, SagaFailure, SagaStep, StepContext } from './saga.ts';
import type { Slots } from './slots.ts';
import type { SagaStatus } from './states.ts';
import { type Claim, checkClaim, type SagaChange, type SagaMemory, type SagaRow, writeSaga } from './store.ts';

export type Interruption = 'cancelled' | 'ownership lost' | 'stopping';

/** The reason in every step's `AbortSignal`. */
export class SagaInterrupted extends Error {
  readonly interruption: Interruption;

  constructor(interruption: Interruption) {
    super(interruption);
    this.name = 'SagaInterrupted';
    this.interruption = interruption;
  }
}

export interface Run {
  readonly epoch: number;
  interrupt(interruption: Interruption): void;
  /** The final status, or undefined when the run ended and the saga did not. Never rejects. */
  readonly ended: Promise<SagaStatus | undefined>;
}

export interface RunPlan {
  readonly database: Database;
  readonly log: Log;
  readonly slots: Slots;
  readonly definition: SagaDefinition;
  readonly row: SagaRow;
  readonly claim: Claim;
}

const failureCharactersMax = 4_000;
const firstPauseMs = 100;
const writePauseMsMax = 2_000;
const undoPauseMsMax = 30_000;

export function startRun(plan: RunPlan): Run {
  const { database, definition, row, claim, slots } = plan;
  const { kind, steps } = definition;
  /** Aborted by every interruption; what runs forward hears it. */
  const forward = new AbortController();
  /** Not aborted by a cancel: an undo is not cancelled. */
  const backward = new AbortController();
  let memory: SagaMemory = row.memory;
  let lost = false;
  let releaseSlot = (): void => {};
  const progress = createProgressWriter(async (report) => {
    const answer = await writeSaga(database, claim, { progress: report });
    hear(answer);
  });

  function interrupt(interruption: Interruption): void {
    const reason = new SagaInterrupted(interruption);
    if (interruption === 'ownership lost') lost = true;
    if (interruption !== 'cancelled') backward.abort(reason);
    forward.abort(reason);
  }

  function hear(answer: { cancelRequested: boolean } | undefined): void {
    if (answer === undefined) interrupt('ownership lost');
    else if (answer.cancelRequested) interrupt('cancelled');
  }

  /** Asks the database until it answers: while it is away, nothing is known, and nothing may be decided. */
  async function ask(question: () => Promise<{ cancelRequested: boolean } | undefined>): Promise<void> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, writePauseMsMax)) {
      if (lost) throw new SagaInterrupted('ownership lost');
      try {
        const answer = await question();
        hear(answer);
        if (answer !== undefined) return;
      } catch (error) {
        if (isRefusal(error)) throw error;
        plan.log.warn({ sagaId: row.id, error: messageOf(error) }, 'a saga cannot reach its row');
        await pause(pauseMs, undefined, { signal: backward.signal });
      }
    }
  }

  const write = async (change: SagaChange): Promise<void> => {
    const report = await progress.takeLast();
    await ask(() => writeSaga(database, claim, report === undefined ? change : { progress: report, ...change }));
  };

  function contextFor(step: string, mark: string, signal: AbortSignal): StepContext {
    return createContext({
      row,
      step,
      mark: `${kind}:${mark}`,
      signal,
      output: (name) => memory.steps[name]?.value,
      note: (name, value) => remember(name, value, memory.steps[name]?.done ?? false, {}),
      ensureOwned: () => ask(() => checkClaim(database, claim)),
      progress: progress.report,
    });
  }

  async function remember(step: string, value: Json | undefined, done: boolean, change: SagaChange): Promise<void> {
    const next = { ...memory, steps: { ...memory.steps, [step]: value === undefined ? { done } : { done, value } } };
    await write({ ...change, memory: next });
    // Only now: a value that the database refused fails the step, and is not carried along.
    memory = next;
  }

  async function runStep(step: SagaStep, next: SagaStep | undefined): Promise<void> {
    forward.signal.throwIfAborted();
    crashPoint(`${kind}:${step.name}:start`);
    const value = await step.run(contextFor(step.name, step.name, forward.signal));
    crashPoint(`${kind}:${step.name}:done`);
    await remember(step.name, value, true, next === undefined ? { step: null, status: 'done' } : { step: next.name });
  }

  /** Undefined: all steps are through. */
  async function runSteps(): Promise<SagaFailure | undefined> {
    for (const [index, step] of steps.entries()) {
      if (memory.steps[step.name]?.done === true) continue;
      try {
        await runStep(step, steps[index + 1]);
      } catch (error) {
        backward.signal.throwIfAborted();
        const cancelled = interruptionOf(forward.signal) === 'cancelled';
        if (!cancelled) plan.log.warn({ sagaId: row.id, kind, step: step.name, error }, 'a saga failed and will be undone');
        const isRefusal = !cancelled && error instanceof ProductError;
        return { message: cancelled ? 'cancelled' : failureText(error), ...(isRefusal && { isRefusal }), cancelled, step: step.name };
      }
    }
    return undefined;
  }

  async function undoSteps(failure: SagaFailure, from: string | null): Promise<void> {
    // A name that this program does not know (any more) cannot tell how far the undo got; undoing twice is allowed.
    const known = steps.findIndex((step) => step.name === from);
    for (let index = from === null ? -1 : known < 0 ? steps.length - 1 : known; index >= 0; index -= 1) {
      const step = steps[index];
      if (step === undefined || typeof step.undo !== 'function') continue;
      const { name, undo } = step;
      await untilItWorks(failure, `undo of "${name}"`, async () => {
        crashPoint(`${kind}:${name}:undo:start`);
        await undo(contextFor(name, `${name}:undo`, backward.signal));
        crashPoint(`${kind}:${name}:undo:done`);
      });
      await write({ step: steps[index - 1]?.name ?? null });
    }
    await untilItWorks(failure, 'settling', async () => {
      crashPoint(`${kind}:settle:start`);
      await definition.settle(contextFor('settle', 'settle', backward.signal), failure);
      crashPoint(`${kind}:settle:done`);
    });
  }

  /** An undo that fails is tried for ever, and says so in the row; meanwhile it gives its slot to others. */
  async function untilItWorks(failure: SagaFailure, what: string, work: () => Promise<void>): Promise<void> {
    for (let attempt = 1, pauseMs = firstPauseMs; ; attempt += 1, pauseMs = Math.min(pauseMs * 2, undoPauseMsMax)) {
      try {
        backward.signal.throwIfAborted();
        return await work();
      } catch (error) {
        backward.signal.throwIfAborted();
        plan.log.error({ sagaId: row.id, kind, attempt, error }, `${what} failed; it will be tried again`);
        await write({ failure: failureText(`${failure.message} (${what} failed ${attempt} times: ${messageOf(error)})`) });
        releaseSlot();
        await pause(pauseMs, undefined, { signal: backward.signal });
        releaseSlot = await slots.acquire(kind, backward.signal);
      }
    }
  }

  async function run(): Promise<SagaStatus> {
    let failure = memory.failure;
    let undoFrom = row.step;
    if (failure === undefined) {
      failure = await runSteps();
      if (failure === undefined) return 'done';
      undoFrom = failure.step;
      memory = { ...memory, failure };
      await write({ status: 'undoing', step: undoFrom, failure: failure.message, memory });
    }
    await undoSteps(failure, undoFrom);
    const status = failure.cancelled ? 'cancelled' : 'failed';
    await write({ status, step: null, failure: failure.message });
    return status;
  }

  async function runWithSlot(): Promise<SagaStatus | undefined> {
    try {
      releaseSlot = await slots.acquire(kind, memory.failure === undefined ? forward.signal : backward.signal).catch((reason: unknown) => {
        backward.signal.throwIfAborted();
        plan.log.debug({ sagaId: row.id, reason: messageOf(reason) }, 'cancelled before it began');
        return () => {};
      });
      return await run();
    } catch (error) {
      // Not ours any more, or not now: whoever owns the row next goes on from it.
      if (!backward.signal.aborted) plan.log.error({ sagaId: row.id, kind, error }, 'a saga stopped where it must not');
      return undefined;
    } finally {
      void progress.takeLast();
      releaseSlot();
    }
  }

  if (row.cancelRequested) interrupt('cancelled');
  return { epoch: row.epoch, interrupt, ended: runWithSlot() };
}

function interruptionOf(signal: AbortSignal): Interruption | undefined {
  return signal.reason instanceof SagaInterrupted ? signal.reason.interruption : undefined;
}

/** The value cannot be written, so asking again cannot help: not JSON, or refused (22 = bad value, 23 = constraint, 42 = bad statement). */
function isRefusal(error: unknown): boolean {
  return error instanceof TypeError || ['22', '23', '42'].includes(sqlState(error)?.slice(0, 2) ?? '');
}

/** PostgreSQL has no NUL in texts. */
function failureText(error: unknown): string {
  return messageOf(error).replaceAll('\0', '').slice(0, failureCharactersMax);
}
