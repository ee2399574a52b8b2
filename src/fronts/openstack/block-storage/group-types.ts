/** `/group_types` and their specs, from 3.11 on. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type GroupType, groupTypeColumns } from '../../../cloud/groups/contract.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import type { Pairs } from '../../../lib/pairs.ts';
import { booleanLike, metadata, nameOrNull, parseBody, parseBoolean, stripped } from '../shared/body.ts';
import { nextLinks, type Query, queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { since } from './since.ts';

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

const strict = { additionalProperties: false };
const description = Type.Optional(nameOrNull);
const createSchema = Type.Object(
  {
    group_type: Type.Object(
      {
        name: nameOrNull,
        description,
        is_public: Type.Optional(booleanLike),
        group_specs: Type.Optional(Type.Union([metadata, Type.Null()])),
      },
      strict,
    ),
  },
  strict,
);
const updateSchema = Type.Object(
  { group_type: Type.Object({ name: Type.Optional(nameOrNull), description, is_public: Type.Optional(booleanLike) }, strict) },
  strict,
);
const specsSchema = Type.Object({ group_specs: metadata }, strict);

const listRules: ListRules<keyof typeof groupTypeColumns> = {
  columns: groupTypeColumns,
  aliases: {},
  commonFilters: ['name', 'is_public'],
  constants: {},
  sortByNameSince: 0,
};
const specNames = /^[\w.:-]{1,255}$/;

export function registerGroupTypeRoutes(app: FastifyInstance, { groups, publicUrl }: BlockStorageFront): void {
  const { types } = groups;
  const from = since(11);
  const path = '/group_types';

  app.get(path, from, async (request) => {
    const order = parseList(publicByDefault(queryOf(request)), request, listRules);
    const found = order === undefined ? [] : await types.list(request.caller, order);
    const links =
      order === undefined ? undefined : nextLinks(request, { publicUrl, limit: order.limit, itemIds: found.map(({ id }) => id) });
    return { group_types: found.map((type) => view(type, request)), ...(links === undefined ? {} : { group_type_links: links }) };
  });
  app.get(`${path}/default`, from, async () => {
    throw notFound('Default group type can not be found.');
  });
  app.get<WithId>(`${path}/:id`, from, async (request) => ({
    group_type: view(await types.get(request.caller, request.params.id), request),
  }));
  app.post(path, from, async (request, reply) => {
    const { group_type: asked } = parseBody(createSchema, request.body);
    const specs = checkedSpecs(asked.group_specs ?? {});
    const isPublic = parseBoolean(asked.is_public) ?? true;
    const type = await types.create(request.caller, {
      name: checkedName(asked.name),
      description: stripped(asked.description ?? null),
      isPublic,
      specs,
    });
    return reply.code(202).send({ group_type: view(type, request) });
  });
  app.put<WithId>(`${path}/:id`, from, async (request) => {
    const { group_type: asked } = parseBody(updateSchema, request.body);
    const isPublic = parseBoolean(asked.is_public);
    if (asked.name === undefined && asked.description === undefined && isPublic === undefined) {
      throw badRequest('Specify group type name, description or is_public.');
    }
    const type = await types.update(request.caller, request.params.id, {
      ...(asked.name !== undefined && asked.name !== null && { name: checkedName(asked.name) }),
      ...(asked.description !== undefined && { description: stripped(asked.description) }),
      ...(isPublic !== undefined && { isPublic }),
    });
    return { group_type: view(type, request) };
  });
  app.delete<WithId>(`${path}/:id`, from, async ({ caller, params }, reply) => {
    await types.delete(caller, params.id);
    return reply.code(202).send();
  });
  registerSpecRoutes(app, groups);
}

function registerSpecRoutes(app: FastifyInstance, { types }: BlockStorageFront['groups']): void {
  const from = since(11);
  const all = '/group_types/:id/group_specs';
  app.get<WithId>(all, from, async ({ caller, params }) => ({ group_specs: await types.specsOf(caller, params.id) }));
  app.post<WithId>(all, from, async ({ caller, params, body }, reply) => {
    const pairs = checkedSpecs(parseBody(specsSchema, body).group_specs);
    await types.changeSpecs(caller, params.id, { kind: 'merge', pairs });
    return reply.code(202).send({ group_specs: pairs });
  });
  app.get<WithKey>(`${all}/:key`, from, async ({ caller, params: { id, key } }) => {
    const specs = await types.specsOf(caller, id);
    if (!Object.hasOwn(specs, key)) throw missingSpec(id, key);
    return { [key]: specs[key] };
  });
  app.put<WithKey>(`${all}/:key`, from, async ({ caller, params: { id, key }, body }) => {
    const pairs = checkedSpecs(parseBody(metadata, body));
    if (!Object.hasOwn(pairs, key)) throw badRequest('Request body and URI mismatch');
    if (Object.keys(pairs).length > 1) throw badRequest('Request body contains too many items');
    await types.changeSpecs(caller, id, { kind: 'merge', pairs });
    return pairs;
  });
  app.delete<WithKey>(`${all}/:key`, from, async ({ caller, params: { id, key } }, reply) => {
    const specs = await types.specsOf(caller, id);
    if (!Object.hasOwn(specs, key)) throw missingSpec(id, key);
    await types.changeSpecs(caller, id, { kind: 'remove', key });
    return reply.code(202).send();
  });
}

const missingSpec = (id: string, key: string) => notFound(`Group Type ${id} has no specs with key ${key}.`);

/** Only public types are listed unless others are asked for; `is_public=None` is all. */
function publicByDefault(query: Query): Query {
  const asked = queryValue(query, 'is_public');
  if (asked?.toLowerCase() === 'none') {
    const { is_public: _all, ...others } = query;
    return others;
  }
  return { ...query, is_public: asked ?? 'true' };
}

function checkedName(name: string | null): string {
  const trimmed = stripped(name) ?? '';
  if (trimmed === '') throw badRequest('Group type name can not be empty.');
  return trimmed;
}

function checkedSpecs(specs: Pairs): Pairs {
  if (Object.keys(specs).every((name) => specNames.test(name))) return specs;
  throw badRequest('Key names can only contain alphanumeric characters, underscores, periods, colons and hyphens.');
}

function view(type: GroupType, { caller }: FastifyRequest): Record<string, unknown> {
  const { id, name, description: text, isPublic, specs } = type;
  const showsSpecs = isAllowed(caller, 'group_type:see_specs', { projectId: null });
  return { id, name, description: text, is_public: isPublic, ...(showsSpecs && { group_specs: specs }) };
}
