/** Namespaces of metadata definitions, and which resources they are meant for. */
import type { FastifyInstance } from 'fastify';
import { type NamespaceQuery, namespaceSortKeys } from '../../../../cloud/images/metadefs/namespace-query.ts';
import type { Metadefs } from '../../../../cloud/images/metadefs/service.ts';
import { badRequest } from '../../../../lib/errors.ts';
import { type Query, queryOf, queryValue } from '../../shared/paging.ts';
import { parseLimit } from '../query.ts';
import { nextPage, secondsOf } from '../view.ts';
import { parseAssociation, parseNamespace } from './bodies.ts';
import { associationView, listedNamespaceView, namespaceView, wholeNamespaceView } from './views.ts';

type WithNamespace = { Params: { namespace: string } };
type WithType = { Params: { namespace: string; type: string } };

const collection = '/v2/metadefs/namespaces';

export function namespaceRoutes(app: FastifyInstance, metadefs: Metadefs): void {
  app.get(collection, async (request) => {
    const query = parseQuery(queryOf(request));
    const namespaces = await metadefs.listNamespaces(request.caller, query);
    const isFull = namespaces.length === query.limit;
    return {
      namespaces: namespaces.map(listedNamespaceView),
      ...nextPage(collection, request.url, isFull ? namespaces.at(-1)?.namespace : undefined),
      schema: '/v2/schemas/metadefs/namespaces',
    };
  });
  app.post(collection, async (request, reply) => {
    const namespace = await metadefs.createNamespace(request.caller, parseNamespace(request.body));
    reply.code(201).header('location', `${collection}/${encodeURIComponent(namespace.namespace)}`);
    return wholeNamespaceView(namespace);
  });
  app.get<WithNamespace>(`${collection}/:namespace`, async (request) => {
    const namespace = await metadefs.showNamespace(request.caller, request.params.namespace);
    return wholeNamespaceView(namespace, queryValue(queryOf(request), 'resource_type'));
  });
  app.put<WithNamespace>(`${collection}/:namespace`, async (request) =>
    namespaceView(await metadefs.updateNamespace(request.caller, request.params.namespace, parseNamespace(request.body))),
  );
}

export function resourceTypeRoutes(app: FastifyInstance, metadefs: Metadefs): void {
  app.get('/v2/metadefs/resource_types', async (request) => {
    const types = await metadefs.resourceTypes(request.caller);
    return {
      resource_types: types.map((type) => ({
        name: type.name,
        created_at: secondsOf(type.createdAt),
        updated_at: secondsOf(type.updatedAt),
      })),
    };
  });
  app.get<WithNamespace>(`${collection}/:namespace/resource_types`, async (request) => {
    const associations = await metadefs.associations(request.caller, request.params.namespace);
    return { resource_type_associations: associations.map(associationView) };
  });
  app.post<WithNamespace>(`${collection}/:namespace/resource_types`, async (request, reply) => {
    const { namespace } = request.params;
    const association = await metadefs.associate(request.caller, namespace, parseAssociation(request.body));
    reply
      .code(201)
      .header('location', `${collection}/${encodeURIComponent(namespace)}/resource_types/${encodeURIComponent(association.resourceType)}`);
    return associationView(association);
  });
}

/** What has no body. */
export function namespaceDeleteRoutes(app: FastifyInstance, metadefs: Metadefs): void {
  app.delete<WithNamespace>(`${collection}/:namespace`, async (request, reply) => {
    await metadefs.deleteNamespace(request.caller, request.params.namespace);
    return reply.code(204).send();
  });
  app.delete<WithType>(`${collection}/:namespace/resource_types/:type`, async (request, reply) => {
    await metadefs.dissociate(request.caller, request.params.namespace, request.params.type);
    return reply.code(204).send();
  });
}

function parseQuery(query: Query): NamespaceQuery {
  const visibility = queryValue(query, 'visibility');
  if (visibility !== undefined && visibility !== 'public' && visibility !== 'private') {
    throw badRequest(`Invalid visibility value: ${visibility}`);
  }
  const direction = queryValue(query, 'sort_dir') ?? 'desc';
  if (direction !== 'asc' && direction !== 'desc') throw badRequest(`Invalid sort direction: ${direction}`);
  const wantedKey = queryValue(query, 'sort_key') ?? 'created_at';
  const sortKey = namespaceSortKeys.find((key) => key === wantedKey);
  if (sortKey === undefined)
    throw badRequest(`Invalid sort key: ${wantedKey}. It must be one of the following: ${namespaceSortKeys.join(', ')}.`);
  const types = queryValue(query, 'resource_types');
  return {
    visibility,
    resourceTypes: types?.split(',').map((type) => type.trim()),
    sortKey,
    direction,
    limit: parseLimit(queryValue(query, 'limit')),
    marker: queryValue(query, 'marker'),
  };
}
