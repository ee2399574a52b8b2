/** `/os-quota-sets` and `/os-quota-class-sets`. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { ComputeLimitKey } from '../../../cloud/quotas/compute-keys.ts';
import type { QuotaOwner } from '../../../cloud/quotas/contract.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, parseBoolean } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { wholeNumber } from './body-types.ts';
import type { ComputeFront } from './context.ts';
import { quotaClassKeys, quotaSetKeys } from './quota-keys.ts';

type OfProject = { Params: { project: string } };
type OfClass = { Params: { class: string } };

const limit = wholeNumber(-1);
const setOf = (name: string) =>
  Type.Object({ [name]: Type.Unsafe<Record<string, unknown>>(Type.Object({})) }, { additionalProperties: false });
const quotaSet = setOf('quota_set');
const quotaClassSet = setOf('quota_class_set');
const oneLimit = Type.Object({ limit });

export function registerQuotaRoutes(app: FastifyInstance, { computeQuotas }: ComputeFront): void {
  app.get<OfProject>('/os-quota-sets/:project', async (request) => {
    const { caller, microversion, params } = request;
    const limits = await computeQuotas.limitsOf(caller, ownerIn(request as FastifyRequest, params.project));
    return { quota_set: { id: params.project, ...picked(limits, quotaSetKeys(microversion)) } };
  });
  app.get<OfProject>('/os-quota-sets/:project/detail', async (request) => {
    const { caller, microversion, params } = request;
    const usage = await computeQuotas.usageOf(caller, ownerIn(request as FastifyRequest, params.project));
    const uses = quotaSetKeys(microversion).map((key) => [key, { limit: usage[key].limit, in_use: usage[key].inUse, reserved: 0 }]);
    return { quota_set: { id: params.project, ...Object.fromEntries(uses) } };
  });
  app.get<OfProject>('/os-quota-sets/:project/defaults', async ({ caller, params, microversion }) => {
    const limits = await computeQuotas.defaults(caller, params.project);
    return { quota_set: { id: params.project, ...picked(limits, quotaSetKeys(microversion)) } };
  });
  app.put<OfProject>('/os-quota-sets/:project', async (request) => {
    const { caller, microversion, params, body } = request;
    const keys = quotaSetKeys(microversion);
    const { force, ...asked } = parseBody(quotaSet, body).quota_set as Record<string, unknown>;
    const owner = ownerIn(request as FastifyRequest, params.project);
    const limits = await computeQuotas.setLimits(caller, owner, limitsIn(asked, keys), { force: isForced(force) });
    return { quota_set: picked(limits, keys) };
  });
  app.delete<OfProject>('/os-quota-sets/:project', async (request, reply) => {
    await computeQuotas.resetLimits(request.caller, ownerIn(request as FastifyRequest, request.params.project));
    return reply.code(202).send();
  });

  app.get<OfClass>('/os-quota-class-sets/:class', async ({ caller, params, microversion }) => {
    const limits = await computeQuotas.classLimits(caller, params.class);
    return { quota_class_set: { id: params.class, ...picked(limits, quotaClassKeys(microversion)) } };
  });
  app.put<OfClass>('/os-quota-class-sets/:class', async ({ caller, params, microversion, body }) => {
    const keys = quotaClassKeys(microversion);
    const asked = parseBody(quotaClassSet, body).quota_class_set as Record<string, unknown>;
    const limits = await computeQuotas.setClassLimits(caller, nameOfClass(params.class), limitsIn(asked, keys));
    return { quota_class_set: picked(limits, keys) };
  });
}

function ownerIn(request: FastifyRequest, projectId: string): QuotaOwner {
  const userId = queryValue(queryOf(request), 'user_id');
  if (userId !== undefined && userId.length > 255)
    throw badRequest(`Invalid input for query parameters user_id. Value: ${userId}. It is too long`);
  return { projectId, userId };
}

const picked = (limits: Readonly<Record<ComputeLimitKey, number>>, keys: readonly ComputeLimitKey[]): Record<string, number> =>
  Object.fromEntries(keys.map((key) => [key, limits[key]]));

function limitsIn(asked: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, number> {
  const unknown = Object.keys(asked).filter((key) => !keys.includes(key));
  if (unknown.length > 0) {
    const names = unknown.map((name) => `'${name}'`).join(', ');
    throw badRequest(`Additional properties are not allowed (${names} ${unknown.length === 1 ? 'was' : 'were'} unexpected)`);
  }
  return Object.fromEntries(Object.entries(asked).map(([key, value]) => [key, limitOf(key, value)]));
}

function limitOf(key: string, value: unknown): number {
  const { limit: checked } = parseBody(
    oneLimit,
    { limit: value },
    ({ why }) => `Invalid input for field/attribute ${key}. Value: ${value}. ${why}`,
  );
  return Number(checked);
}

function isForced(force: unknown): boolean {
  const forced = parseBoolean(force ?? false);
  if (forced === undefined) throw badRequest(`Invalid input for field/attribute force. Value: ${force}. ${force} is not a boolean`);
  return forced;
}

function nameOfClass(name: string): string {
  if (name.length <= 255) return name;
  throw badRequest(`Invalid input received: quota_class_name has ${name.length} characters, more than 255.`);
}
