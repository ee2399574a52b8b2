/**
 * Long operations: started in the transaction that writes their row, run in this process right after its commit, taken over by
 * another process when this one dies. `saga.ts` says what an operation must be like; `runner.ts` how it is run.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { newId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import type { ConnectionTarget, Database, Json, Timestamp, Tx } from '../database/service.ts';
import { openSagaQueue } from './queue.ts';
import { createRunner } from './runner.ts';
import type { Progress, SagaDefinition } from './saga.ts';
import { isFinal, type SagaStatus } from './states.ts';
import { emptyMemory, type FullRow, findById, findBySubject, findOne, findStatus, insertSaga, markCancelled } from './store.ts';

export type { SagaStatus } from './states.ts';

export interface SagaOrder<Input extends Json = Json> {
  readonly kind: string;
  /** The resource that the saga works on; `requestCancel` and `find` ask by it. */
  readonly subjectId: string;
  readonly projectId: string | null;
  /** Holds every id that the saga will make, so that its steps can repeat. */
  readonly input: Input;
  readonly sagaId?: string;
  /** Of the request that asked for it: what users are told of a failure names it. */
  readonly requestId?: string;
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
  /** One saga; undefined when there is none. */
  get(sagaId: string): Promise<SagaView | undefined>;
  /** What a step of a saga has put out; undefined when it has not, or when there is no such saga. */
  outputOf(sagaId: string, step: string): Promise<Json | undefined>;
  /** Begins to run sagas: those that this process starts, and those that dead processes left. */
  startWorking(): Promise<void>;
  /** Interrupts what runs here (it stays resumable: not undone, not failed), waits for it shortly, and gives the ownership up. */
  stop(): Promise<void>;
}

export interface JobsOptions {
  readonly database: Database;
  /** For the queue, which has connections of its own. */
  readonly connection: ConnectionTarget;
  readonly log: Log;
  /** How many sagas this process runs at once. */
  readonly sagasMax?: number;
  /** How long `stop` waits for steps that do not hear their signal. */
  readonly stopGraceMs?: number;
}

const defaultSagasMax = 32;
const defaultStopGraceMs = 10_000;
/** By then this process has taken the saga itself, or it is gone or overloaded and others should hear of it. */
const queueDelaySeconds = 5;
const firstPollMs = 20;
const pollMsMax = 250;

export async function openJobs(options: JobsOptions): Promise<Jobs> {
  const { database, log } = options;
  const definitions = new Map<string, SagaDefinition>();
  const runner = createRunner({ database, log, definitions, sagasMax: options.sagasMax ?? defaultSagasMax });
  const queue = await openSagaQueue({ connection: options.connection, log });
  let working = false;

  async function start(tx: Tx, order: SagaOrder): Promise<string> {
    const definition = definitions.get(order.kind);
    if (definition === undefined) throw new Error(`no saga of kind ${order.kind} is defined`);
    const id = order.sagaId ?? newId();
    // What a process after us would read.
    const input = JSON.parse(JSON.stringify(order.input)) as Json;
    const owner = working ? (runner.ownerFor(order.kind) ?? null) : null;
    const step = definition.steps[0]?.name ?? null;
    const { kind, subjectId, projectId, requestId = null } = order;
    await insertSaga(tx, { id, kind, subjectId, projectId, requestId, input, step, owner });
    // One that this process runs needs no entry: should this process die, the others find its row by themselves.
    if (owner === null) await queue.send(tx, id, working ? queueDelaySeconds : 0);
    tx.afterCommit(() => {
      if (owner === null) runner.wake();
      else
        runner.launch({
          id,
          kind: order.kind,
          input,
          memory: emptyMemory,
          status: 'running',
          step,
          cancelRequested: false,
          owner,
          epoch: 1,
        });
    });
    return id;
  }

  async function settled(sagaId: string, wait: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<SagaStatus> {
    const overtime = wait.timeoutMs === undefined ? undefined : AbortSignal.timeout(wait.timeoutMs);
    const signal = AbortSignal.any([wait.signal, overtime].filter((part) => part !== undefined));
    for (let pollMs = firstPollMs; ; pollMs = Math.min(pollMs * 2, pollMsMax)) {
      const end = runner.endOf(sagaId);
      if (end !== undefined) {
        const status = await unlessAborted(end, signal);
        if (status !== undefined) return status;
      }
      wait.signal?.throwIfAborted();
      const status = await findStatus(database, sagaId);
      if (status === undefined) throw new Error(`there is no saga ${sagaId}`);
      if (isFinal(status) || overtime?.aborted === true) return status;
      await pause(pollMs, undefined, { signal }).catch(() => {});
    }
  }

  return {
    define(definition) {
      if (definitions.has(definition.kind)) throw new Error(`two sagas of kind ${definition.kind}`);
      // The kind of a row decides whose input it holds, so the definition gets back what its own orders put in.
      definitions.set(definition.kind, definition as unknown as SagaDefinition);
    },
    start,
    async requestCancel(tx, subjectId, kind) {
      const ids = await markCancelled(tx, subjectId, kind);
      tx.afterCommit(() => {
        for (const id of ids) runner.cancel(id);
        runner.wake();
      });
      return ids.length > 0;
    },
    settled,
    async find(subjectId) {
      const rows = await findBySubject(database, subjectId);
      return rows.map(viewOf);
    },
    async get(sagaId) {
      const row = await findById(database, sagaId);
      return row === undefined ? undefined : viewOf(row);
    },
    async outputOf(sagaId, step) {
      const output = (await findOne(database, sagaId))?.memory.steps[step];
      return output?.done === true ? output.value : undefined;
    },
    async startWorking() {
      await runner.start();
      working = true;
      await queue.listen(() => runner.wake());
    },
    async stop() {
      working = false;
      await runner.stop(options.stopGraceMs ?? defaultStopGraceMs);
      await queue.close();
    },
  };
}

function viewOf(row: FullRow): SagaView {
  return {
    id: row.id,
    kind: row.kind,
    subjectId: row.subject_id,
    projectId: row.project_id,
    status: row.status,
    step: row.step,
    cancelRequested: row.cancel_requested,
    failure: row.failure,
    progress: row.progress,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** What the promise gives, or undefined as soon as the signal aborts. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  if (signal.aborted) return undefined;
  const left = new AbortController();
  const aborted = new Promise<undefined>((resolve) =>
    signal.addEventListener('abort', () => resolve(undefined), { once: true, signal: left.signal }),
  );
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    left.abort();
  }
}
