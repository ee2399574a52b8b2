import type { PoolJob, WorkerPool } from './worker-pool.ts';
import type { WorkerContext } from './worker-protocol.ts';

/** Opens a job, and ends it: well when `use` returns, else by an abort. */
export async function withJob<T>(pool: WorkerPool, context: WorkerContext, workers: number, use: (job: PoolJob) => Promise<T>): Promise<T> {
  const job = await pool.open(context, workers);
  try {
    const result = await use(job);
    await job.finish();
    return result;
  } catch (error) {
    await job.abort();
    throw error;
  }
}

/** Keeps the threads of a job busy, and takes the results in the order of the tasks. Tasks are asked for as results come in. */
export async function runTasks<Task, Result>(
  job: PoolJob,
  tasks: AsyncIterable<Task>,
  signal: AbortSignal,
  take: (result: Result, task: Task) => void,
): Promise<void> {
  const running: { readonly task: Task; readonly result: Promise<Result> }[] = [];
  const takeFirst = async (): Promise<void> => {
    signal.throwIfAborted();
    const first = running.shift();
    if (first !== undefined) take(await first.result, first.task);
  };
  for await (const task of tasks) {
    signal.throwIfAborted();
    if (running.length === job.window) await takeFirst();
    const result = job.run<Result>(task);
    // Reported when its turn comes; until then it must not count as unhandled.
    result.catch(() => {});
    running.push({ task, result });
  }
  while (running.length > 0) await takeFirst();
  signal.throwIfAborted();
}
