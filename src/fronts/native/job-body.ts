/** How a job looks on the wire. */
import Type, { type Static } from 'typebox';
import type { SagaView } from '../../cloud/jobs/service.ts';
import { type Clock, dateOf } from '../../lib/clock.ts';

const Progress = Type.Object({
  done_bytes: Type.Integer({ minimum: 0 }),
  total_bytes: Type.Integer({ minimum: 0 }),
  /** Bytes a second on average since the job began. */
  rate: Type.Integer({ minimum: 0 }),
});

const Job = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  subject_id: Type.String(),
  project_id: Type.Union([Type.String(), Type.Null()]),
  status: Type.Enum(['pending', 'running', 'undoing', 'done', 'failed', 'cancelled']),
  step: Type.Union([Type.String(), Type.Null()]),
  progress: Type.Union([Progress, Type.Null()]),
  cancel_requested: Type.Boolean(),
  failure: Type.Union([Type.String(), Type.Null()]),
  created_at: Type.String(),
  updated_at: Type.String(),
});

export type JobBody = Static<typeof Job>;

const endedStatuses = ['done', 'failed', 'cancelled'];

export function jobBody(job: SagaView, clock: Clock): JobBody {
  return {
    id: job.id,
    kind: job.kind,
    subject_id: job.subjectId,
    project_id: job.projectId,
    status: job.status,
    step: job.step,
    progress: progressOf(job, clock),
    cancel_requested: job.cancelRequested,
    failure: job.failure,
    created_at: `${job.createdAt}Z`,
    updated_at: `${job.updatedAt}Z`,
  };
}

function progressOf({ progress, status, createdAt, updatedAt }: SagaView, clock: Clock): JobBody['progress'] {
  if (progress === null) return null;
  const until = endedStatuses.includes(status) ? dateOf(updatedAt) : clock.now();
  const seconds = Math.max(1, until.getTime() - dateOf(createdAt).getTime()) / 1000;
  return { done_bytes: progress.doneBytes, total_bytes: progress.totalBytes, rate: Math.round(progress.doneBytes / seconds) };
}
