/** `/jobs`: long operations while they run, and how they ended. A project sees its own. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Database } from '../../cloud/database/service.ts';
import type { Caller } from '../../cloud/identity/caller.ts';
import { authorise, isAllowed } from '../../cloud/identity/policy.ts';
import type { Jobs, SagaView } from '../../cloud/jobs/service.ts';
import type { Clock } from '../../lib/clock.ts';
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import { jobBody } from './job-body.ts';

export interface JobRoutesDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly clock: Clock;
}

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
    return { jobs: found.filter((job) => isVisible(request.caller, job)).map((job) => jobBody(job, clock)) };
  });

  app.get<{ Params: { id: string } }>('/jobs/:id', async (request) => ({ job: jobBody(await findVisible(request), clock) }));

  app.post<{ Params: { id: string } }>('/jobs/:id/cancel', async (request, reply) => {
    const job = await findVisible(request);
    authorise(request.caller, 'job:cancel', job);
    const asked = await database.transact((tx) => jobs.requestCancel(tx, job.subjectId, job.kind));
    if (!asked) throw conflict(`Job ${job.id} has ended: it is ${job.status}.`);
    return reply.code(202).send({ job: jobBody((await jobs.get(job.id)) ?? job, clock) });
  });
}

/** Jobs that belong to no project are the operator's. */
function isVisible(caller: Caller, job: SagaView): boolean {
  return isAllowed(caller, job.projectId === null ? 'job:get_of_cloud' : 'job:get', job);
}
