/** `/types`: volume types, and who may use those that are not public. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { ListFilter } from '../../../cloud/database/lists.ts';
import { type TypeColumn, typeColumns } from '../../../cloud/volume-types/contract.ts';
import { badRequest } from '../../../lib/errors.ts';
import type { Pairs } from '../../../lib/pairs.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { booleanLike, nameOrNull, parseBody, parseBoolean, stripped, text } from '../shared/body.ts';
import { nextLinks, parsePage, parseSort, type Query, queryOf, queryValue } from '../shared/paging.ts';
import { specsWithNulls, withoutNulls } from '../shared/spec-bodies.ts';
import { parseAdminFilters, sortNamesOf } from './admin-filters.ts';
import type { BlockStorageFront } from './context.ts';
import { parseDictionary } from './python-dictionary.ts';
import { openSpecs, seesAllOf, typeView } from './type-view.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const create = Type.Object(
  {
    volume_type: Type.Object(
      {
        name: text(255, 1),
        description: Type.Optional(nameOrNull),
        extra_specs: Type.Optional(Type.Union([specsWithNulls, Type.Null()])),
        'os-volume-type-access:is_public': Type.Optional(booleanLike),
      },
      strict,
    ),
  },
  strict,
);
const update = Type.Object(
  {
    volume_type: Type.Object(
      {
        name: Type.Optional(nameOrNull),
        description: Type.Optional(nameOrNull),
        is_public: Type.Optional(Type.Union([booleanLike, Type.Null()])),
      },
      strict,
    ),
  },
  strict,
);
const access = Type.Object({ project: text(255, 1) }, strict);

const actions = { addProjectAccess: true, removeProjectAccess: true };

export function registerVolumeTypeRoutes(app: FastifyInstance, { volumeTypes, publicUrl }: BlockStorageFront): void {
  app.get('/types', async (request) => {
    const page = parsePage(queryOf(request));
    const sort = parseSort<TypeColumn>(queryOf(request), sortNamesOf(typeColumns), ['created_at', 'id']);
    const wanted = parseFilters(request);
    const types = wanted === undefined ? [] : await volumeTypes.list(request.caller, { ...page, sort, ...wanted });
    const links = nextLinks(request, { publicUrl, limit: page.limit, itemIds: types.map(({ id }) => id) });
    return {
      volume_types: types.map((type) => typeView(type, seesAllOf(request.caller))),
      ...(links === undefined ? {} : { volume_type_links: links }),
    };
  });
  app.get<WithId>('/types/:id', async (request) => {
    const { caller, params } = request;
    const type = params.id === 'default' ? await volumeTypes.getDefault(caller) : await volumeTypes.get(caller, params.id);
    return { volume_type: typeView(type, seesAllOf(caller)) };
  });
  app.post('/types', async (request) => {
    const { volume_type: asked } = parseBody(create, request.body);
    const type = await volumeTypes.create(request.caller, {
      name: requiredName(asked.name),
      description: stripped(asked.description ?? null),
      isPublic: parseBoolean(asked['os-volume-type-access:is_public'] ?? true) === true,
      extraSpecs: withoutNulls(asked.extra_specs ?? {}),
    });
    return { volume_type: typeView(type, true, 'created') };
  });
  app.put<WithId>('/types/:id', async (request) => {
    const { volume_type: asked } = parseBody(update, request.body);
    const type = await volumeTypes.update(request.caller, request.params.id, changesIn(asked));
    return { volume_type: typeView(type, true, 'updated') };
  });
  app.delete<WithId>('/types/:id', async (request, reply) => {
    await volumeTypes.delete(request.caller, request.params.id);
    return reply.code(202).send();
  });

  app.get<WithId>('/types/:id/os-volume-type-access', async ({ caller, params }) => ({
    volume_type_access: (await volumeTypes.accessOf(caller, params.id)).map((project) => ({
      volume_type_id: params.id,
      project_id: project,
    })),
  }));
  app.post<WithId>('/types/:id/action', taking(actions), async (request, reply) => {
    const { name, argument } = actionIn(request.body, actions);
    const { project } = parseBody(access, argument);
    if (name === 'addProjectAccess') await volumeTypes.addAccess(request.caller, request.params.id, project);
    else await volumeTypes.removeAccess(request.caller, request.params.id, project);
    return reply.code(202).send();
  });
}

function requiredName(name: string): string {
  const wanted = name.trim();
  if (wanted === '') throw badRequest("Invalid input for field/attribute name. Value: . '' is too short");
  return wanted;
}

function changesIn(asked: Type.Static<typeof update>['volume_type']) {
  const { name, description, is_public: isPublic } = asked;
  if (typeof name === 'string' && name.trim() === '') throw badRequest('Volume type name can not be empty.');
  const given = { name: name ?? undefined, description: description ?? undefined, isPublic: isPublic ?? undefined };
  if (Object.values(given).every((value) => value === undefined)) {
    throw badRequest('Specify volume type name, description, is_public or a combination thereof.');
  }
  return {
    ...(given.name !== undefined && { name: given.name.trim() }),
    ...(given.description !== undefined && { description: given.description.trim() }),
    ...(given.isPublic !== undefined && { isPublic: parseBoolean(given.isPublic) === true }),
  };
}

interface TypeFilters {
  readonly filters: ListFilter<TypeColumn>[];
  readonly extraSpecs: Pairs;
}

/** Users see what they may use, whatever they ask; administrators the public types, unless they say otherwise. Undefined: nothing can match. */
function parseFilters(request: FastifyRequest): TypeFilters | undefined {
  const query = queryOf(request);
  const { caller, microversion } = request;
  const seesAll = seesAllOf(caller);
  const extraSpecs = microversion.atLeast(3, 52) ? parseSpecs(query, seesAll) : {};
  if (extraSpecs === undefined) return undefined;
  if (!seesAll) return { filters: [], extraSpecs };
  const visibility = queryValue(query, 'is_public')?.trim().toLowerCase() ?? 'true';
  const isPublic = parseBoolean(visibility);
  if (isPublic === undefined && visibility !== 'none') throw badRequest(`Invalid is_public filter [${visibility}]`);
  const others = parseAdminFilters(query, typeColumns, ['is_public', 'extra_specs']);
  if (others === undefined) return undefined;
  const byVisibility = isPublic === undefined ? [] : [{ column: 'is_public', comparison: 'eq', value: String(isPublic) } as const];
  return { filters: [...byVisibility, ...others], extraSpecs };
}

function parseSpecs(query: Query, seesAll: boolean): Pairs | undefined {
  const text = queryValue(query, 'extra_specs');
  if (text === undefined) return {};
  const pairs = parseDictionary(text);
  return pairs !== undefined && (seesAll || Object.keys(pairs).every((key) => openSpecs.includes(key))) ? pairs : undefined;
}
