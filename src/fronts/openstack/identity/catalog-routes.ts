/** Services, endpoints and regions: read only, because they follow from how the server was started. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { authoriseDirectory } from '../../../cloud/identity/directory-policy.ts';
import { notFound } from '../../../lib/errors.ts';
import { publicBase } from '../shared/links.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { type CatalogEndpoint, type CatalogService, catalogEndpoints, catalogServices, regionId } from './catalog.ts';
import { collection, type IdentityFront, v3Of } from './context.ts';

type ById = { Params: { id: string } };

export function catalogRoutes(app: FastifyInstance, front: IdentityFront): void {
  const endpointsOf = (request: FastifyRequest) => catalogEndpoints(publicBase(request, front.publicUrl));

  app.get('/services', async (request) => {
    authoriseDirectory(request.token, 'list_services');
    const query = queryOf(request);
    const matches = wanted({ type: queryValue(query, 'type'), name: queryValue(query, 'name') });
    const found = catalogServices.filter(matches).map((service) => serviceView(service, v3Of(request, front)));
    return collection(request, front, 'services', found);
  });
  app.get<ById>('/services/:id', async (request) => {
    authoriseDirectory(request.token, 'get_service');
    const service = findById('service', catalogServices, request.params.id);
    return { service: serviceView(service, v3Of(request, front)) };
  });
  app.get('/endpoints', async (request) => {
    authoriseDirectory(request.token, 'list_endpoints');
    const query = queryOf(request);
    const region = queryValue(query, 'region_id') ?? queryValue(query, 'region');
    const matches = wanted({ interface: queryValue(query, 'interface'), serviceId: queryValue(query, 'service_id') });
    const found = region === undefined || region === regionId ? endpointsOf(request).filter(matches) : [];
    return collection(
      request,
      front,
      'endpoints',
      found.map((endpoint) => endpointView(endpoint, v3Of(request, front))),
    );
  });
  app.get<ById>('/endpoints/:id', async (request) => {
    authoriseDirectory(request.token, 'get_endpoint');
    const endpoint = findById('endpoint', endpointsOf(request), request.params.id);
    return { endpoint: endpointView(endpoint, v3Of(request, front)) };
  });
  app.get('/regions', async (request) => collection(request, front, 'regions', [regionView(v3Of(request, front))]));
  app.get<ById>('/regions/:id', async (request) => {
    if (request.params.id !== regionId) throw notFound(`Could not find region: ${request.params.id}.`);
    return { region: regionView(v3Of(request, front)) };
  });
}

function findById<T extends { readonly id: string }>(noun: string, items: readonly T[], id: string): T {
  const item = items.find((candidate) => candidate.id === id);
  if (item === undefined) throw notFound(`Could not find ${noun}: ${id}.`);
  return item;
}

function wanted<K extends string>(filter: Readonly<Record<K, string | undefined>>): (item: Readonly<Record<K, string>>) => boolean {
  const names = Object.keys(filter) as K[];
  return (item) => names.every((name) => filter[name] === undefined || filter[name] === item[name]);
}

const serviceView = ({ id, type, name, description }: CatalogService, v3: string) => ({
  id,
  type,
  name,
  description,
  enabled: true,
  links: { self: `${v3}/services/${id}` },
});

const endpointView = (endpoint: CatalogEndpoint, v3: string) => ({
  id: endpoint.id,
  interface: endpoint.interface,
  region: regionId,
  region_id: regionId,
  service_id: endpoint.serviceId,
  url: endpoint.url,
  enabled: true,
  links: { self: `${v3}/endpoints/${endpoint.id}` },
});

const regionView = (v3: string) => ({
  id: regionId,
  description: '',
  parent_region_id: null,
  links: { self: `${v3}/regions/${regionId}` },
});
