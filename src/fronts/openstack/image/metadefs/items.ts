/** Objects, properties and tags of a namespace: the same routes for each, but for what is special about tags. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ItemKind, MetadefItem, Metadefs } from '../../../../cloud/images/metadefs/service.ts';
import { notFound } from '../../../../lib/errors.ts';
import { queryOf, queryValue } from '../../shared/paging.ts';
import { parseLimit } from '../query.ts';
import { nextPage } from '../view.ts';
import { checkItemName, parseItem, parseTags } from './bodies.ts';
import { objectView, propertyView, tagView } from './views.ts';

type WithNamespace = { Params: { namespace: string } };
type WithItem = { Params: { namespace: string; item: string } };

const collections = { object: 'objects', property: 'properties', tag: 'tags' } as const satisfies Record<ItemKind, string>;
const kinds: readonly ItemKind[] = ['object', 'property', 'tag'];

const listPath = (kind: ItemKind): string => `/v2/metadefs/namespaces/:namespace/${collections[kind]}`;
const itemPath = (kind: ItemKind): string => `${listPath(kind)}/:item`;

function viewOf(kind: ItemKind, namespace: string, item: MetadefItem): Record<string, unknown> {
  if (kind === 'object') return objectView(namespace, item);
  return kind === 'property' ? propertyView(item) : tagView(item);
}

export function itemRoutes(app: FastifyInstance, metadefs: Metadefs): void {
  for (const kind of kinds) {
    app.get<WithNamespace>(listPath(kind), async (request) => {
      const { namespace } = request.params;
      const items = await metadefs.items(request.caller, namespace, kind);
      const path = listPath(kind).replace(':namespace', encodeURIComponent(namespace));
      return listView(request, path, kind, items, (item) => viewOf(kind, namespace, item));
    });
    app.put<WithItem>(itemPath(kind), async (request) => {
      const { namespace, item } = request.params;
      return viewOf(kind, namespace, await metadefs.replaceItem(request.caller, namespace, kind, item, parseItem(kind, request.body)));
    });
  }
  for (const kind of ['object', 'tag'] as const) {
    app.get<WithItem>(itemPath(kind), async (request) => {
      const { namespace, item } = request.params;
      return viewOf(kind, namespace, await metadefs.item(request.caller, namespace, kind, item));
    });
  }
  for (const kind of ['object', 'property'] as const) {
    app.post<WithNamespace>(listPath(kind), async (request, reply) => {
      const { namespace } = request.params;
      reply.code(201);
      return viewOf(kind, namespace, await metadefs.addItem(request.caller, namespace, kind, parseItem(kind, request.body)));
    });
  }
  app.get<WithItem>(itemPath('property'), async (request) => await showProperty(metadefs, request));
  app.post<WithNamespace>(listPath('tag'), async (request, reply) => {
    const { namespace } = request.params;
    const append = String(request.headers['x-openstack-append'] ?? 'false').toLowerCase() === 'true';
    await metadefs.setTags(request.caller, namespace, parseTags(request.body), { append });
    const tags = await metadefs.items(request.caller, namespace, 'tag');
    reply.code(201);
    return { tags: tags.map((tag) => ({ name: tag.name })), schema: '/v2/schemas/metadefs/tags' };
  });
}

/** What has no body. */
export function itemBodilessRoutes(app: FastifyInstance, metadefs: Metadefs): void {
  for (const kind of kinds) {
    app.delete<WithNamespace>(listPath(kind), async (request, reply) => {
      await metadefs.removeItems(request.caller, request.params.namespace, kind);
      return reply.code(204).send();
    });
    app.delete<WithItem>(itemPath(kind), async (request, reply) => {
      await metadefs.removeItem(request.caller, request.params.namespace, kind, request.params.item);
      return reply.code(204).send();
    });
  }
  app.post<WithItem>(itemPath('tag'), async (request, reply) => {
    const { namespace, item } = request.params;
    checkItemName('tag', item);
    reply.code(201);
    return tagView(await metadefs.addItem(request.caller, namespace, 'tag', { name: item, definition: {} }));
  });
}

/** With `?resource_type=…` the name is the one that the property has there: the association's prefix comes first. */
async function showProperty(metadefs: Metadefs, request: FastifyRequest<WithItem>): Promise<Record<string, unknown>> {
  const { namespace, item: name } = request.params;
  const resourceType = queryValue(queryOf(request), 'resource_type');
  if (resourceType === undefined) return propertyView(await metadefs.item(request.caller, namespace, 'property', name));
  const associations = await metadefs.associations(request.caller, namespace);
  const prefix = associations.find((one) => one.resourceType === resourceType)?.prefix ?? '';
  if (!name.startsWith(prefix)) {
    throw notFound(`Property ${name} does not start with the expected resource type association prefix of '${prefix}'.`);
  }
  const found = await metadefs.item(request.caller, namespace, 'property', name.slice(prefix.length));
  return { ...propertyView(found), name };
}

/** Properties come as a map by name, without pages, and the others as pages of a list. */
function listView(
  request: FastifyRequest,
  path: string,
  kind: ItemKind,
  items: readonly MetadefItem[],
  view: (item: MetadefItem) => Record<string, unknown>,
): Record<string, unknown> {
  if (kind === 'property') return { properties: Object.fromEntries(items.map((item) => [item.name, view(item)])) };
  const query = queryOf(request);
  const limit = queryValue(query, 'limit');
  const marker = queryValue(query, 'marker');
  if (marker !== undefined && !items.some((item) => item.name === marker)) {
    throw notFound(`The metadata definition ${kind} with name=${marker} was not found.`);
  }
  const rest = marker === undefined ? items : items.slice(items.findIndex((item) => item.name === marker) + 1);
  const pageItems = limit === undefined ? rest : rest.slice(0, parseLimit(limit));
  const isFull = limit !== undefined && pageItems.length > 0 && pageItems.length < rest.length;
  return {
    [collections[kind]]: pageItems.map(view),
    ...nextPage(path, request.url, isFull ? pageItems.at(-1)?.name : undefined),
    schema: `/v2/schemas/metadefs/${collections[kind]}`,
  };
}
