import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { JsonMap } from '../../../cloud/database/service.ts';
import type { Domain } from '../../../cloud/identity/entities.ts';
import { tagsOf } from '../../../cloud/identity/project-changes.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { queryValue } from '../shared/paging.ts';
import { immutableOf, optionsView, resourceOptions, shortName, tags } from './attributes.ts';
import { flag, type IdentityFront, unknownAttributes, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';

export const domainView = (domain: Domain, request: FastifyRequest, front: IdentityFront) => ({
  ...domain.extra,
  id: domain.id,
  name: domain.name,
  description: domain.description,
  enabled: domain.enabled,
  tags: tagsOf(domain),
  options: optionsView(domain),
  links: { self: `${v3Of(request, front)}/domains/${domain.id}` },
});

const attributes = {
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  enabled: Type.Optional(Type.Boolean()),
  tags: Type.Optional(tags),
  options: Type.Optional(resourceOptions),
};
const creation = Type.Object({ domain: Type.Object({ name: shortName, ...attributes }) });
const change = Type.Object({ domain: Type.Object({ name: Type.Optional(shortName), ...attributes }) });

const known = ['id', 'name', 'description', 'enabled', 'options', 'links'];

const inputOf = (domain: Static<typeof change>['domain']) => ({
  description: domain.description ?? undefined,
  enabled: domain.enabled,
  immutable: immutableOf(domain.options),
  // The body came from JSON, so its values are.
  extra: unknownAttributes(domain, known) as JsonMap,
});

export function domainRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { domains } = front.identity;
  resourceRoutes<Domain>(app, front, {
    path: '/domains',
    singular: 'domain',
    plural: 'domains',
    view: (domain, request) => domainView(domain, request, front),
    list: (token, query) => domains.list(token, { name: queryValue(query, 'name'), enabled: flag(query, 'enabled') }),
    get: (token, id) => domains.get(token, id),
    create: (token, body) => {
      const { domain } = parseBody(creation, body, keystoneBodyMessage);
      return domains.create(token, { name: domain.name, ...inputOf(domain) });
    },
    update: (token, id, body) => {
      const { domain } = parseBody(change, body, keystoneBodyMessage);
      return domains.update(token, id, { name: domain.name, ...inputOf(domain) });
    },
    delete: (token, id) => domains.delete(token, id),
  });
}
