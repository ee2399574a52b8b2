/** `/registered_limits` and `/limits`: what services let projects and domains have. Both are made many at a time. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Limit, RegisteredLimit } from '../../../cloud/identity/limits.ts';
import { newHexId } from '../../../lib/ids.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { type Query, queryValue } from '../shared/paging.ts';
import { textOrNull } from './attributes.ts';
import { type IdentityFront, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';

export function limitRoutes(app: FastifyInstance, front: IdentityFront): void {
  registeredRoutes(app, front);
  ownRoutes(app, front);
}

const strict = { additionalProperties: false };
/** -1: without end. */
const amount = Type.Integer({ minimum: -1, maximum: 2 ** 31 - 1 });
const id = text(64, 1);
const regionId = Type.Union([text(255), Type.Null()]);
const resourceName = text(255, 1);
const description = Type.Optional(textOrNull);

const resourceFilter = (query: Query) => ({
  serviceId: queryValue(query, 'service_id'),
  regionId: queryValue(query, 'region_id'),
  resourceName: queryValue(query, 'resource_name'),
});

const registeredCreation = Type.Object({
  registered_limits: Type.Array(
    Type.Object(
      { service_id: id, region_id: Type.Optional(regionId), resource_name: resourceName, default_limit: amount, description },
      strict,
    ),
    { minItems: 1 },
  ),
});
const registeredChange = Type.Object({
  registered_limit: Type.Object(
    {
      service_id: Type.Optional(id),
      region_id: Type.Optional(regionId),
      resource_name: Type.Optional(resourceName),
      default_limit: Type.Optional(amount),
      description,
    },
    strict,
  ),
});

function registeredRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { registered } = front.identity.limits;
  const view = (limit: RegisteredLimit, request: FastifyRequest) => ({
    id: limit.id,
    service_id: limit.serviceId,
    region_id: limit.regionId,
    resource_name: limit.resourceName,
    default_limit: limit.defaultLimit,
    description: limit.description,
    links: { self: `${v3Of(request, front)}/registered_limits/${limit.id}` },
  });
  app.post('/registered_limits', async (request, reply) => {
    const asked = parseBody(registeredCreation, request.body, keystoneBodyMessage).registered_limits;
    const made = await registered.createAll(
      request.token,
      asked.map((limit) => ({
        id: newHexId(),
        serviceId: limit.service_id,
        regionId: limit.region_id ?? null,
        resourceName: limit.resource_name,
        defaultLimit: limit.default_limit,
        description: limit.description ?? null,
      })),
    );
    reply.code(201);
    return { registered_limits: made.map((limit) => view(limit, request)) };
  });
  resourceRoutes<RegisteredLimit>(app, front, {
    path: '/registered_limits',
    singular: 'registered_limit',
    plural: 'registered_limits',
    view,
    list: (token, query) => registered.list(token, resourceFilter(query)),
    get: (token, limitId) => registered.get(token, limitId),
    update: (token, limitId, body) => {
      const limit = parseBody(registeredChange, body, keystoneBodyMessage).registered_limit;
      return registered.update(token, limitId, {
        serviceId: limit.service_id,
        regionId: limit.region_id,
        resourceName: limit.resource_name,
        defaultLimit: limit.default_limit,
        description: limit.description,
      });
    },
    delete: (token, limitId) => registered.delete(token, limitId),
  });
}

const ownCreation = Type.Object({
  limits: Type.Array(
    Type.Refine(
      Type.Object(
        {
          project_id: Type.Optional(Type.Union([id, Type.Null()])),
          domain_id: Type.Optional(Type.Union([id, Type.Null()])),
          service_id: id,
          region_id: Type.Optional(regionId),
          resource_name: resourceName,
          resource_limit: amount,
          description,
        },
        strict,
      ),
      ({ project_id, domain_id }) => (typeof project_id === 'string') !== (typeof domain_id === 'string'),
      () => '{value} is of a project or of a domain, and of one of them only',
    ),
    { minItems: 1 },
  ),
});
const ownChange = Type.Object({ limit: Type.Object({ resource_limit: Type.Optional(amount), description }, strict) });

const model = {
  name: 'flat',
  description: 'Limit enforcement and validation does not take project hierarchy into consideration.',
};

function ownRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { limits } = front.identity.limits;
  const view = (limit: Limit, request: FastifyRequest) => ({
    id: limit.id,
    project_id: limit.projectId,
    domain_id: limit.domainId,
    service_id: limit.serviceId,
    region_id: limit.regionId,
    resource_name: limit.resourceName,
    resource_limit: limit.resourceLimit,
    description: limit.description,
    links: { self: `${v3Of(request, front)}/limits/${limit.id}` },
  });
  app.get('/limits/model', async () => ({ model }));
  app.post('/limits', async (request, reply) => {
    const asked = parseBody(ownCreation, request.body, keystoneBodyMessage).limits;
    const made = await limits.createAll(
      request.token,
      asked.map((limit) => ({
        id: newHexId(),
        projectId: limit.project_id ?? null,
        domainId: limit.domain_id ?? null,
        serviceId: limit.service_id,
        regionId: limit.region_id ?? null,
        resourceName: limit.resource_name,
        resourceLimit: limit.resource_limit,
        description: limit.description ?? null,
      })),
    );
    reply.code(201);
    return { limits: made.map((limit) => view(limit, request)) };
  });
  resourceRoutes<Limit>(app, front, {
    path: '/limits',
    singular: 'limit',
    plural: 'limits',
    view,
    list: (token, query) =>
      limits.list(token, {
        ...resourceFilter(query),
        projectId: queryValue(query, 'project_id'),
        domainId: queryValue(query, 'domain_id'),
      }),
    get: (token, limitId) => limits.get(token, limitId),
    update: (token, limitId, body) => {
      const limit = parseBody(ownChange, body, keystoneBodyMessage).limit;
      return limits.update(token, limitId, { resourceLimit: limit.resource_limit, description: limit.description });
    },
    delete: (token, limitId) => limits.delete(token, limitId),
  });
}
