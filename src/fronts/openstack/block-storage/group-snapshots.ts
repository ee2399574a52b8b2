/** `/group_snapshots`, from 3.14 on. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type GroupSnapshot, groupSnapshotColumns } from '../../../cloud/groups/contract.ts';
import { notFound } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { nameOrNull, parseBody, stripped, text, uuid } from '../shared/body.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { resourceFilters } from './resource-filters.ts';
import { since } from './since.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const createSchema = Type.Object(
  {
    group_snapshot: Type.Object({ group_id: uuid, name: Type.Optional(nameOrNull), description: Type.Optional(nameOrNull) }, strict),
  },
  strict,
);
const resetSchema = Type.Object({ status: text(255, 1) }, strict);

const listRules: ListRules<keyof typeof groupSnapshotColumns> = {
  columns: groupSnapshotColumns,
  aliases: {},
  commonFilters: resourceFilters.group_snapshot,
  constants: {},
  sortByNameSince: 0,
};

const actions = { reset_status: true };

export function registerGroupSnapshotRoutes(app: FastifyInstance, { groups, publicUrl }: BlockStorageFront): void {
  const from = since(14);
  const path = '/group_snapshots';
  app.get(path, from, (request) => list(request, ({ id, name }) => ({ id, name })));
  app.get(`${path}/detail`, from, (request) => list(request, (snapshot) => detail(snapshot, request)));

  async function list(request: FastifyRequest, view: (snapshot: GroupSnapshot) => object): Promise<unknown> {
    const order = parseList(queryOf(request), request, listRules);
    if (order === undefined) return { group_snapshots: [] };
    const found = await groups.listSnapshots(request.caller, order);
    const isPaged = request.microversion.atLeast(3, 29);
    const links = isPaged ? nextLinks(request, { publicUrl, limit: order.limit, itemIds: found.map(({ id }) => id) }) : undefined;
    return { group_snapshots: found.map(view), ...(links === undefined ? {} : { group_snapshots_links: links }) };
  }

  app.get<WithId>(`${path}/:id`, from, async (request) => ({
    group_snapshot: detail(await groups.getSnapshot(request.caller, request.params.id), request),
  }));
  app.post(path, from, async (request, reply) => {
    const { group_snapshot: asked } = parseBody(createSchema, request.body);
    const order = {
      groupId: asked.group_id,
      name: stripped(asked.name ?? null),
      description: stripped(asked.description ?? null),
    };
    const { id, name, groupTypeId } = await groups.createSnapshot(request.caller, order);
    return reply.code(202).send({ group_snapshot: { id, name, group_type_id: groupTypeId } });
  });
  app.delete<WithId>(`${path}/:id`, from, async ({ caller, params }, reply) => {
    await groups.deleteSnapshot(caller, params.id);
    return reply.code(202).send();
  });
  app.post<WithId>(`${path}/:id/action`, { ...from, ...taking(actions) }, async ({ caller, params, body, microversion }, reply) => {
    const { argument } = actionIn(body, actions);
    if (!microversion.atLeast(3, 19)) throw notFound('The resource could not be found.');
    await groups.resetSnapshotStatus(caller, params.id, parseBody(resetSchema, argument).status);
    return reply.code(202).send();
  });
}

function detail(snapshot: GroupSnapshot, { microversion }: FastifyRequest): Record<string, unknown> {
  const { id, groupId, status, createdAt, name, description, groupTypeId, projectId } = snapshot;
  return {
    id,
    group_id: groupId,
    status,
    created_at: createdAt,
    name,
    description,
    group_type_id: groupTypeId,
    ...(microversion.atLeast(3, 58) && { project_id: projectId }),
  };
}
