import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';

/**
 * Every answer names its request, also a refusal, so that a user's report can be found in the log. Both header names carry the same
 * value: older clients look for the second.
 */
export function nameRequests(app: FastifyInstance): void {
  app.setGenReqId(() => `req-${randomUUID()}`);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-openstack-request-id', request.id);
    reply.header('x-compute-request-id', request.id);
  });
}
