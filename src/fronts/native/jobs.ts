/** `/jobs`: long operations while they run, and how they ended. A project sees its own. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Database } from '../../cloud/database/service.ts';
import type { Caller } from '../../cloud/identity/caller.ts';
import { authorise, canSee } from '../../cloud/identity/policy.ts';
import type { Jobs, SagaView } from '../../cloud/jobs/service.ts';
import { type Clock, dateOf } from '../../lib/clock.ts';
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';

export interface JobRoutesDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly clock: Clock;
}

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

type JobBody = Static<typeof Job>;

const endedStatuses = ['done', 'failed', 'cancelled'];

export function registerJobRoutes(app: FastifyInstance, { database, jobs, clock }: JobRoutesDeps): void {
  const findVisible = async (request: FastifyRequest<{ Params: { id: string } }>): Promise<SagaView> => {
    const { id } = request.params;
    const job = isUuid(id) ? await jobs.get(id) : undefined;
    if (job === undefined || !isVisible(request.caller, job)) throw notFound(`Job ${id} could not be found.`);
    return job;
  };

  app.get('/jobs', async (request) => {
    const { subject_id: subjectId } = request.query as { subject_id?: unknown };
    if (typeof subjectId !== 'string' || subjectId === '') throw badRequest('Name one subject: /jobs?subject_id=…');
    const found = await jobs.find(subjectId);
    return { jobs: found.filter((job) => isVisible(request.caller, job)).map((job) => bodyOf(job, clock)) };
  });

  app.get<{ Params: { id: string } }>('/jobs/:id', async (request) => ({ job: bodyOf(await findVisible(request), clock) }));

  app.post<{ Params: { id: string } }>('/jobs/:id/cancel', async (request, reply) => {
    const job = await findVisible(request);
    authorise(request.caller, 'job:cancel', job);
    const asked = await database.transact((tx) => jobs.requestCancel(tx, job.subjectId, job.kind));
    if (!asked) throw conflict(`Job ${job.id} has ended: it is ${job.status}.`);
    return reply.code(202).send({ job: bodyOf((await jobs.get(job.id)) ?? job, clock) });
  });
}

/** Jobs that belong to no project are the operator's. */
function isVisible(caller: Caller, job: SagaView): boolean {
  return job.projectId === null ? caller.isAdmin : canSee(caller, job);
}

function bodyOf(job: SagaView, clock: Clock): JobBody {
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
