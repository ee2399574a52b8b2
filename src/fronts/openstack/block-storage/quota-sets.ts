import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, parseBoolean } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';

const setOf = (name: string) =>
  Type.Object(
    { [name]: Type.Record(Type.String(), Type.Union([Type.Integer(), Type.String(), Type.Null()])) },
    { additionalProperties: false },
  );
const quotaSet = setOf('quota_set');
const quotaClassSet = setOf('quota_class_set');

/** Clients repeat whom they mean in the body; the path says it already. */
const repetitions: readonly string[] = ['id', 'tenant_id', 'class_name'];

type OfProject = { Params: { project: string } };
type OfClass = { Params: { class: string } };

export function registerQuotaRoutes(app: FastifyInstance, { quotas }: BlockStorageFront): void {
  app.get<OfProject>('/os-quota-sets/:project', async (request) => {
    const { project } = request.params;
    const wantsUsage = parseBoolean(queryValue(queryOf(request), 'usage')) ?? false;
    if (!wantsUsage) return { quota_set: { id: project, ...(await quotas.limitsOf(request.caller, project)) } };
    const usage = Object.entries(await quotas.usageOf(request.caller, project));
    return {
      quota_set: {
        id: project,
        ...Object.fromEntries(usage.map(([key, { limit, inUse }]) => [key, { limit, in_use: inUse, reserved: 0 }])),
      },
    };
  });
  app.get<OfProject>('/os-quota-sets/:project/defaults', async (request) => ({
    quota_set: { id: request.params.project, ...(await quotas.defaults(request.caller, request.params.project)) },
  }));
  app.put<OfProject>('/os-quota-sets/:project', async (request) => {
    const { quota_set: asked } = parseBody(quotaSet, request.body);
    return { quota_set: await quotas.setLimits(request.caller, request.params.project, limitsIn(asked)) };
  });
  app.delete<OfProject>('/os-quota-sets/:project', async (request, reply) => {
    await quotas.resetLimits(request.caller, request.params.project);
    return reply.code(200).send();
  });

  app.get<OfClass>('/os-quota-class-sets/:class', async (request) => ({
    quota_class_set: { id: request.params.class, ...(await quotas.classLimits(request.caller, request.params.class)) },
  }));
  app.put<OfClass>('/os-quota-class-sets/:class', async (request) => {
    const { quota_class_set: asked } = parseBody(quotaClassSet, request.body);
    return { quota_class_set: await quotas.setClassLimits(request.caller, nameOfClass(request.params.class), limitsIn(asked)) };
  });
}

function nameOfClass(name: string): string {
  if (name.length <= 255) return name;
  throw badRequest(`Invalid input received: quota_class_name has ${name.length} characters, more than 255.`);
}

/** Numbers as they are, digits in a string as the number they say; everything else is refused by the service as no number. */
function limitsIn(asked: Record<string, unknown> | undefined): Record<string, number> {
  const entries = Object.entries(asked ?? {}).filter(([key]) => !repetitions.includes(key));
  return Object.fromEntries(entries.map(([key, value]) => [key, typeof value === 'number' ? value : Number(value ?? Number.NaN)]));
}
