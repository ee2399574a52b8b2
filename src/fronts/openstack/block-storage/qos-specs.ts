/** `/qos-specs`: limits by name, and the volume types that have them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { type QosColumn, type QosConsumer, qosColumns, qosConsumers } from '../../../cloud/volume-types/contract.ts';
import type { QosSpecs } from '../../../cloud/volume-types/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { distinctTexts, parseBody, parseBoolean, text } from '../shared/body.ts';
import { nextLinks, parsePage, parseSort, queryOf, queryValue } from '../shared/paging.ts';
import { pythonRepresentation } from '../shared/python-text.ts';
import { specs } from '../shared/spec-bodies.ts';
import { parseAdminFilters, sortNamesOf } from './admin-filters.ts';
import type { BlockStorageFront } from './context.ts';
import { viewerOf } from './viewer.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const body = Type.Object({ qos_specs: specs }, strict);
const keysBody = Type.Object({ keys: distinctTexts(Type.Array(text(255, 1), { minItems: 1 })) }, strict);
export function registerQosRoutes(app: FastifyInstance, { volumeTypes: { qos }, publicUrl }: BlockStorageFront): void {
  const shown = (request: FastifyRequest, item: QosSpecs): object => ({
    qos_specs: qosView(item),
    links: viewerOf(request, publicUrl).linksTo('qos-specs', item.id),
  });

  app.get('/qos-specs', async (request) => {
    const page = parsePage(queryOf(request));
    const sort = parseSort<QosColumn>(queryOf(request), sortNamesOf(qosColumns), ['created_at', 'id']);
    const filters = parseAdminFilters(queryOf(request), qosColumns, []);
    const list = await qos.list(request.caller, { ...page, limit: filters === undefined ? 0 : page.limit, sort, filters: filters ?? [] });
    const links = nextLinks(request, { publicUrl, limit: page.limit, itemIds: list.map(({ id }) => id) });
    return { qos_specs: list.map(qosView), ...(links === undefined ? {} : { qos_specs_links: links }) };
  });
  app.get<WithId>('/qos-specs/:id', async (request) => shown(request, await qos.get(request.caller, request.params.id)));
  app.post('/qos-specs', async (request) => {
    const { name: asked = '', consumer, ...pairs } = parseBody(body, request.body).qos_specs;
    const name = asked.trim();
    if (name === '') throw badRequest("Invalid input for field/attribute qos_specs. 'name' is a required property");
    return shown(request, await qos.create(request.caller, { name, consumer: checkedConsumer(consumer ?? 'back-end'), specs: pairs }));
  });
  app.put<WithId>('/qos-specs/:id', async (request) => {
    const { qos_specs: asked } = parseBody(body, request.body);
    if (Object.keys(asked).length === 0)
      throw badRequest('Invalid input for field/attribute qos_specs. Value: {}. {} does not have enough properties');
    const { consumer, ...pairs } = asked;
    await qos.update(request.caller, request.params.id, {
      ...(consumer !== undefined && { consumer: checkedConsumer(consumer) }),
      specs: pairs,
    });
    return { qos_specs: asked };
  });
  app.put<WithId>('/qos-specs/:id/delete_keys', async (request, reply) => {
    await qos.removeKeys(request.caller, request.params.id, parseBody(keysBody, request.body).keys);
    return reply.code(202).send();
  });
  app.delete<WithId>('/qos-specs/:id', async (request, reply) => {
    const force = parseBoolean(queryValue(queryOf(request), 'force')) === true;
    await qos.delete(request.caller, request.params.id, { force });
    return reply.code(202).send();
  });

  app.get<WithId>('/qos-specs/:id/associations', async (request) => ({
    qos_associations: (await qos.associations(request.caller, request.params.id)).map(({ id, name }) => ({
      association_type: 'volume_type',
      name,
      id,
    })),
  }));
  app.get<WithId>('/qos-specs/:id/associate', async (request, reply) => {
    await qos.associate(request.caller, request.params.id, typeIn(request));
    return reply.code(202).send();
  });
  app.get<WithId>('/qos-specs/:id/disassociate', async (request, reply) => {
    await qos.disassociate(request.caller, request.params.id, typeIn(request));
    return reply.code(202).send();
  });
  app.get<WithId>('/qos-specs/:id/disassociate_all', async (request, reply) => {
    await qos.disassociateAll(request.caller, request.params.id);
    return reply.code(202).send();
  });
}

const qosView = ({ id, name, consumer, specs: pairs }: QosSpecs): object => ({ id, name, consumer, specs: pairs });

function checkedConsumer(text: string): QosConsumer {
  const consumer = qosConsumers.find((known) => known === text);
  if (consumer === undefined) {
    throw badRequest(`Invalid qos specs: Valid consumer of QoS specs are: ${pythonRepresentation(qosConsumers)}`);
  }
  return consumer;
}

function typeIn(request: FastifyRequest): string {
  const id = queryValue(queryOf(request), 'vol_type_id');
  if (id === undefined || id === '') throw badRequest('Volume Type id must not be None.');
  return id;
}
