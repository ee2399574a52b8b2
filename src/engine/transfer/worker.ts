/** Entry of a worker thread: opens jobs, runs their tasks one after the other, answers each call. */
import { parentPort } from 'node:worker_threads';
import { plainErrorOf } from '../repository/errors.ts';
import { BackupWorker } from './backup-worker.ts';
import { RestoreWorker } from './restore-worker.ts';
import type { BackupTask, RestoreTask, WorkerCall, WorkerReply } from './worker-protocol.ts';

const port = parentPort;
if (port === null) throw new Error('this file is the entry of a worker thread');

const jobs = new Map<number, BackupWorker | RestoreWorker>();
let last: Promise<void> = Promise.resolve();

async function answer(message: WorkerCall): Promise<unknown> {
  if ('open' in message) {
    jobs.set(message.job, message.open.kind === 'backup' ? new BackupWorker(message.open) : new RestoreWorker(message.open));
    return undefined;
  }
  const job = jobs.get(message.job);
  if ('task' in message) {
    if (job === undefined) throw new Error(`there is no job ${message.job} in this worker`);
    return job instanceof BackupWorker ? job.run(message.task as BackupTask) : job.run(message.task as RestoreTask);
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
