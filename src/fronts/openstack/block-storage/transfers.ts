/** `/os-volume-transfer` and, from 3.55 on, `/volume-transfers`: the same transfers, by an older and a newer name. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type Transfer, transferColumns } from '../../../cloud/transfers/contract.ts';
import { booleanLike, nameOrNull, parseBody, parseBoolean, stripped, text, uuid } from '../shared/body.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { since } from './since.ts';
import { type Viewer, viewerOf } from './viewer.ts';

type WithId = { Params: { id: string } };
type Collection = 'os-volume-transfer' | 'volume-transfers';

const strict = { additionalProperties: false };
const createFields = { volume_id: uuid, name: Type.Optional(nameOrNull) };
const create = Type.Object({ transfer: Type.Object(createFields, strict) }, strict);
const create355 = Type.Object({ transfer: Type.Object({ ...createFields, no_snapshots: Type.Optional(booleanLike) }, strict) }, strict);
const acceptSchema = Type.Object({ accept: Type.Object({ auth_key: text(255, 1) }, strict) }, strict);

const listRules: ListRules<keyof typeof transferColumns> = {
  columns: transferColumns,
  aliases: { display_name: 'name' },
  commonFilters: ['name', 'volume_id', 'id'],
  constants: {},
  sortByNameSince: 0,
};

export function registerTransferRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  registerCollection(app, front, 'os-volume-transfer', 0);
  registerCollection(app, front, 'volume-transfers', 55);
}

function registerCollection(app: FastifyInstance, front: BlockStorageFront, collection: Collection, minor: number): void {
  const { transfers, publicUrl } = front;
  const isNew = collection === 'volume-transfers';
  const from = since(minor);
  const path = `/${collection}`;

  app.get(path, from, (request) => list(request, summary));
  app.get(`${path}/detail`, from, (request) => list(request, detail));

  async function list(request: FastifyRequest, view: typeof summary): Promise<unknown> {
    const order = parseList(queryOf(request), request, listRules);
    const found = order === undefined ? [] : await transfers.list(request.caller, order);
    const viewer = viewerOf(request, publicUrl);
    const paged = order !== undefined && request.microversion.atLeast(3, 59);
    const links = paged ? nextLinks(request, { publicUrl, limit: order.limit, itemIds: found.map(({ id }) => id) }) : undefined;
    return {
      transfers: found.map((transfer) => view(transfer, viewer, collection)),
      ...(links === undefined ? {} : { transfers_links: links }),
    };
  }

  app.get<WithId>(`${path}/:id`, from, async (request) => ({
    transfer: detail(await transfers.get(request.caller, request.params.id), viewerOf(request, publicUrl), collection),
  }));
  app.post(path, from, async (request, reply) => {
    const { transfer: asked } = parseBody(isNew ? create355 : (create as typeof create355), request.body);
    const name = stripped(asked.name ?? null);
    const order = { volumeId: asked.volume_id, name, noSnapshots: parseBoolean(asked.no_snapshots) === true };
    const made = await transfers.create(request.caller, order);
    const shown = detail(made, viewerOf(request, publicUrl), collection);
    return reply.code(202).send({ transfer: { ...shown, auth_key: made.authKey } });
  });
  app.post<WithId>(`${path}/:id/accept`, from, async (request, reply) => {
    const { accept } = parseBody(acceptSchema, request.body);
    const taken = await transfers.accept(request.caller, request.params.id, accept.auth_key);
    return reply.code(202).send({ transfer: summary(taken, viewerOf(request, publicUrl), collection) });
  });
  app.delete<WithId>(`${path}/:id`, from, async ({ caller, params }, reply) => {
    await transfers.delete(caller, params.id);
    return reply.code(202).send();
  });
}

function summary({ id, volumeId, name }: Transfer, viewer: Viewer, collection: Collection): Record<string, unknown> {
  return { id, volume_id: volumeId, name, links: viewer.linksTo(collection, id) };
}

/** A transfer ends when it is accepted, so those that can be seen have no receiver yet. */
function detail(transfer: Transfer, viewer: Viewer, collection: Collection): Record<string, unknown> {
  const { microversion } = viewer;
  const isNew = collection === 'volume-transfers';
  return {
    ...summary(transfer, viewer, collection),
    created_at: transfer.createdAt,
    ...(isNew && { no_snapshots: transfer.noSnapshots }),
    ...(isNew && microversion.atLeast(3, 57) && { source_project_id: transfer.projectId, destination_project_id: null, accepted: false }),
  };
}
