/**
 * The sagas that run in this process: those that were started here, those that nobody had taken, and those that dead processes left.
 *
 * Looking for work ("sweep") happens when ownership is gained, when the queue wakes us, and every two seconds; it only costs time when
 * it is missed, never correctness, because rows are taken by compare-and-set.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import { createOwnerLock } from './owner-lock.ts';
import { type Interruption, type Run, startRun } from './run.ts';
import type { SagaDefinition } from './saga.ts';
import { createSlots } from './slots.ts';
import type { SagaStatus } from './states.ts';
import { findOne, findOwned, findPending, inherit, type SagaRow, takePending } from './store.ts';

export interface Runner {
  /** The number to write into a new saga of this kind, when this process can run it right away. */
  ownerFor(kind: string): number | undefined;
  /** Runs a saga that this process owns. */
  launch(row: SagaRow): void;
  /** There may be sagas that nobody has taken. */
  wake(): void;
  cancel(sagaId: string): void;
  /** The end of a run in this process; undefined when none runs here. */
  endOf(sagaId: string): Promise<SagaStatus | undefined> | undefined;
  start(): Promise<void>;
  stop(graceMs: number): Promise<void>;
}

export interface RunnerOptions {
  readonly database: Database;
  readonly log: Log;
  readonly definitions: ReadonlyMap<string, SagaDefinition>;
  readonly sagasMax: number;
}

const sweepEveryMs = 2_000;
/** At first more often: the session of a process that was killed just before may take a moment to end. */
const firstSweepMs = 100;
const pendingTakenMax = 200;

export function createRunner(options: RunnerOptions): Runner {
  const { database, log, definitions } = options;
  const local = new Map<string, Run>();
  const slots = createSlots(options.sagasMax, (kind) => definitions.get(kind)?.concurrency ?? Number.POSITIVE_INFINITY);
  const stopping = new AbortController();
  let mayBePending = false;
  let sweeping: Promise<void> | undefined;
  let sweepAgain = false;
  let timer: NodeJS.Timeout | undefined;

  const ownerLock = createOwnerLock({
    database,
    log,
    onLost: () => interruptAll('ownership lost'),
    onHeld: () => void sweep(),
    onCancel: (sagaId) => local.get(sagaId)?.interrupt('cancelled'),
  });

  function interruptAll(interruption: Interruption): void {
    for (const run of local.values()) run.interrupt(interruption);
  }

  function launch(row: SagaRow): void {
    const definition = definitions.get(row.kind);
    if (definition === undefined || row.owner === null || stopping.signal.aborted) return;
    const earlier = local.get(row.id);
    if (earlier?.epoch === row.epoch) return;
    if (earlier !== undefined) {
      // The same saga under an older claim: it has to be out of its step before the step begins again.
      void earlier.ended.then(() => launch(row));
      return;
    }
    // Lost between the commit and now: whoever has it next finds it in the table.
    if (row.owner !== ownerLock.current()) return;
    const run = startRun({ database, log, slots, definition, row, claim: { sagaId: row.id, owner: row.owner, epoch: row.epoch } });
    local.set(row.id, run);
    void run.ended.then(() => {
      local.delete(row.id);
      if (mayBePending) void sweep();
    });
  }

  /** One at a time; a call during a sweep makes it run once more. */
  function sweep(): Promise<void> {
    if (sweeping !== undefined) {
      sweepAgain = true;
      return sweeping;
    }
    sweeping = (async () => {
      do {
        sweepAgain = false;
        try {
          await lookForWork();
        } catch (error) {
          log.warn({ error: messageOf(error) }, 'could not look for sagas to run');
        }
      } while (sweepAgain && !stopping.signal.aborted);
      sweeping = undefined;
    })();
    return sweeping;
  }

  async function lookForWork(): Promise<void> {
    const own = ownerLock.current();
    if (own === undefined || stopping.signal.aborted) return;
    const kinds = [...definitions.keys()];
    const owned = await findOwned(database, kinds);
    for (const from of new Set(owned.map((saga) => saga.owner))) {
      if (from === own) continue;
      const rows = await inherit(database, { from, to: own, kinds });
      if (rows.length > 0) log.info({ from, sagas: rows.length }, 'took over the sagas of a process that ended');
      for (const row of rows) launch(row);
    }
    // Ours and not running: their commit went through although its answer was lost.
    for (const { id } of owned.filter((saga) => saga.owner === own && !local.has(saga.id))) {
      const row = await findOne(database, id);
      if (row?.owner === own) launch(row);
    }
    await takeWaiting(own, kinds);
  }

  async function takeWaiting(own: number, kinds: readonly string[]): Promise<void> {
    const waiting = await findPending(database, kinds, pendingTakenMax);
    let left = 0;
    for (const saga of waiting) {
      // A cancelled one needs no room: all that is left to do is to settle it.
      const row = slots.free(saga.kind) || saga.cancelRequested ? await takePending(database, saga.id, own) : undefined;
      if (row === undefined) left += 1;
      else launch(row);
    }
    mayBePending = left > 0;
  }

  async function tick(nextMs: number): Promise<void> {
    await ownerLock.check();
    await sweep();
    if (!stopping.signal.aborted) timer = setTimeout(() => void tick(Math.min(nextMs * 2, sweepEveryMs)), nextMs);
  }

  return {
    ownerFor: (kind) => (stopping.signal.aborted || !slots.free(kind) ? undefined : ownerLock.current()),
    launch,
    wake() {
      mayBePending = true;
      void sweep();
    },
    cancel: (sagaId) => local.get(sagaId)?.interrupt('cancelled'),
    endOf: (sagaId) => local.get(sagaId)?.ended,
    async start() {
      await ownerLock.open();
      void tick(firstSweepMs);
    },
    async stop(graceMs) {
      stopping.abort();
      clearTimeout(timer);
      interruptAll('stopping');
      const grace = new AbortController();
      const ended = Promise.all([...local.values()].map((run) => run.ended)).then(() => grace.abort());
      await Promise.race([ended, pause(graceMs, undefined, { signal: grace.signal }).catch(() => {})]);
      if (local.size > 0) log.warn({ sagas: [...local.keys()] }, 'some steps did not hear that the service stops');
      await sweeping;
      // Frees the lock: from now on others may take what was left.
      await ownerLock.close();
    },
  };
}
