/** Following a job of the native API until it ends, with a live line. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ApiClient } from './client.ts';
import type { CliInvocation } from './command.ts';
import { CliError, exitCodes, failure } from './exit-codes.ts';
import { createProgressLine } from './output.ts';

export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly status: 'pending' | 'running' | 'undoing' | 'done' | 'failed' | 'cancelled';
  readonly step: string | null;
  readonly progress: { readonly done_bytes: number; readonly total_bytes: number; readonly rate: number } | null;
  readonly failure: string | null;
}

const pollEveryMs = 500;
const labelMax = 32;
/** Short jobs should not wait for a poll. */
const firstPollMs = 50;

/** The newest job of this kind on a subject: the one that the request before has started. */
export async function newestJob(api: ApiClient, subjectId: string, kind: string): Promise<Job> {
  const { jobs } = await api.call<{ jobs: readonly Job[] }>('native', 'GET', '/jobs', { query: { subject_id: subjectId } });
  const job = jobs.find((item) => item.kind === kind);
  if (job === undefined) throw failure('the job that should do the work is not there');
  return job;
}

/**
 * Waits until the job has ended well; throws otherwise. Ctrl-C ends the watching only: the job belongs to the server, which goes on with it,
 * and the message says so.
 */
export async function watchJob(invocation: CliInvocation, api: ApiClient, jobId: string, label: string): Promise<void> {
  // Names are as long as their owners like; the figures are what the line is for.
  const line = createProgressLine(invocation.stderr, label.length > labelMax ? `${label.slice(0, labelMax - 1)}…` : label);
  try {
    for (let pauseMs = firstPollMs; ; pauseMs = Math.min(pauseMs * 2, pollEveryMs)) {
      const { job } = await api.call<{ job: Job }>('native', 'GET', `/jobs/${jobId}`);
      if (job.status === 'done') return;
      if (job.status === 'cancelled') throw failure(`${label}: cancelled`);
      if (job.status === 'failed') throw failureOf(label, job);
      const { done_bytes: doneBytes, total_bytes: totalBytes } = job.progress ?? { done_bytes: 0, total_bytes: 0 };
      line.update({ doneBytes, totalBytes });
      await pause(pauseMs, undefined, { signal: invocation.signal });
    }
  } catch (error) {
    if (!invocation.signal.aborted) throw error;
    throw new CliError(exitCodes.interrupted, `no longer watching; job ${jobId} goes on in the server`, { cause: error });
  } finally {
    line.finish();
  }
}

function failureOf(label: string, job: Job): CliError {
  const reason = job.failure ?? 'the server does not say why';
  const code = reason.startsWith('Stored data is ') ? exitCodes.corrupted : exitCodes.failure;
  return new CliError(code, `${label}: ${reason}`);
}
