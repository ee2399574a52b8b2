/** `/groups`, from 3.13 on. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type Group, groupColumns } from '../../../cloud/groups/contract.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { isUuid } from '../../../lib/ids.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { booleanLike, nameOrNull, parseBody, parseBoolean, stripped, text, uuid } from '../shared/body.ts';
import { nextLinks, queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { resourceFilters } from './resource-filters.ts';
import { since } from './since.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const names = { name: Type.Optional(nameOrNull), description: Type.Optional(nameOrNull) };
const createSchema = Type.Object(
  {
    group: Type.Object(
      {
        ...names,
        group_type: text(255, 1),
        volume_types: Type.Array(text(255, 1), { minItems: 1, maxItems: 1000 }),
        availability_zone: Type.Optional(Type.Union([text(255), Type.Null()])),
      },
      strict,
    ),
  },
  strict,
);
const optionalId = Type.Optional(Type.Union([uuid, Type.Null()]));
const copySchema = Type.Object({ ...names, group_snapshot_id: optionalId, source_group_id: optionalId }, strict);
const idList = Type.Optional(Type.Union([Type.String(), Type.Null()]));
const updateSchema = Type.Object({ group: Type.Object({ ...names, add_volumes: idList, remove_volumes: idList }, strict) }, strict);
const deleteSchema = Type.Object({ 'delete-volumes': Type.Optional(booleanLike) }, strict);
const resetSchema = Type.Object({ status: text(255, 1) }, strict);

const listRules: ListRules<keyof typeof groupColumns> = {
  columns: groupColumns,
  aliases: { group_type: 'group_type_id' },
  commonFilters: resourceFilters.group,
  constants: {},
  sortByNameSince: 0,
};

const collectionActions = { 'create-from-src': true };
const actions = { delete: true, reset_status: true };

export function registerGroupRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  const { groups, publicUrl } = front;
  const from = since(13);
  app.get('/groups', from, (request) => list(request, false));
  app.get('/groups/detail', from, (request) => list(request, true));

  /** The volumes of all groups of a page are one more query. */
  async function shown(request: FastifyRequest, found: readonly Group[]): Promise<Record<string, unknown>[]> {
    const { microversion } = request;
    const withVolumes = microversion.atLeast(3, 25) && parseBoolean(queryValue(queryOf(request), 'list_volume')) === true;
    const members = withVolumes ? await groups.memberIds(found.map(({ id }) => id)) : undefined;
    return found.map((group) => ({ ...detail(group, request), ...(members && { volumes: members.get(group.id) ?? [] }) }));
  }

  async function list(request: FastifyRequest, isDetailed: boolean): Promise<unknown> {
    const { list_volume: _view, ...query } = queryOf(request);
    const order = parseList(query, request, listRules);
    if (order === undefined) return { groups: [] };
    const found = await groups.list(request.caller, order);
    const links = nextLinks(request, { publicUrl, limit: order.limit, itemIds: found.map(({ id }) => id) });
    const views = isDetailed ? await shown(request, found) : found.map(({ id, name }) => ({ id, name }));
    return { groups: views, ...(links === undefined ? {} : { group_links: links }) };
  }

  app.get<WithId>('/groups/:id', from, async (request) => {
    const [group] = await shown(request, [await groups.get(request.caller, request.params.id)]);
    return { group };
  });
  app.post('/groups', from, async (request, reply) => {
    const { group: asked } = parseBody(createSchema, request.body);
    const { id, name } = await groups.create(request.caller, {
      name: stripped(asked.name ?? null),
      description: stripped(asked.description ?? null),
      groupType: asked.group_type,
      volumeTypes: asked.volume_types,
      availabilityZone: asked.availability_zone || null,
    });
    return reply.code(202).send({ group: { id, name } });
  });
  app.post('/groups/action', { ...since(14), ...taking(collectionActions) }, async (request, reply) => {
    const { argument } = actionIn(request.body, collectionActions);
    const asked = parseBody(copySchema, argument);
    const source = sourceOf(asked.group_snapshot_id ?? null, asked.source_group_id ?? null);
    const [copyName, description] = [stripped(asked.name ?? null), stripped(asked.description ?? null)];
    const { id, name } = await groups.copy(request.caller, { name: copyName, description, source });
    return reply.code(202).send({ group: { id, name } });
  });
  app.put<WithId>('/groups/:id', from, async (request, reply) => {
    await update(request);
    return reply.code(202).send();
  });
  app.post<WithId>('/groups/:id/action', { ...from, ...taking(actions) }, async (request, reply) => {
    await act(request);
    return reply.code(202).send();
  });

  async function update({ caller, params, body }: FastifyRequest<WithId>): Promise<void> {
    const { group: asked } = parseBody(updateSchema, body);
    const [addVolumes, removeVolumes] = [idsIn(asked.add_volumes), idsIn(asked.remove_volumes)];
    const { name, description } = asked;
    if (!name && !description && addVolumes.length === 0 && removeVolumes.length === 0) {
      throw badRequest(
        'Invalid input received: name, description, add_volumes, and remove_volumes can not be all empty in the request body.',
      );
    }
    const both = addVolumes.filter((id) => removeVolumes.includes(id));
    if (both.length > 0) throw badRequest(`Invalid volume: Volumes ${both.join(', ')} are in both add and remove volume lists.`);
    await groups.update(caller, params.id, {
      ...(name != null && { name: stripped(name) }),
      ...(description != null && { description: stripped(description) }),
      addVolumes,
      removeVolumes,
    });
  }

  async function act({ caller, params, body, microversion }: FastifyRequest<WithId>): Promise<void> {
    const { name, argument } = actionIn(body, actions);
    if (name === 'delete') {
      const asked = parseBody(deleteSchema, argument);
      await groups.delete(caller, params.id, { deleteVolumes: parseBoolean(asked['delete-volumes']) === true });
      return;
    }
    if (!microversion.atLeast(3, 20)) throw notFound('The resource could not be found.');
    await groups.resetStatus(caller, params.id, parseBody(resetSchema, argument).status);
  }
}

function sourceOf(groupSnapshotId: string | null, groupId: string | null) {
  if (groupSnapshotId !== null && groupId === null) return { kind: 'group_snapshot', id: groupSnapshotId } as const;
  if (groupId !== null && groupSnapshotId === null) return { kind: 'group', id: groupId } as const;
  throw badRequest("Either 'group_snapshot_id' or 'source_group_id' must be provided to create a group from source, and not both.");
}

/** `id,id`: an empty text is none. */
function idsIn(list: string | null | undefined): string[] {
  const ids = (list ?? '')
    .split(',')
    .map((id) => id.trim())
    .filter((id) => id !== '');
  const odd = ids.find((id) => !isUuid(id));
  if (odd !== undefined) throw badRequest(`Invalid volume: Volume ${odd} could not be found.`);
  return [...new Set(ids)];
}

function detail(group: Group, { microversion }: FastifyRequest): Record<string, unknown> {
  return {
    id: group.id,
    status: group.status,
    availability_zone: group.availabilityZone,
    created_at: group.createdAt,
    name: group.name,
    description: group.description,
    group_type: group.groupTypeId,
    volume_types: group.volumeTypeIds,
    ...(microversion.atLeast(3, 14) && { group_snapshot_id: group.groupSnapshotId, source_group_id: group.sourceGroupId }),
    ...(microversion.atLeast(3, 38) && { replication_status: 'disabled' }),
    ...(microversion.atLeast(3, 58) && { project_id: group.projectId }),
  };
}
