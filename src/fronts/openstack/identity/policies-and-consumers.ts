import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Consumer, Policy } from '../../../cloud/identity/policies-and-consumers.ts';
import { newHexId } from '../../../lib/ids.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { queryValue } from '../shared/paging.ts';
import { textOrNull } from './attributes.ts';
import { type IdentityFront, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';

const blob = text(65_535);
const policyCreation = Type.Object({ policy: Type.Object({ type: text(255, 1), blob }) });
const policyChange = Type.Object({ policy: Type.Object({ type: Type.Optional(text(255, 1)), blob: Type.Optional(blob) }) });

/** Policies are texts that services may keep here. This one does not read them. */
export function policyRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { policies } = front.identity;
  resourceRoutes<Policy>(app, front, {
    path: '/policies',
    singular: 'policy',
    plural: 'policies',
    view: (policy, request) => ({
      id: policy.id,
      type: policy.type,
      blob: policy.blob,
      links: { self: `${v3Of(request, front)}/policies/${policy.id}` },
    }),
    list: (token, query) => policies.list(token, { type: queryValue(query, 'type') }),
    get: (token, id) => policies.get(token, id),
    create: (token, body) => {
      const { type, blob: kept } = parseBody(policyCreation, body, keystoneBodyMessage).policy;
      return policies.create(token, { id: newHexId(), type, blob: kept });
    },
    update: (token, id, body) => {
      const { type, blob: kept } = parseBody(policyChange, body, keystoneBodyMessage).policy;
      return policies.update(token, id, { type, blob: kept });
    },
    delete: (token, id) => policies.delete(token, id),
  });
}

const consumerCreation = Type.Object({
  consumer: Type.Object({ description: Type.Optional(textOrNull), secret: Type.Optional(Type.Null()) }),
});
/** The secret cannot be chosen: it could be a weak one. */
const consumerChange = Type.Object({
  consumer: Type.Object({ description: Type.Optional(textOrNull), secret: Type.Optional(Type.Never()) }),
});

const consumersPath = '/OS-OAUTH1/consumers';

export function consumerRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { consumers } = front.identity;
  const view = ({ id, description }: Consumer, request: FastifyRequest) => ({
    id,
    description,
    links: { self: `${v3Of(request, front)}${consumersPath}/${id}` },
  });
  app.post(consumersPath, async (request, reply) => {
    const { description = null } = parseBody(consumerCreation, request.body, keystoneBodyMessage).consumer;
    const { consumer, secret } = await consumers.create(request.token, description);
    reply.code(201);
    return { consumer: { ...view(consumer, request), secret } };
  });
  resourceRoutes<Consumer>(app, front, {
    path: consumersPath,
    singular: 'consumer',
    plural: 'consumers',
    view,
    list: (token) => consumers.list(token, {}),
    get: (token, id) => consumers.get(token, id),
    update: (token, id, body) => consumers.update(token, id, parseBody(consumerChange, body, keystoneBodyMessage).consumer.description),
    delete: (token, id) => consumers.delete(token, id),
  });
}
