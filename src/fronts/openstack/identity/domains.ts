import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Domain } from '../../../cloud/identity/entities.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { collection, flag, type IdentityFront, v3Of } from './context.ts';

export const domainView = (domain: Domain, request: FastifyRequest, front: IdentityFront) => ({
  id: domain.id,
  name: domain.name,
  description: domain.description,
  enabled: domain.enabled,
  tags: [],
  options: {},
  links: { self: `${v3Of(request, front)}/domains/${domain.id}` },
});

/** Nothing that could be kept may be sent: there are no domain tags and no options here. */
const attributes = {
  description: Type.Optional(Type.String()),
  enabled: Type.Optional(Type.Boolean()),
  tags: Type.Optional(Type.Array(Type.String(), { maxItems: 0 })),
  options: Type.Optional(Type.Object({}, { additionalProperties: false })),
};
const creation = Type.Object({ domain: Type.Object({ name: text(64, 1), ...attributes }, { additionalProperties: false }) });
const change = Type.Object({
  domain: Type.Object({ name: Type.Optional(text(64, 1)), ...attributes }, { additionalProperties: false }),
});

export function domainRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { domains } = front.identity;
  const view = (domain: Domain, request: FastifyRequest) => ({ domain: domainView(domain, request, front) });

  app.get('/domains', async (request) => {
    const query = queryOf(request);
    const found = await domains.list(request.token, { name: queryValue(query, 'name'), enabled: flag(query, 'enabled') });
    return collection(
      request,
      front,
      'domains',
      found.map((domain) => domainView(domain, request, front)),
    );
  });
  app.get<{ Params: { id: string } }>('/domains/:id', async (request) =>
    view(await domains.get(request.token, request.params.id), request),
  );
  app.post('/domains', async (request, reply) => {
    const { domain } = parseBody(creation, request.body, keystoneBodyMessage);
    const { tags, options, ...input } = domain;
    reply.code(201);
    return view(await domains.create(request.token, input), request);
  });
  app.patch<{ Params: { id: string } }>('/domains/:id', async (request) => {
    const { domain } = parseBody(change, request.body, keystoneBodyMessage);
    const { tags, options, ...changes } = domain;
    return view(await domains.update(request.token, request.params.id, changes), request);
  });
  app.delete<{ Params: { id: string } }>('/domains/:id', async (request, reply) => {
    await domains.delete(request.token, request.params.id);
    return reply.code(204).send();
  });
}
