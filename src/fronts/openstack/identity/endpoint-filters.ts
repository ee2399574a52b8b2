/** OS-EP-FILTER: which endpoints projects have in their catalog. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { StringMap } from '../../../cloud/database/service.ts';
import type { Association, EndpointGroup } from '../../../cloud/identity/endpoint-filters.ts';
import { newHexId } from '../../../lib/ids.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { queryValue } from '../shared/paging.ts';
import { textOrNull } from './attributes.ts';
import { endpointView } from './catalog-routes.ts';
import { collection, type IdentityFront, v3Of } from './context.ts';
import { projectView } from './projects.ts';
import { resourceRoutes } from './resources.ts';

const prefix = '/OS-EP-FILTER';

const filters = Type.Object(
  {
    service_id: Type.Optional(Type.String()),
    region_id: Type.Optional(Type.String()),
    interface: Type.Optional(Type.Enum(['public', 'internal', 'admin'])),
  },
  { additionalProperties: false, minProperties: 1 },
);
const creation = Type.Object({ endpoint_group: Type.Object({ name: text(255, 1), description: Type.Optional(textOrNull), filters }) });
const change = Type.Object({
  endpoint_group: Type.Object({
    name: Type.Optional(text(255, 1)),
    description: Type.Optional(textOrNull),
    filters: Type.Optional(filters),
  }),
});

const inputOf = ({ endpoint_group: group }: Static<typeof change>) => ({
  name: group.name,
  description: group.description ?? undefined,
  filters: group.filters as StringMap | undefined,
});

const groupView = ({ id, name, description, filters: kept }: EndpointGroup, request: FastifyRequest, front: IdentityFront) => ({
  id,
  name,
  description,
  filters: kept,
  links: { self: `${v3Of(request, front)}${prefix}/endpoint_groups/${id}` },
});

export function endpointFilterRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { filters: service } = front.identity.catalog;
  resourceRoutes<EndpointGroup>(app, front, {
    path: `${prefix}/endpoint_groups`,
    singular: 'endpoint_group',
    plural: 'endpoint_groups',
    view: (group, request) => groupView(group, request, front),
    list: (token, query) => service.groups.list(token, { name: queryValue(query, 'name') }),
    get: (token, id) => service.groups.get(token, id),
    create: (token, given) => {
      const { endpoint_group: group } = parseBody(creation, given, keystoneBodyMessage);
      const kept = { id: newHexId(), name: group.name, description: group.description ?? '', filters: group.filters as StringMap };
      return service.groups.create(token, kept);
    },
    update: (token, id, body) => service.groups.update(token, id, inputOf(parseBody(change, body, keystoneBodyMessage))),
    delete: (token, id) => service.groups.delete(token, id),
  });
  associationRoutes(app, front, service.ofEndpoints, {
    single: `${prefix}/projects/:project/endpoints/:id`,
    projects: `${prefix}/endpoints/:id/projects`,
    checkCode: 204,
  });
  associationRoutes(app, front, service.ofGroups, {
    single: `${prefix}/endpoint_groups/:id/projects/:project`,
    projects: `${prefix}/endpoint_groups/:id/projects`,
    checkCode: 200,
  });
  listRoutes(app, front);
}

type OfProject = { Params: { project: string } };

function listRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { filters: service } = front.identity.catalog;
  app.get<OfProject>(`${prefix}/projects/:project/endpoints`, async (request) => {
    const found = await service.endpointsOfProject(request.token, request.params.project);
    return collection(
      request,
      front,
      'endpoints',
      found.map((endpoint) => endpointView(endpoint, request, front)),
    );
  });
  app.get<OfProject>(`${prefix}/projects/:project/endpoint_groups`, async (request) => {
    const found = await service.groupsOfProject(request.token, request.params.project);
    return collection(
      request,
      front,
      'endpoint_groups',
      found.map((group) => groupView(group, request, front)),
    );
  });
  app.get<{ Params: { id: string } }>(`${prefix}/endpoint_groups/:id/endpoints`, async (request) => {
    const found = await service.endpointsInGroup(request.token, request.params.id);
    return collection(
      request,
      front,
      'endpoints',
      found.map((endpoint) => endpointView(endpoint, request, front)),
    );
  });
}

type Pair = { Params: { project: string; id: string } };

function associationRoutes(
  app: FastifyInstance,
  front: IdentityFront,
  association: Association,
  paths: { readonly single: string; readonly projects: string; readonly checkCode: 200 | 204 },
): void {
  app.put<Pair>(paths.single, async (request, reply) => {
    await association.add(request.token, request.params.project, request.params.id);
    return reply.code(204).send();
  });
  // Answers HEAD, too.
  app.get<Pair>(paths.single, async (request, reply) => {
    const { project, id } = request.params;
    await association.check(request.token, project, id);
    return paths.checkCode === 204 ? reply.code(204).send() : { project_endpoint_group: { project_id: project, endpoint_group_id: id } };
  });
  app.delete<Pair>(paths.single, async (request, reply) => {
    await association.remove(request.token, request.params.project, request.params.id);
    return reply.code(204).send();
  });
  app.get<{ Params: { id: string } }>(paths.projects, async (request) => {
    const found = await association.projects(request.token, request.params.id);
    return collection(
      request,
      front,
      'projects',
      found.map((project) => projectView(project, request, front)),
    );
  });
}
