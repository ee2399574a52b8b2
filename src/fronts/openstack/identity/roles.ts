import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type Implication, isBuiltIn, type Role } from '../../../cloud/identity/entities.ts';
import { notFound } from '../../../lib/errors.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { collection, type IdentityFront, v3Of } from './context.ts';

export const roleView = (role: Role, request: FastifyRequest, front: IdentityFront) => ({
  id: role.id,
  name: role.name,
  domain_id: null,
  description: role.description,
  options: isBuiltIn(role) ? { immutable: true } : {},
  links: { self: `${v3Of(request, front)}/roles/${role.id}` },
});

/** Roles belong to no domain and have no options here. */
const attributes = {
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  domain_id: Type.Optional(Type.Null()),
  options: Type.Optional(Type.Object({}, { additionalProperties: false })),
};
const creation = Type.Object({ role: Type.Object({ name: text(255, 1), ...attributes }, { additionalProperties: false }) });
const change = Type.Object({ role: Type.Object({ name: Type.Optional(text(255, 1)), ...attributes }, { additionalProperties: false }) });

export function roleRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { roles } = front.identity;
  const view = (role: Role, request: FastifyRequest) => ({ role: roleView(role, request, front) });

  app.get('/roles', async (request) => {
    const query = queryOf(request);
    const domainId = queryValue(query, 'domain_id');
    const found = await roles.list(request.token, { name: queryValue(query, 'name') });
    const shown = domainId === undefined || domainId === '' ? found : [];
    return collection(
      request,
      front,
      'roles',
      shown.map((role) => roleView(role, request, front)),
    );
  });
  app.get<{ Params: { id: string } }>('/roles/:id', async (request) => view(await roles.get(request.token, request.params.id), request));
  app.post('/roles', async (request, reply) => {
    const { role } = parseBody(creation, request.body, keystoneBodyMessage);
    reply.code(201);
    return view(await roles.create(request.token, { name: role.name, description: role.description ?? null }), request);
  });
  app.patch<{ Params: { id: string } }>('/roles/:id', async (request) => {
    const { role } = parseBody(change, request.body, keystoneBodyMessage);
    const { domain_id, options, ...changes } = role;
    return view(await roles.update(request.token, request.params.id, changes), request);
  });
  app.delete<{ Params: { id: string } }>('/roles/:id', async (request, reply) => {
    await roles.delete(request.token, request.params.id);
    return reply.code(204).send();
  });
}

/** Which roles come with which: to read only. */
export function implicationRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { roles } = front.identity;
  const brief = (role: Role, request: FastifyRequest) => ({
    id: role.id,
    name: role.name,
    links: { self: `${v3Of(request, front)}/roles/${role.id}` },
  });

  app.get('/role_inferences', async (request) => {
    const byPrior = Map.groupBy(await roles.listImplications(request.token), ({ prior }) => prior.id);
    const inferences = [...byPrior.values()].map((pairs) => inference(pairs, request));
    return { role_inferences: inferences, links: { self: `${v3Of(request, front)}/role_inferences` } };
  });
  app.get<{ Params: { prior: string } }>('/roles/:prior/implies', async (request) => {
    const prior = await roles.get(request.token, request.params.prior);
    const pairs = (await roles.listImplications(request.token)).filter((pair) => pair.prior.id === prior.id);
    const role_inference = { prior_role: brief(prior, request), implies: pairs.map(({ implied }) => brief(implied, request)) };
    return { role_inference, links: { self: `${v3Of(request, front)}/roles/${prior.id}/implies` } };
  });
  app.get<{ Params: { prior: string; implied: string } }>('/roles/:prior/implies/:implied', async (request) => {
    const { prior, implied } = request.params;
    const pairs = await roles.listImplications(request.token);
    const pair = pairs.find((candidate) => candidate.prior.id === prior && candidate.implied.id === implied);
    if (pair === undefined) throw notFound(`${prior} does not imply ${implied}`);
    const role_inference = { prior_role: brief(pair.prior, request), implies: brief(pair.implied, request) };
    return { role_inference, links: { self: `${v3Of(request, front)}/roles/${prior}/implies/${implied}` } };
  });

  function inference(pairs: readonly Implication[], request: FastifyRequest): object {
    const [first] = pairs;
    return {
      prior_role: first === undefined ? null : brief(first.prior, request),
      implies: pairs.map(({ implied }) => brief(implied, request)),
    };
  }
}
