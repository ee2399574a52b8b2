/**
 * Long operations: started in the transaction that writes their row, run in this process right after its commit, taken over by
 * another process when this one dies. `saga.ts` says what an operation must be like; `runner.ts` how it is run.
 */
import type { Json, Timestamp } from '../database/schema.ts';
import type { Tx } from '../database/service.ts';
import type { Progress, SagaDefinition } from './saga.ts';

export type SagaStatus = 'pending' | 'running' | 'undoing' | 'done' | 'failed' | 'cancelled';

export interface SagaOrder<Input extends Json = Json> {
  readonly kind: string;
  /** The resource that the saga works on; `requestCancel` and `find` ask by it. */
  readonly subjectId: string;
  readonly projectId: string | null;
  /** Holds every id that the saga will make, so that its steps can repeat. */
  readonly input: Input;
  readonly sagaId?: string;
}

/** A saga as progress views show it. */
export interface SagaView {
  readonly id: string;
  readonly kind: string;
  readonly subjectId: string;
  readonly projectId: string | null;
  readonly status: SagaStatus;
  /** The step that runs, or is being undone; null while it settles and when it has ended well. */
  readonly step: string | null;
  readonly cancelRequested: boolean;
  readonly failure: string | null;
  readonly progress: Progress | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

export interface Jobs {
  /** At composition, before `startWorking`. */
  define<Input extends Json>(definition: SagaDefinition<Input>): void;
  /** Writes the saga and its queue entry in the caller's transaction; it runs as soon as that has committed. Returns the saga's id. */
  start(tx: Tx, order: SagaOrder): Promise<string>;
  /**
   * Asks the unfinished sagas of a subject to stop and undo, whichever process runs them. True when there was one: it will end as
   * `cancelled`, or as `done` when its last step was already through, or as `failed` when it was already being undone.
   */
  requestCancel(tx: Tx, subjectId: string, kind?: string): Promise<boolean>;
  /**
   * Waits until a committed saga has ended. With `timeoutMs`, answers with the status of that moment when the time is over; rejects
   * when `signal` aborts or when there is no such saga.
   */
  settled(sagaId: string, options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<SagaStatus>;
  /** All sagas of a subject, the newest first. */
  find(subjectId: string): Promise<SagaView[]>;
  /** Begins to run sagas: those that this process starts, and those that dead processes left. */
  startWorking(): Promise<void>;
  /** Interrupts what runs here (it stays resumable: not undone, not failed), waits for it shortly, and gives the ownership up. */
  stop(): Promise<void>;
}
