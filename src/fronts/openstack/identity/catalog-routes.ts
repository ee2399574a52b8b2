/** Services, endpoints and regions. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { JsonMap } from '../../../cloud/database/service.ts';
import type { Endpoint, Region, Service } from '../../../cloud/identity/catalog-entities.ts';
import { badRequest } from '../../../lib/errors.ts';
import { newHexId } from '../../../lib/ids.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { publicBase } from '../shared/links.ts';
import { queryValue } from '../shared/paging.ts';
import { textOrNull } from './attributes.ts';
import { flag, type IdentityFront, unknownAttributes, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';

export function catalogRoutes(app: FastifyInstance, front: IdentityFront): void {
  serviceRoutes(app, front);
  endpointRoutes(app, front);
  regionRoutes(app, front);
}

const shown = (id: string, path: string, request: FastifyRequest, front: IdentityFront) => ({
  links: { self: `${v3Of(request, front)}/${path}/${id}` },
});

// The bodies came from JSON, so their values are.
const extraOf = (body: object, known: readonly string[]) => unknownAttributes(body, [...known, 'id', 'links']) as JsonMap;

const serviceAttributes = {
  name: Type.Optional(text(255)),
  description: Type.Optional(textOrNull),
  enabled: Type.Optional(Type.Boolean()),
};
const serviceCreation = Type.Object({ service: Type.Object({ type: text(255, 1), ...serviceAttributes }) });
const serviceChange = Type.Object({ service: Type.Object({ type: Type.Optional(text(255, 1)), ...serviceAttributes }) });

function serviceRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { services } = front.identity.catalog;
  const inputOf = ({ service }: Static<typeof serviceChange>) => ({
    type: service.type,
    name: service.name,
    description: service.description ?? undefined,
    enabled: service.enabled,
    extra: extraOf(service, ['type', 'name', 'description', 'enabled']),
  });
  resourceRoutes<Service>(app, front, {
    path: '/services',
    singular: 'service',
    plural: 'services',
    view: ({ id, type, name, description, enabled, extra }, request) => ({
      ...extra,
      id,
      type,
      name,
      description,
      enabled,
      ...shown(id, 'services', request, front),
    }),
    list: (token, query) => services.list(token, { type: queryValue(query, 'type'), name: queryValue(query, 'name') }),
    get: (token, id) => services.get(token, id),
    create: (token, given) => {
      const body = parseBody(serviceCreation, given, keystoneBodyMessage);
      const { type } = body.service;
      const { name = '', description = '', enabled = true, extra } = inputOf(body);
      return services.create(token, { id: newHexId(), type, name, description, enabled, builtIn: false, extra });
    },
    update: (token, id, body) => services.update(token, id, inputOf(parseBody(serviceChange, body, keystoneBodyMessage))),
    delete: (token, id) => services.delete(token, id),
  });
}

const endpointUrl = Type.Refine(
  text(225),
  (url) => /^[a-zA-Z0-9+.-]+:.+/.test(url),
  () => "{value} does not match '^[a-zA-Z0-9+.-]+:.+'",
);
const face = Type.Enum(['public', 'internal', 'admin']);
const regionName = Type.Union([text(255, 1), Type.Null()]);
const endpointAttributes = {
  enabled: Type.Optional(Type.Boolean()),
  region_id: Type.Optional(regionName),
  // As clients said it in times before regions had ids: made when there is none.
  region: Type.Optional(regionName),
};
const endpointCreation = Type.Object({
  endpoint: Type.Object({ service_id: Type.String(), interface: face, url: endpointUrl, ...endpointAttributes }),
});
const endpointChange = Type.Object({
  endpoint: Type.Object({
    service_id: Type.Optional(Type.String()),
    interface: Type.Optional(face),
    url: Type.Optional(endpointUrl),
    ...endpointAttributes,
  }),
});

/** URLs of this server itself are shown as this client knows it. */
export const endpointView = (endpoint: Endpoint, request: FastifyRequest, front: IdentityFront) => ({
  ...endpoint.extra,
  id: endpoint.id,
  interface: endpoint.interface,
  region: endpoint.regionId,
  region_id: endpoint.regionId,
  service_id: endpoint.serviceId,
  url: endpoint.builtIn ? publicBase(request, front.publicUrl) + endpoint.url : endpoint.url,
  enabled: endpoint.enabled,
  ...shown(endpoint.id, 'endpoints', request, front),
});

function endpointRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { endpoints } = front.identity.catalog;
  const inputOf = ({ endpoint }: Static<typeof endpointChange>) => ({
    serviceId: endpoint.service_id,
    interface: endpoint.interface,
    url: endpoint.url,
    enabled: endpoint.enabled,
    regionId: endpoint.region_id === undefined ? endpoint.region : endpoint.region_id,
    extra: extraOf(endpoint, ['service_id', 'interface', 'url', 'enabled', 'region_id', 'region']),
  });
  async function inputWithRegion(token: FastifyRequest['token'], body: Static<typeof endpointChange>) {
    const { region, region_id } = body.endpoint;
    if (region_id === undefined && typeof region === 'string') await endpoints.ensureRegion(token, region);
    return inputOf(body);
  }
  resourceRoutes<Endpoint>(app, front, {
    path: '/endpoints',
    singular: 'endpoint',
    plural: 'endpoints',
    view: (endpoint, request) => endpointView(endpoint, request, front),
    list: async (token, query) => {
      const wanted = {
        serviceId: queryValue(query, 'service_id'),
        regionId: queryValue(query, 'region_id') ?? queryValue(query, 'region'),
      };
      const [name, enabled] = [queryValue(query, 'interface'), flag(query, 'enabled')];
      const found = await endpoints.list(token, wanted);
      return found.filter((one) => (name === undefined || one.interface === name) && (enabled === undefined || one.enabled === enabled));
    },
    get: (token, id) => endpoints.get(token, id),
    create: async (token, given) => {
      const body = parseBody(endpointCreation, given, keystoneBodyMessage);
      const { enabled = true, regionId = null, extra } = await inputWithRegion(token, body);
      const { service_id: serviceId, interface: name, url } = body.endpoint;
      return endpoints.create(token, { id: newHexId(), serviceId, interface: name, url, enabled, regionId, builtIn: false, extra });
    },
    update: async (token, id, given) => {
      const body = parseBody(endpointChange, given, keystoneBodyMessage);
      return endpoints.update(token, id, await inputWithRegion(token, body));
    },
    delete: (token, id) => endpoints.delete(token, id),
  });
}

const regionAttributes = {
  description: Type.Optional(textOrNull),
  parent_region_id: Type.Optional(Type.Union([text(255), Type.Null()])),
};
const regionCreation = Type.Object({
  region: Type.Object({ id: Type.Optional(Type.Union([text(255), Type.Null()])), ...regionAttributes }),
});
const regionChange = Type.Object({ region: Type.Object(regionAttributes) });

function regionRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { regions } = front.identity.catalog;
  const inputOf = ({ region }: Static<typeof regionChange>) => ({
    description: region.description ?? undefined,
    parentRegionId: region.parent_region_id === '' ? null : region.parent_region_id,
    extra: extraOf(region, ['description', 'parent_region_id']),
  });
  const creationOf = (body: Static<typeof regionCreation>): Region => {
    const { description = '', parentRegionId = null, extra } = inputOf(body);
    return { id: body.region.id || newHexId(), description, parentRegionId, builtIn: false, extra };
  };
  resourceRoutes<Region>(app, front, {
    path: '/regions',
    singular: 'region',
    plural: 'regions',
    view: ({ id, description, parentRegionId, extra }, request) => ({
      ...extra,
      id,
      description,
      parent_region_id: parentRegionId,
      ...shown(encodeURIComponent(id), 'regions', request, front),
    }),
    list: (token, query) => regions.list(token, { parentRegionId: queryValue(query, 'parent_region_id') }),
    get: (token, id) => regions.get(token, id),
    create: (token, body) => regions.create(token, creationOf(parseBody(regionCreation, body, keystoneBodyMessage))),
    update: (token, id, body) => regions.update(token, id, inputOf(parseBody(regionChange, body, keystoneBodyMessage))),
    delete: (token, id) => regions.delete(token, id),
  });
  // The client chooses the id by the path.
  app.put<{ Params: { id: string } }>('/regions/:id', async (request, reply) => {
    const body = parseBody(regionCreation, request.body ?? { region: {} }, keystoneBodyMessage);
    const { id } = request.params;
    if (typeof body.region.id === 'string' && body.region.id !== id)
      throw badRequest(`Conflicting region IDs specified: "${id}" != "${body.region.id}"`);
    const region = await regions.create(request.token, { ...creationOf(body), id });
    reply.code(201);
    const { description, parentRegionId, extra } = region;
    return {
      region: { ...extra, id, description, parent_region_id: parentRegionId, ...shown(encodeURIComponent(id), 'regions', request, front) },
    };
  });
}
