/** `/os-server-groups`: servers that are to be placed together, or apart. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type GroupPolicy, groupPolicies, type ServerGroupOrder } from '../../../cloud/server-groups/contract.ts';
import type { ServerGroup } from '../../../cloud/server-groups/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, parseBoolean, text } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { integerMax, wholeNumber } from './body-types.ts';
import type { ComputeFront } from './context.ts';
import { parsePage, wholeNumberIn } from './list-query.ts';
import { isSince } from './microversions.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const name = text(255, 1);
const bodyOf = <P extends Type.TProperties>(properties: P) =>
  Type.Object({ server_group: Type.Object({ name, ...properties }, strict) }, strict);
const onePolicy = (known: readonly GroupPolicy[]) => Type.Array(Type.Enum([...known]), { minItems: 1, maxItems: 1 });

const hardPolicies: readonly GroupPolicy[] = ['affinity', 'anti-affinity'];
const create1 = bodyOf({ policies: onePolicy(hardPolicies) });
const create15 = bodyOf({ policies: onePolicy(groupPolicies) });
const rules = Type.Object({ max_server_per_host: Type.Optional(wholeNumber(1)) }, strict);
const create64 = bodyOf({ policy: Type.Enum([...groupPolicies]), rules: Type.Optional(rules) });

export function registerServerGroupRoutes(app: FastifyInstance, { serverGroups }: ComputeFront): void {
  app.get('/os-server-groups', async (request) => {
    const query = queryOf(request);
    const found = await serverGroups.list(request.caller, {
      allProjects: parseBoolean(queryValue(query, 'all_projects')) === true,
      limit: parsePage(query).limit,
      offset: Math.min(wholeNumberIn(query, 'offset') ?? 0, integerMax),
    });
    return { server_groups: found.map((group) => view(group, request)) };
  });
  app.get<WithId>('/os-server-groups/:id', async (request) => ({
    server_group: view(await serverGroups.get(request.caller, request.params.id), request as FastifyRequest),
  }));
  app.post('/os-server-groups', async (request) => ({
    server_group: view(await serverGroups.create(request.caller, orderIn(request)), request),
  }));
  app.delete<WithId>('/os-server-groups/:id', async ({ caller, params }, reply) => {
    await serverGroups.delete(caller, params.id);
    return reply.code(204).send();
  });
}

function orderIn({ body, microversion }: FastifyRequest): ServerGroupOrder {
  if (!isSince(microversion, 64)) {
    const asked = parseBody(isSince(microversion, 15) ? create15 : create1, body).server_group;
    return { name: named(asked.name), policy: asked.policies[0] as GroupPolicy, rules: {} };
  }
  const asked = parseBody(create64, body).server_group;
  const most = asked.rules?.max_server_per_host;
  if (most !== undefined && asked.policy !== 'anti-affinity') {
    throw badRequest('Only anti-affinity policy supports rules.');
  }
  return { name: named(asked.name), policy: asked.policy, rules: most === undefined ? {} : { max_server_per_host: Number(most) } };
}

function named(asked: string): string {
  if (asked.trim() !== '') return asked.trim();
  throw badRequest(`Invalid input for field/attribute name. Value: ${asked}. '${asked}' is too short`);
}

function view(group: ServerGroup, { microversion }: FastifyRequest): object {
  const { id, name: groupName, policy, members } = group;
  return {
    id,
    name: groupName,
    ...(isSince(microversion, 64) ? { policy, rules: group.rules } : { policies: [policy], metadata: {} }),
    members,
    ...(isSince(microversion, 13) && { project_id: group.projectId, user_id: group.userId }),
  };
}
