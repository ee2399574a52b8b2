/** `/servers`: lists, one server, and what is said of it. What it does is in `server-actions.ts`. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody } from '../shared/body.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';
import { canonicalAddress, metaBody, metadataBody, updateServer } from './server-bodies.ts';
import { parseServerList } from './server-list-query.ts';
import { parseCreate } from './server-orders.ts';
import { changedServerView, serverSummary, serverView } from './server-view.ts';
import { viewerOf } from './viewer.ts';

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

export function registerServerRoutes(app: FastifyInstance, front: ComputeFront): void {
  const { servers, publicUrl } = front;
  for (const [path, view] of [
    ['/servers', serverSummary],
    ['/servers/detail', serverView],
  ] as const) {
    app.get(path, async (request) => {
      const query = parseServerList(queryOf(request), { isOperator: isAllowed(request.caller, 'machine:list_all', { projectId: null }) });
      const found = query === undefined ? [] : await servers.list(request.caller, query);
      const viewer = viewerOf(request, publicUrl);
      const links = query && nextLinks(request, { publicUrl, limit: query.limit, itemIds: found.map(({ id }) => id) });
      return { servers: found.map((server) => view(server, viewer)), ...(links !== undefined && { servers_links: links }) };
    });
  }
  app.post('/servers', async (request, reply) => {
    const order = parseCreate(request);
    const { ids, reservationId } = await servers.create(request.caller, order);
    reply.code(202);
    if (order.wantsReservation) return { reservation_id: reservationId };
    const id = ids[0] as string;
    const links = viewerOf(request, publicUrl).linksTo('servers', id);
    reply.header('location', links[0]?.href);
    return { server: { id, links, 'OS-DCF:diskConfig': order.diskConfig, security_groups: [{ name: 'default' }] } };
  });
  app.get<WithId>('/servers/:id', async (request) => ({
    server: serverView(await servers.get(request.caller, request.params.id), viewerOf(request as FastifyRequest, publicUrl)),
  }));
  app.put<WithId>('/servers/:id', async (request) => {
    const asked = parseBody(updateServer, request.body).server;
    refuseUnknown(request as FastifyRequest, asked);
    const server = await servers.update(request.caller, request.params.id, {
      ...(asked.name !== undefined && { name: asked.name }),
      ...(asked.description !== undefined && { description: asked.description }),
      ...(asked.hostname !== undefined && { hostname: asked.hostname }),
      ...(asked.accessIPv4 !== undefined && { accessIpV4: asked.accessIPv4 }),
      ...(asked.accessIPv6 !== undefined && { accessIpV6: canonicalAddress(asked.accessIPv6) }),
      ...(asked['OS-DCF:diskConfig'] !== undefined && { diskConfig: asked['OS-DCF:diskConfig'] }),
    });
    return { server: changedServerView(server, viewerOf(request as FastifyRequest, publicUrl)) };
  });
  app.delete<WithId>('/servers/:id', async ({ caller, params }, reply) => {
    await servers.delete(caller, params.id);
    return reply.code(204).send();
  });
  metadataRoutes(app, front);
}

function refuseUnknown({ microversion }: FastifyRequest, asked: object): void {
  for (const [field, minor] of [
    ['description', 19],
    ['hostname', 90],
  ] as const) {
    if (Object.hasOwn(asked, field) && !isSince(microversion, minor))
      throw badRequest(`Invalid input for field/attribute server. Additional properties are not allowed ('${field}' was unexpected)`);
  }
}

function metadataRoutes(app: FastifyInstance, { servers }: ComputeFront): void {
  const all = '/servers/:id/metadata';
  const one = `${all}/:key`;
  app.get<WithId>(all, async ({ caller, params }) => ({ metadata: (await servers.get(caller, params.id)).metadata }));
  for (const [method, kind] of [
    ['POST', 'merge'],
    ['PUT', 'replace'],
  ] as const) {
    app.route<WithId>({
      method,
      url: all,
      handler: async ({ caller, params, body }) => {
        const { metadata } = parseBody(metadataBody, body);
        return { metadata: await servers.changeMetadata(caller, params.id, { kind, pairs: metadata }) };
      },
    });
  }
  app.get<WithKey>(one, async ({ caller, params }) => {
    const { metadata } = await servers.get(caller, params.id);
    if (!Object.hasOwn(metadata, params.key)) throw notFound('Metadata item was not found');
    return { meta: { [params.key]: metadata[params.key] } };
  });
  app.put<WithKey>(one, async ({ caller, params, body }) => {
    const { meta } = parseBody(metaBody, body);
    const value = Object.hasOwn(meta, params.key) ? meta[params.key] : undefined;
    if (value === undefined) throw badRequest('Request body and URI mismatch');
    if (Object.keys(meta).length > 1) throw badRequest('Request body contains too many items');
    await servers.changeMetadata(caller, params.id, { kind: 'merge', pairs: { [params.key]: value } });
    return { meta: { [params.key]: value } };
  });
  app.delete<WithKey>(one, async ({ caller, params }, reply) => {
    await servers.changeMetadata(caller, params.id, { kind: 'remove', key: params.key });
    return reply.code(204).send();
  });
}
