import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type Implication, isBuiltIn, type Role } from '../../../cloud/identity/entities.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { queryValue } from '../shared/paging.ts';
import { immutableOf, name, optionsView, resourceOptions, textOrNull } from './attributes.ts';
import { type IdentityFront, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';

export const roleView = (role: Role, request: FastifyRequest, front: IdentityFront) => ({
  id: role.id,
  name: role.name,
  domain_id: role.domainId,
  description: role.description,
  options: optionsView({ immutable: isBuiltIn(role) || role.immutable }),
  links: { self: `${v3Of(request, front)}/roles/${role.id}` },
});

const attributes = {
  description: Type.Optional(textOrNull),
  options: Type.Optional(resourceOptions),
};
const creation = Type.Object({
  role: Type.Object({ name, domain_id: Type.Optional(textOrNull), ...attributes }),
});
const change = Type.Object({ role: Type.Object({ name: Type.Optional(name), ...attributes }) });

export function roleRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { roles } = front.identity;
  resourceRoutes<Role>(app, front, {
    path: '/roles',
    singular: 'role',
    plural: 'roles',
    view: (role, request) => roleView(role, request, front),
    list: (token, query) => roles.list(token, { name: queryValue(query, 'name'), domainId: queryValue(query, 'domain_id') || null }),
    get: (token, id) => roles.get(token, id),
    create: (token, body) => {
      const { role } = parseBody(creation, body, keystoneBodyMessage);
      const { description, domain_id: domainId } = role;
      return roles.create(token, { name: role.name, description, domainId, immutable: immutableOf(role.options) });
    },
    update: (token, id, body) => {
      const { role } = parseBody(change, body, keystoneBodyMessage);
      return roles.update(token, id, { name: role.name, description: role.description, immutable: immutableOf(role.options) });
    },
    delete: (token, id) => roles.delete(token, id),
  });
}

interface OfImplication {
  Params: { prior: string; implied: string };
}

/** Which roles come with which. */
export function implicationRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { roles } = front.identity;
  const brief = (role: Role, request: FastifyRequest) => ({
    id: role.id,
    name: role.name,
    ...(role.domainId === null ? {} : { domain_id: role.domainId }),
    links: { self: `${v3Of(request, front)}/roles/${role.id}` },
  });
  const single = ({ prior, implied }: Implication, request: FastifyRequest) => ({
    role_inference: { prior_role: brief(prior, request), implies: brief(implied, request) },
    links: { self: `${v3Of(request, front)}/roles/${prior.id}/implies/${implied.id}` },
  });

  app.get('/role_inferences', async (request) => {
    const byPrior = Map.groupBy(await roles.listImplications(request.token), ({ prior }) => prior.id);
    const inferences = [...byPrior.values()].map((pairs) => inference(pairs, request));
    return { role_inferences: inferences, links: { self: `${v3Of(request, front)}/role_inferences` } };
  });
  app.get<{ Params: { prior: string } }>('/roles/:prior/implies', async (request) => {
    const prior = await roles.get(request.token, request.params.prior);
    const pairs = await roles.listImplications(request.token, prior.id);
    const role_inference = { prior_role: brief(prior, request), implies: pairs.map(({ implied }) => brief(implied, request)) };
    return { role_inference, links: { self: `${v3Of(request, front)}/roles/${prior.id}/implies` } };
  });
  const path = '/roles/:prior/implies/:implied';
  app.get<OfImplication>(path, async (request, reply) => {
    const found = await roles.getImplication(request.token, request.params.prior, request.params.implied);
    if (request.method !== 'HEAD') return single(found, request);
    return reply.code(204).send();
  });
  app.put<OfImplication>(path, async (request, reply) => {
    const made = await roles.addImplication(request.token, request.params.prior, request.params.implied);
    reply.code(201);
    return single(made, request);
  });
  app.delete<OfImplication>(path, async (request, reply) => {
    await roles.removeImplication(request.token, request.params.prior, request.params.implied);
    return reply.code(204).send();
  });

  function inference(pairs: readonly Implication[], request: FastifyRequest): object {
    const [first] = pairs;
    return {
      prior_role: first === undefined ? null : brief(first.prior, request),
      implies: pairs.map(({ implied }) => brief(implied, request)),
    };
  }
}
