/** The jobs in a daemon that fold layers, and how they are ended. Each stays until it is dismissed, so that its end is never missed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type QmpClient, QmpError } from '../../qemu/qmp.ts';
import { VolumeBackendError } from '../errors.ts';
import { type MergeJob, queryJobs } from './export-graph.ts';

const endPauseMs = 1;
/** A job that ends writes out what is dirty. */
const endTimeoutMs = 60_000;

/** Cancels and dismisses jobs. What one had finalised stays done. */
export async function endJobs(monitor: QmpClient, whether: (job: MergeJob) => boolean): Promise<void> {
  for (const job of (await queryJobs(monitor)).filter(whether)) {
    if (job.status !== 'concluded') {
      await monitor.execute('job-cancel', { id: job.id }, { timeoutMs: endTimeoutMs }).catch(unlessRefused);
      await untilConcluded(monitor, job.id);
    }
    await monitor.execute('job-dismiss', { id: job.id });
  }
}

export async function untilConcluded(monitor: QmpClient, jobId: string): Promise<MergeJob> {
  const deadline = performance.now() + endTimeoutMs;
  for (;;) {
    const job = (await queryJobs(monitor)).find(({ id }) => id === jobId);
    if (job?.status === 'concluded') return job;
    if (job === undefined || performance.now() > deadline) throw new VolumeBackendError('failed', `the job ${jobId} does not end`);
    await sleep(endPauseMs);
  }
}

/** A job that came to its end by itself refuses to be cancelled. */
function unlessRefused(error: unknown): void {
  if (!(error instanceof QmpError) || error.failure !== 'refused') throw error;
}
