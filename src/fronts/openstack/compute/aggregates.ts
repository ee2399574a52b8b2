/** `/os-aggregates`: hosts that operators see as one. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Aggregate } from '../../../cloud/hosts/aggregates.ts';
import { badRequest } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { metadataWithNulls, parseBody, text } from '../shared/body.ts';
import { integerMax } from './body-types.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const zone = Type.Optional(Type.Union([text(255, 1), Type.Null()]));
const create = Type.Object({ aggregate: Type.Object({ name: text(255, 1), availability_zone: zone }, strict) }, strict);
const update = Type.Object({ aggregate: Type.Object({ name: Type.Optional(text(255, 1)), availability_zone: zone }, strict) }, strict);
const oneHost = Type.Object({ host: text(255, 1) }, strict);
const pairs = Type.Object({ metadata: metadataWithNulls }, strict);
const actions = { add_host: true, remove_host: true, set_metadata: true };

export function registerAggregateRoutes(app: FastifyInstance, { aggregates }: ComputeFront): void {
  app.get('/os-aggregates', async (request) => ({
    aggregates: (await aggregates.list(request.caller)).map((aggregate) => view(aggregate, request)),
  }));
  app.get<WithId>('/os-aggregates/:id', async (request) => ({
    aggregate: view(await aggregates.get(request.caller, idIn(request.params)), request as FastifyRequest),
  }));
  app.post('/os-aggregates', async (request) => {
    const { name, availability_zone: asked } = parseBody(create, request.body).aggregate;
    const made = await aggregates.create(request.caller, { name: named(name), availabilityZone: asked ?? null });
    return { aggregate: basics(made, request) };
  });
  app.put<WithId>('/os-aggregates/:id', async (request) => {
    const { name, availability_zone: asked } = parseBody(update, request.body).aggregate;
    if (name === undefined && asked === undefined)
      throw badRequest('Only name and availability_zone can be updated, and one of them must be.');
    const changes = { ...(name !== undefined && { name: named(name) }), ...(asked !== undefined && { availabilityZone: asked }) };
    return { aggregate: view(await aggregates.update(request.caller, idIn(request.params), changes), request as FastifyRequest) };
  });
  app.delete<WithId>('/os-aggregates/:id', async ({ caller, params }, reply) => {
    await aggregates.delete(caller, idIn(params));
    return reply.code(200).send();
  });
  app.post<WithId>('/os-aggregates/:id/action', taking(actions), async (request) => {
    const id = idIn(request.params);
    const { name, argument } = actionIn(request.body, actions);
    const { caller } = request;
    const work = {
      add_host: () => aggregates.addHost(caller, id, parseBody(oneHost, argument).host),
      remove_host: () => aggregates.removeHost(caller, id, parseBody(oneHost, argument).host),
      set_metadata: () => aggregates.setMetadata(caller, id, parseBody(pairs, argument).metadata),
    };
    return { aggregate: view(await work[name](), request as FastifyRequest) };
  });
}

function idIn({ id }: { readonly id: string }): number {
  if (!/^-?\d{1,10}$/.test(id) || Math.abs(Number(id)) > integerMax) throw badRequest(`Invalid input received: id ${id} is not an integer`);
  return Number(id);
}

function named(asked: string): string {
  if (asked.trim() !== '') return asked.trim();
  throw badRequest(`Invalid input for field/attribute name. Value: ${asked}. '${asked}' is too short`);
}

/** What the reply to its creation shows. */
const basics = (aggregate: Aggregate, { microversion }: FastifyRequest): object => ({
  id: aggregate.id,
  name: aggregate.name,
  availability_zone: aggregate.availabilityZone,
  created_at: aggregate.createdAt,
  updated_at: aggregate.updatedAt,
  deleted: false,
  deleted_at: null,
  ...(isSince(microversion, 41) && { uuid: aggregate.uuid }),
});

const view = (aggregate: Aggregate, request: FastifyRequest): object => ({
  ...basics(aggregate, request),
  hosts: aggregate.hosts,
  metadata: { ...aggregate.metadata, ...(aggregate.availabilityZone !== null && { availability_zone: aggregate.availabilityZone }) },
});
