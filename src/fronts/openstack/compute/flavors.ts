/** `/flavors`: how large servers are. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type FlavorListQuery, type FlavorOrder, flavorColumns } from '../../../cloud/flavors/contract.ts';
import { badRequest } from '../../../lib/errors.ts';
import { booleanLike, parseBody, parseBoolean, text } from '../shared/body.ts';
import { nextLinks, type Query, queryOf, queryValue } from '../shared/paging.ts';
import { positiveDecimal, wholeNumber } from './body-types.ts';
import type { ComputeFront } from './context.ts';
import { flavorSummary, flavorView } from './flavor-view.ts';
import { parsePage, parseSortKey } from './list-query.ts';
import { between, isSince } from './microversions.ts';
import { viewerOf } from './viewer.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const idText = /^(?! )[a-zA-Z0-9. _-]{1,255}(?<! )$/;
const flavorId = Type.Refine(
  Type.Unsafe<string | number | null>({}),
  (id) => id === null || ((typeof id === 'number' || typeof id === 'string') && idText.test(String(id))),
  () => '{value} is not an id: 1 to 255 letters, digits, dots, dashes, underscores and inner spaces',
);
const facts = {
  name: text(255, 1),
  id: Type.Optional(flavorId),
  ram: wholeNumber(1),
  vcpus: wholeNumber(1),
  disk: wholeNumber(0),
  'OS-FLV-EXT-DATA:ephemeral': Type.Optional(wholeNumber(0)),
  swap: Type.Optional(wholeNumber(0)),
  rxtx_factor: Type.Optional(positiveDecimal),
  'os-flavor-access:is_public': Type.Optional(booleanLike),
};
const create = Type.Object({ flavor: Type.Object(facts, strict) }, strict);
const described = { ...facts, description: Type.Optional(Type.Union([text(65_535), Type.Null()])) };
const createDescribed = Type.Object({ flavor: Type.Object(described, strict) }, strict);
const update = Type.Object({ flavor: Type.Object({ description: Type.Union([text(65_535), Type.Null()]) }, strict) }, strict);

export function registerFlavorRoutes(app: FastifyInstance, { flavors, publicUrl }: ComputeFront): void {
  for (const [path, view] of [
    ['/flavors', flavorSummary],
    ['/flavors/detail', flavorView],
  ] as const) {
    app.get(path, async (request) => {
      const query = parseFlavorList(queryOf(request));
      const found = await flavors.list(request.caller, query);
      const links = nextLinks(request, { publicUrl, limit: query.limit, itemIds: found.map(({ id }) => id) });
      const viewer = viewerOf(request, publicUrl);
      return { flavors: found.map((flavor) => view(flavor, viewer)), ...(links !== undefined && { flavors_links: links }) };
    });
  }
  app.get<WithId>('/flavors/:id', async (request) => ({
    flavor: flavorView(await flavors.get(request.caller, request.params.id), viewerOf(request as FastifyRequest, publicUrl)),
  }));
  app.post('/flavors', async (request) => {
    const flavor = await flavors.create(request.caller, orderIn(request));
    return { flavor: flavorView(flavor, viewerOf(request, publicUrl)) };
  });
  app.put<WithId>('/flavors/:id', between(55), async (request) => {
    const { description } = parseBody(update, request.body).flavor;
    const flavor = await flavors.describe(request.caller, request.params.id, description);
    return { flavor: flavorView(flavor, viewerOf(request as FastifyRequest, publicUrl)) };
  });
  app.delete<WithId>('/flavors/:id', async ({ caller, params }, reply) => {
    await flavors.delete(caller, params.id);
    return reply.code(202).send();
  });
}

function orderIn({ body, microversion }: FastifyRequest): FlavorOrder {
  const asked: Type.Static<typeof createDescribed>['flavor'] = parseBody(isSince(microversion, 55) ? createDescribed : create, body).flavor;
  const name = asked.name.trim();
  if (name === '') throw badRequest(`Invalid input for field/attribute name. Value: ${asked.name}. '${asked.name}' is too short`);
  return {
    id: asked.id === undefined || asked.id === null ? null : String(asked.id),
    name,
    description: asked.description ?? null,
    vcpus: Number(asked.vcpus),
    ramMib: Number(asked.ram),
    diskGib: Number(asked.disk),
    ephemeralGib: Number(asked['OS-FLV-EXT-DATA:ephemeral'] ?? 0),
    swapMib: Number(asked.swap ?? 0),
    rxtxFactor: Number(asked.rxtx_factor ?? 1),
    isPublic: parseBoolean(asked['os-flavor-access:is_public'] ?? true) === true,
  };
}

function parseFlavorList(query: Query): FlavorListQuery {
  return {
    ...parsePage(query),
    sort: parseSortKey(query, flavorColumns, 'flavorid'),
    isPublic: parseIsPublic(queryValue(query, 'is_public')),
    minRamMib: parseMinimum(query, 'minRam'),
    minDiskGib: parseMinimum(query, 'minDisk'),
  };
}

/** Undefined: both kinds. */
function parseIsPublic(asked: string | undefined): boolean | undefined {
  if (asked === undefined) return true;
  if (asked.trim().toLowerCase() === 'none') return undefined;
  const isPublic = parseBoolean(asked);
  if (isPublic === undefined) throw badRequest(`Invalid is_public filter [${asked}]`);
  return isPublic;
}

function parseMinimum(query: Query, name: 'minRam' | 'minDisk'): number {
  const asked = queryValue(query, name);
  if (asked === undefined) return 0;
  if (!/^\s*[+-]?\d{1,15}\s*$/.test(asked)) throw badRequest(`Invalid ${name} filter [${asked}]`);
  return Number(asked);
}
