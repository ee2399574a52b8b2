/** `/volumes/{id}/revert`: back to any snapshot of the volume. Block Storage has words for the latest one only. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { Jobs } from '../../cloud/jobs/service.ts';
import type { SnapshotsService } from '../../cloud/snapshots/service.ts';
import type { Clock } from '../../lib/clock.ts';
import { parseBody, uuid } from '../openstack/shared/body.ts';
import { jobBody } from './job-body.ts';

export interface RevertRouteDeps {
  readonly snapshots: Pick<SnapshotsService, 'revert'>;
  readonly jobs: Jobs;
  readonly clock: Clock;
}

const Revert = Type.Object({ snapshot_id: uuid }, { additionalProperties: false });

export function registerRevertRoute(app: FastifyInstance, { snapshots, jobs, clock }: RevertRouteDeps): void {
  app.post<{ Params: { id: string } }>('/volumes/:id/revert', async (request, reply) => {
    const { snapshot_id: snapshotId } = parseBody(Revert, request.body);
    const jobId = await snapshots.revert(request.caller, { volumeId: request.params.id, snapshotId, latestOnly: false });
    const job = await jobs.get(jobId);
    if (job === undefined) throw new Error(`job ${jobId} is gone`);
    return reply.code(202).send({ job: jobBody(job, clock) });
  });
}
