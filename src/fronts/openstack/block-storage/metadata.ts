/** The routes of metadata, which volumes and snapshots have alike. */
import type { FastifyInstance } from 'fastify';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import type { Pairs, PairsChange } from '../../../lib/pairs.ts';
import { parseBody } from '../shared/body.ts';
import { metadataSchema, metaSchema } from './volume-bodies.ts';

export interface MetadataOwner {
  metadataOf(caller: Caller, id: string): Promise<Pairs>;
  /** Returns all of it afterwards. */
  change(caller: Caller, id: string, change: PairsChange): Promise<Pairs>;
}

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

export function registerMetadataRoutes(app: FastifyInstance, collection: '/volumes' | '/snapshots', owner: MetadataOwner): void {
  const all = `${collection}/:id/metadata`;
  const one = `${all}/:key`;

  app.get<WithId>(all, async ({ caller, params }) => ({ metadata: await owner.metadataOf(caller, params.id) }));
  app.post<WithId>(all, async ({ caller, params, body }) => {
    const { metadata } = parseBody(metadataSchema, body);
    return { metadata: await owner.change(caller, params.id, { kind: 'merge', pairs: metadata }) };
  });
  app.put<WithId>(all, async ({ caller, params, body }) => {
    const { metadata } = parseBody(metadataSchema, body);
    return { metadata: await owner.change(caller, params.id, { kind: 'replace', pairs: metadata }) };
  });

  app.get<WithKey>(one, async ({ caller, params }) => {
    const value = own(await owner.metadataOf(caller, params.id), params.key);
    if (value === undefined) throw notFound('Metadata item was not found');
    return { meta: { [params.key]: value } };
  });
  app.put<WithKey>(one, async ({ caller, params, body }) => {
    const { meta } = parseBody(metaSchema, body);
    const value = own(meta, params.key);
    if (value === undefined) throw badRequest('Request body and URI mismatch');
    if (Object.keys(meta).length > 1) throw badRequest('Request body contains too many items');
    await owner.change(caller, params.id, { kind: 'merge', pairs: { [params.key]: value } });
    return { meta: { [params.key]: value } };
  });
  app.delete<WithKey>(one, async ({ caller, params }, reply) => {
    await owner.change(caller, params.id, { kind: 'remove', key: params.key });
    return reply.code(200).send();
  });
}

const own = (pairs: Pairs, key: string): string | undefined => (Object.hasOwn(pairs, key) ? pairs[key] : undefined);
