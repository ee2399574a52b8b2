/**
 * The worker threads of the data mover. A job is opened on some of them; its tasks go to whichever of those has the least to do. A thread
 * answers calls one after the other, so two jobs share it by turns as long as each keeps few tasks outstanding.
 *
 * A thread that dies takes all jobs on it along: their calls reject, and the next job gets a new thread.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { errorFromPlain, RepositoryError } from '../repository/errors.ts';
import type { WorkerCall, WorkerContext, WorkerReply } from './worker-protocol.ts';

/** Buffers lie outside of these heaps; what lives in them is a few map nodes and tables. */
const WORKER_HEAP = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4 };
/** The file beside this one, whether it runs as TypeScript or compiled. */
const workerUrl = new URL(`./worker${extname(import.meta.url)}`, import.meta.url);

export interface WorkerPool {
  readonly size: number;
  /** Starts the threads, so that the first job finds them ready. */
  prepare(): void;
  /** Opens a job on up to `workers` threads. */
  open(context: WorkerContext, workers: number): Promise<PoolJob>;
  stop(): Promise<void>;
}

export interface PoolJob {
  /** Tasks that keep all threads of the job busy. */
  readonly window: number;
  run<Result>(task: unknown): Promise<Result>;
  finish<Result>(): Promise<Result[]>;
  /** Ends the job on every thread that still lives. Returns what these threads said, or had said when they finished. Never rejects. */
  abort<Result>(): Promise<Result[]>;
}

export function createWorkerPool(size: number): WorkerPool {
  const threads: (PoolThread | undefined)[] = Array.from({ length: size }, () => undefined);
  let lastJob = 0;

  const threadAt = (index: number): PoolThread => {
    const known = threads[index];
    if (known !== undefined && !known.isDead) return known;
    const made = new PoolThread();
    threads[index] = made;
    return made;
  };

  return {
    size,
    prepare() {
      for (let index = 0; index < size; index += 1) threadAt(index);
    },
    async open(context, workers) {
      lastJob += 1;
      const job = lastJob;
      const used = Array.from({ length: Math.max(1, Math.min(size, workers)) }, (_, index) => threadAt(index));
      const opened = await Promise.allSettled(used.map((thread) => thread.call({ job, open: context })));
      const failed = opened.find((result) => result.status === 'rejected');
      const pooled = poolJob(job, used);
      if (failed === undefined) return pooled;
      await pooled.abort();
      throw failed.reason;
    },
    async stop() {
      await Promise.all(threads.map((thread) => thread?.stop()));
    },
  };
}

/** Tasks that wait in a thread while it works on one, so that it never has to wait for the next. */
const TASKS_AHEAD = 2;

function poolJob(job: number, threads: readonly PoolThread[]): PoolJob {
  const pending = new Map<PoolThread, number>(threads.map((thread) => [thread, 0]));
  const finished: unknown[] = [];
  return {
    window: threads.length * (1 + TASKS_AHEAD),
    async run<Result>(task: unknown): Promise<Result> {
      const [thread, count] = [...pending].reduce((least, entry) => (entry[1] < least[1] ? entry : least));
      pending.set(thread, count + 1);
      try {
        return (await thread.call({ job, task })) as Result;
      } finally {
        pending.set(thread, (pending.get(thread) ?? 1) - 1);
      }
    },
    async finish<Result>(): Promise<Result[]> {
      const ends = await Promise.allSettled(threads.map((thread) => thread.call({ job, end: 'finish' })));
      finished.push(...valuesOf(ends));
      const failed = ends.find((end) => end.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      return finished as Result[];
    },
    async abort<Result>(): Promise<Result[]> {
      const ends = await Promise.allSettled(threads.map((thread) => thread.call({ job, end: 'abort' })));
      return [...finished, ...valuesOf(ends)] as Result[];
    },
  };
}

const valuesOf = (ends: readonly PromiseSettledResult<unknown>[]): unknown[] =>
  ends.flatMap((end) => (end.status === 'fulfilled' && end.value !== undefined ? [end.value] : []));

type Call = { readonly job: number } & ({ open: WorkerContext } | { task: unknown } | { end: 'finish' | 'abort' });

class PoolThread {
  readonly #worker: Worker;
  readonly #calls = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #lastCall = 0;
  #dead: Error | undefined;

  constructor() {
    this.#worker = new Worker(workerUrl, { resourceLimits: WORKER_HEAP });
    this.#worker.on('message', (reply: WorkerReply) => this.#receive(reply));
    this.#worker.on('error', (error) => this.#die(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', () => this.#die(new RepositoryError('interrupted', 'a worker thread ended')));
  }

  get isDead(): boolean {
    return this.#dead !== undefined;
  }

  call(call: Call): Promise<unknown> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    return new Promise((resolve, reject) => {
      this.#lastCall += 1;
      this.#calls.set(this.#lastCall, { resolve, reject });
      this.#worker.postMessage({ ...call, call: this.#lastCall } as WorkerCall);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  #receive(reply: WorkerReply): void {
    const call = this.#calls.get(reply.call);
    this.#calls.delete(reply.call);
    if ('error' in reply) call?.reject(errorFromPlain(reply.error));
    else call?.resolve(reply.value);
  }

  #die(error: Error): void {
    this.#dead ??= error;
    for (const call of this.#calls.values()) call.reject(this.#dead);
    this.#calls.clear();
  }
}
