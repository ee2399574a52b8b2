import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { JsonMap } from '../../../cloud/database/service.ts';
import type { Group } from '../../../cloud/identity/entities.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { queryValue } from '../shared/paging.ts';
import { name, textOrNull } from './attributes.ts';
import { collection, type IdentityFront, unknownAttributes, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';
import { userView } from './users.ts';

const groupView = (group: Group, request: FastifyRequest, front: IdentityFront) => ({
  ...group.extra,
  id: group.id,
  name: group.name,
  domain_id: group.domainId,
  description: group.description,
  links: { self: `${v3Of(request, front)}/groups/${group.id}` },
});

const attributes = { domain_id: Type.Optional(textOrNull), description: Type.Optional(textOrNull) };
const creation = Type.Object({ group: Type.Object({ name, ...attributes }) });
const change = Type.Object({ group: Type.Object({ name: Type.Optional(name), ...attributes }) });

const known = ['id', 'name', 'domain_id', 'description', 'links'];

const inputOf = (group: Static<typeof change>['group']) => ({
  domainId: group.domain_id ?? undefined,
  description: group.description ?? undefined,
  // The body came from JSON, so its values are.
  extra: unknownAttributes(group, known) as JsonMap,
});

export function groupRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { groups } = front.identity;
  resourceRoutes<Group>(app, front, {
    path: '/groups',
    singular: 'group',
    plural: 'groups',
    view: (group, request) => groupView(group, request, front),
    list: (token, query) => groups.list(token, { name: queryValue(query, 'name'), domainId: queryValue(query, 'domain_id') }),
    get: (token, id) => groups.get(token, id),
    create: (token, body) => {
      const { group } = parseBody(creation, body, keystoneBodyMessage);
      return groups.create(token, { name: group.name, ...inputOf(group) });
    },
    update: (token, id, body) => {
      const { group } = parseBody(change, body, keystoneBodyMessage);
      return groups.update(token, id, { name: group.name, ...inputOf(group) });
    },
    delete: (token, id) => groups.delete(token, id),
  });
  memberRoutes(app, front);
}

type OfMember = { Params: { id: string; user: string } };

function memberRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { groups } = front.identity;

  app.get<{ Params: { id: string } }>('/groups/:id/users', async (request) => {
    const members = await groups.members(request.token, request.params.id);
    return collection(
      request,
      front,
      'users',
      members.map((user) => userView(user, request, front)),
    );
  });
  app.get<{ Params: { id: string } }>('/users/:id/groups', async (request) => {
    const found = await groups.listOfUser(request.token, request.params.id);
    return collection(
      request,
      front,
      'groups',
      found.map((group) => groupView(group, request, front)),
    );
  });
  // Answers HEAD, too.
  app.get<OfMember>('/groups/:id/users/:user', async (request, reply) => {
    await groups.checkMember(request.token, request.params.id, request.params.user);
    return reply.code(204).send();
  });
  app.put<OfMember>('/groups/:id/users/:user', async (request, reply) => {
    await groups.addMember(request.token, request.params.id, request.params.user);
    return reply.code(204).send();
  });
  app.delete<OfMember>('/groups/:id/users/:user', async (request, reply) => {
    await groups.removeMember(request.token, request.params.id, request.params.user);
    return reply.code(204).send();
  });
}
