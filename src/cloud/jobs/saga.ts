import type { Json } from '../database/schema.ts';

/**
 * A saga is a long operation as a list of named steps. The runner stores what each step returned before it starts the next, so that
 * another process can go on after a crash. Hence the rules for every step:
 *
 * - it may run twice, and may start again half done: what it makes outside carries ids chosen in the input or in an earlier step;
 * - it undoes what it did, or says in one sentence why nothing needs undoing;
 * - it does its outside work inside `effect`, which checks that this process still owns the saga;
 * - it hears `signal`: cancelled by a user, or the ownership lost.
 */
export interface SagaDefinition<Input extends Json = Json> {
  /** Unique, stored in rows: `volume.create`. */
  readonly kind: string;
  readonly steps: readonly SagaStep<Input>[];
  /** How many of this kind one process runs at once; more wait. Unlimited (but for the limit on all sagas) when left out. */
  readonly concurrency?: number;
  /**
   * Runs after the undo of a failed or cancelled saga, and settles the rows: no resource stays in a transient state. May run twice.
   * When an undo itself fails, the runner tries it again (with growing pauses, for ever); `settle` then waits for it.
   */
  readonly settle: (context: StepContext<Input>, failure: SagaFailure) => Promise<void>;
}

export interface SagaFailure {
  readonly message: string;
  /** The message was written for users; left out or false: it is that of any error, and may tell of the inside. */
  readonly isRefusal?: boolean;
  readonly cancelled: boolean;
  /** The step that failed. */
  readonly step: string;
}

export interface SagaStep<Input extends Json = Json> {
  readonly name: string;
  readonly run: (context: StepContext<Input>) => Promise<Json | undefined>;
  /** Undoes the step, also when `run` was interrupted half-way or never got to its effect. May run twice. */
  readonly undo: ((context: StepContext<Input>) => Promise<void>) | { readonly notNeeded: string };
}

export interface Progress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface StepContext<Input extends Json = Json> {
  readonly sagaId: string;
  /** Grows by one each time a process takes the saga over. */
  readonly epoch: number;
  readonly input: Input;
  readonly signal: AbortSignal;
  /** What an earlier step (or an earlier, interrupted run of this step, through `note`) stored; undefined when it stored nothing. */
  output<T extends Json>(step: string): T | undefined;
  /** Stores an interim output of the running step durably, before the effect that needs it to be known. */
  note(output: Json): Promise<void>;
  /**
   * Runs outside work under a name: checks ownership first, and marks the crash points `<kind>:<step>:<effect>:before` and `…:after`
   * (`<kind>:<step>:undo:<effect>:…` while undoing, `<kind>:settle:<effect>:…` while settling).
   */
  effect<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** Written to the saga's row at most once a second. */
  progress(progress: Progress): void;
}
