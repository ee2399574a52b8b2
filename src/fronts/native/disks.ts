/** `/disks`: what is really stored against what the rows say, and the trash. For administrators. */
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type { DiskChecks, DiskReport } from '../../cloud/disks/reconcile-service.ts';
import type { Jobs } from '../../cloud/jobs/service.ts';
import type { Clock } from '../../lib/clock.ts';
import { parseBody } from '../openstack/shared/body.ts';
import { jobBody } from './job-body.ts';

export interface DiskRoutesDeps {
  readonly diskChecks: DiskChecks;
  readonly jobs: Jobs;
  readonly clock: Clock;
}

const Check = Type.Object(
  {
    /** Does what is safe; else nothing is changed. */
    repair: Type.Optional(Type.Boolean()),
    /** Also reads the structures inside of layers. */
    deep: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);

const Report = Type.Object({
  took_ms: Type.Integer(),
  looked: Type.Object({
    layer_rows: Type.Integer(),
    layer_files: Type.Integer(),
    servers: Type.Integer(),
    deep_layers: Type.Integer(),
  }),
  /** The worst first. */
  findings: Type.Array(
    Type.Object({
      kind: Type.String(),
      subject: Type.String(),
      severity: Type.Enum(['error', 'warning', 'notice']),
      detail: Type.String(),
      advice: Type.String(),
      /** What to type for it. */
      commands: Type.Array(Type.String()),
      affected: Type.Array(
        Type.Object({
          type: Type.Enum(['volume', 'snapshot', 'image', 'backup']),
          id: Type.String(),
          name: Type.Union([Type.String(), Type.Null()]),
        }),
      ),
      /** What was done about it. */
      done: Type.Union([Type.String(), Type.Null()]),
      repaired: Type.Boolean(),
    }),
  ),
  /** How many more there are. */
  unlisted: Type.Integer(),
  trash: Type.Object({ count: Type.Integer(), bytes: Type.Integer() }),
});

function reportBody({ tookMs, looked, findings, unlisted, trash }: DiskReport): Static<typeof Report> {
  return {
    took_ms: tookMs,
    looked: {
      layer_rows: looked.layerRows,
      layer_files: looked.layerFiles,
      servers: looked.servers,
      deep_layers: looked.deepLayers,
    },
    findings: findings.map(({ isRepaired, affected, commands, ...finding }) => ({
      ...finding,
      commands: [...commands],
      affected: [...affected],
      repaired: isRepaired,
    })),
    unlisted,
    trash,
  };
}

export function registerDiskRoutes(app: FastifyInstance, { diskChecks, jobs, clock }: DiskRoutesDeps): void {
  app.post('/disks/check', async (request, reply) => {
    const { repair = false, deep = false } = parseBody(Check, request.body);
    const jobId = await diskChecks.begin(request.caller, { repair, deep });
    const job = await jobs.get(jobId);
    if (job === undefined) throw new Error(`job ${jobId} is gone`);
    return reply.code(202).send({ job: jobBody(job, clock) });
  });

  app.get<{ Params: { jobId: string } }>('/disks/check/:jobId', async (request) => ({
    report: reportBody(await diskChecks.report(request.caller, request.params.jobId)),
  }));

  app.get('/disks/trash', async (request) => {
    const items = await diskChecks.trash(request.caller);
    return {
      items: items.map(({ name, layer, reason, trashedAt, allocatedBytes }) => ({
        name,
        layer_id: layer?.id ?? null,
        reason,
        trashed_at: trashedAt.toISOString(),
        allocated_bytes: allocatedBytes,
      })),
    };
  });

  app.post<{ Params: { name: string } }>('/disks/trash/:name/restore', async (request) => {
    const { name, place, isKnown } = await diskChecks.restore(request.caller, request.params.name);
    return { item: { name, place, known: isKnown } };
  });
}
