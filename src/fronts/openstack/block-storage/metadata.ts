/** The routes of metadata, which volumes and snapshots have alike. */
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { badRequest, notFound, preconditionFailed } from '../../../lib/errors.ts';
import type { Pairs, PairsChange } from '../../../lib/pairs.ts';
import { parseBody } from '../shared/body.ts';
import { metadataSchema, metaSchema } from './volume-bodies.ts';

export interface MetadataOwner {
  metadataOf(caller: Caller, id: string): Promise<Pairs>;
  /** Returns all of it afterwards. */
  change(caller: Caller, id: string, change: PairsChange, condition?: (current: Pairs) => void): Promise<Pairs>;
  /** From which minor version on answers carry an ETag, and changes obey If-Match. Never, when left out. */
  readonly tagsSince?: number;
}

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

export function registerMetadataRoutes(app: FastifyInstance, collection: '/volumes' | '/snapshots', owner: MetadataOwner): void {
  const all = `${collection}/:id/metadata`;
  const one = `${all}/:key`;

  const hasTags = ({ microversion }: FastifyRequest): boolean => owner.tagsSince !== undefined && microversion.atLeast(3, owner.tagsSince);

  app.get<WithId>(all, async (request, reply) => {
    const pairs = await owner.metadataOf(request.caller, request.params.id);
    if (hasTags(request)) reply.header('etag', `"${tagOf(pairs)}"`);
    return { metadata: pairs };
  });
  app.post<WithId>(all, async ({ caller, params, body }) => {
    const { metadata } = parseBody(metadataSchema, body);
    return { metadata: await owner.change(caller, params.id, { kind: 'merge', pairs: metadata }) };
  });
  app.put<WithId>(all, async (request) => {
    const { metadata } = parseBody(metadataSchema, request.body);
    const condition = hasTags(request) ? matching(request.headers['if-match']) : undefined;
    return { metadata: await owner.change(request.caller, request.params.id, { kind: 'replace', pairs: metadata }, condition) };
  });

  app.get<WithKey>(one, async ({ caller, params }) => {
    const value = own(await owner.metadataOf(caller, params.id), params.key);
    if (value === undefined) throw notFound('Metadata item was not found');
    return { meta: { [params.key]: value } };
  });
  app.put<WithKey>(one, async (request) => {
    const { caller, params } = request;
    const { meta } = parseBody(metaSchema, request.body);
    const value = own(meta, params.key);
    if (value === undefined) throw badRequest('Request body and URI mismatch');
    if (Object.keys(meta).length > 1) throw badRequest('Request body contains too many items');
    const condition = hasTags(request) ? matching(request.headers['if-match']) : undefined;
    await owner.change(caller, params.id, { kind: 'merge', pairs: { [params.key]: value } }, condition);
    return { meta: { [params.key]: value } };
  });
  app.delete<WithKey>(one, async ({ caller, params }, reply) => {
    await owner.change(caller, params.id, { kind: 'remove', key: params.key });
    return reply.code(200).send();
  });
}

const own = (pairs: Pairs, key: string): string | undefined => (Object.hasOwn(pairs, key) ? pairs[key] : undefined);

/** The same for the same pairs, in whatever order they lie. */
function tagOf(pairs: Pairs): string {
  const sorted = Object.entries(pairs).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('md5').update(JSON.stringify(sorted)).digest('hex');
}

/** What an If-Match header asks of the pairs that are there before a change. */
function matching(header: string | undefined): ((current: Pairs) => void) | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  const tags = header.split(',').map((tag) => tag.trim().replace(/^"|"$/g, ''));
  return (current) => {
    if (!tags.includes(tagOf(current))) throw preconditionFailed('Precondition Failed');
  };
}
