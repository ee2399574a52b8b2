/** Entry of a worker thread: opens jobs, runs their tasks one after the other, answers each call. */
import { parentPort } from 'node:worker_threads';
import { plainErrorOf } from '../repository/errors.ts';
import { BackupWorker } from './backup-worker.ts';
import { CompareWorker } from './compare-worker.ts';
import { RestoreWorker } from './restore-worker.ts';
import type { BackupTask, CompareTask, RestoreTask, WorkerCall, WorkerContext, WorkerReply } from './worker-protocol.ts';

const port = parentPort;
if (port === null) throw new Error('this file is the entry of a worker thread');

type JobWorker = BackupWorker | RestoreWorker | CompareWorker;

const jobs = new Map<number, JobWorker>();
let last: Promise<void> = Promise.resolve();

function workerOf(context: WorkerContext): JobWorker {
  switch (context.kind) {
    case 'backup':
      return new BackupWorker(context);
    case 'restore':
      return new RestoreWorker(context);
    case 'compare':
      return new CompareWorker(context);
  }
}

/** A job's tasks are of its own kind. */
function runTask(job: JobWorker, task: BackupTask | RestoreTask | CompareTask): Promise<unknown> {
  if (job instanceof BackupWorker) return job.run(task as BackupTask);
  if (job instanceof RestoreWorker) return job.run(task as RestoreTask);
  return job.run(task as CompareTask);
}

async function answer(message: WorkerCall): Promise<unknown> {
  if ('open' in message) {
    jobs.set(message.job, workerOf(message.open));
    return undefined;
  }
  const job = jobs.get(message.job);
  if ('task' in message) {
    if (job === undefined) throw new Error(`there is no job ${message.job} in this worker`);
    return runTask(job, message.task);
  }
  // A job that cannot finish stays, to be aborted.
  const result = message.end === 'abort' ? await job?.abort() : await job?.finish();
  jobs.delete(message.job);
  return result;
}

port.on('message', (message: WorkerCall) => {
  last = last.then(async () => {
    let reply: WorkerReply;
    try {
      reply = { call: message.call, value: await answer(message) };
    } catch (error) {
      reply = { call: message.call, error: plainErrorOf(error) };
    }
    port.postMessage(reply);
  });
});
