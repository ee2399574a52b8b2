/** `/os-keypairs`: of the user who asks, or from 2.10 on of one whom an administrator names. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type KeypairType, keypairTypes } from '../../../cloud/keypairs/contract.ts';
import type { Keypair } from '../../../cloud/keypairs/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, text } from '../shared/body.ts';
import { nextLinks, queryOf, queryValue } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { parsePage } from './list-query.ts';
import { isSince } from './microversions.ts';

type WithName = { Params: { name: string } };

const strict = { additionalProperties: false };
const bodyOf = <P extends Type.TProperties>(properties: P) =>
  Type.Object({ keypair: Type.Object({ name: text(255, 1), ...properties }, strict) }, strict);
const publicKey = { public_key: Type.Optional(Type.String()) };
const type = { type: Type.Optional(Type.Enum([...keypairTypes])) };
const userId = { user_id: Type.Optional(text(255, 1)) };

const create1 = bodyOf(publicKey);
const create2 = bodyOf({ ...publicKey, ...type });
const create10 = bodyOf({ ...publicKey, ...type, ...userId });
const create92 = bodyOf({ public_key: Type.String(), ...type, ...userId });

interface CreateBody {
  readonly name: string;
  readonly public_key?: string;
  readonly type?: KeypairType;
  readonly user_id?: string;
}

export function registerKeypairRoutes(app: FastifyInstance, { keypairs, publicUrl }: ComputeFront): void {
  app.get('/os-keypairs', async (request) => {
    const userId = userIn(request);
    if (!isSince(request.microversion, 35)) {
      const all = await keypairs.list(request.caller, { userId, limit: undefined, marker: undefined });
      return { keypairs: all.map((keypair) => ({ keypair: summary(keypair, request) })) };
    }
    const page = parsePage(queryOf(request));
    const found = await keypairs.list(request.caller, { userId, ...page });
    const links = nextLinks(request, { publicUrl, limit: page.limit, itemIds: found.map(({ name }) => name) });
    return {
      keypairs: found.map((keypair) => ({ keypair: summary(keypair, request) })),
      ...(links !== undefined && { keypairs_links: links }),
    };
  });
  app.get<WithName>('/os-keypairs/:name', async (asked) => {
    const request = asked as FastifyRequest;
    const keypair = await keypairs.get(request.caller, userIn(request), asked.params.name);
    return { keypair: wholeView(keypair, request) };
  });
  app.post('/os-keypairs', async (request, reply) => {
    const asked = parseCreate(request);
    const { keypair, privateKey } = await keypairs.create(request.caller, {
      userId: asked.user_id ?? request.caller.userId,
      name: safeName(asked.name, request),
      type: asked.type ?? 'ssh',
      publicKey: asked.public_key ?? null,
    });
    const view = { ...summary(keypair, request), user_id: keypair.userId, ...(privateKey !== undefined && { private_key: privateKey }) };
    return reply.code(isSince(request.microversion, 2) ? 201 : 200).send({ keypair: view });
  });
  app.delete<WithName>('/os-keypairs/:name', async (asked, reply) => {
    const request = asked as FastifyRequest;
    await keypairs.delete(request.caller, userIn(request), asked.params.name);
    return reply.code(isSince(request.microversion, 2) ? 204 : 202).send();
  });
}

const userIn = (request: FastifyRequest): string =>
  (isSince(request.microversion, 10) ? queryValue(queryOf(request), 'user_id') : undefined) ?? request.caller.userId;

function parseCreate({ body, microversion }: FastifyRequest): CreateBody {
  if (isSince(microversion, 92)) return parseBody(create92, body).keypair;
  if (isSince(microversion, 10)) return parseBody(create10, body).keypair;
  return isSince(microversion, 2) ? parseBody(create2, body).keypair : parseBody(create1, body).keypair;
}

/** Since 2.92 names may look like addresses. */
function safeName(name: string, { microversion }: FastifyRequest): string {
  if (name.trim() !== name) throw badRequest(`Invalid input for field/attribute name. Value: ${name}. '${name}' has spaces around it`);
  const safe = isSince(microversion, 92) ? /^[a-zA-Z0-9_@. -]+$/ : /^[a-zA-Z0-9_ -]+$/;
  if (!safe.test(name)) throw badRequest('Keypair data is invalid: Keypair name contains unsafe characters');
  return name;
}

const summary = ({ name, publicKey, fingerprint, type }: Keypair, { microversion }: FastifyRequest): object => ({
  name,
  public_key: publicKey,
  fingerprint,
  ...(isSince(microversion, 2) && { type }),
});

const wholeView = (keypair: Keypair, request: FastifyRequest): object => ({
  ...summary(keypair, request),
  user_id: keypair.userId,
  id: keypair.id,
  created_at: keypair.createdAt,
  updated_at: null,
  deleted: false,
  deleted_at: null,
});
