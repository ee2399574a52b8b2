/** What clients ask of a server, and this cloud's do not have: addresses, and passwords that a guest made up. */
import type { FastifyInstance } from 'fastify';
import { notFound } from '../../../lib/errors.ts';
import type { ComputeFront } from './context.ts';

type WithId = { Params: { id: string } };

export function registerServerParts(app: FastifyInstance, { servers }: ComputeFront): void {
  app.get<WithId>('/servers/:id/ips', async ({ caller, params }) => {
    await servers.get(caller, params.id);
    return { addresses: {} };
  });
  app.get<{ Params: { id: string; network: string } }>('/servers/:id/ips/:network', async ({ caller, params }) => {
    await servers.get(caller, params.id);
    throw notFound('Network not found');
  });
  app.get<WithId>('/servers/:id/os-server-password', async ({ caller, params }) => {
    await servers.get(caller, params.id);
    return { password: '' };
  });
  app.delete<WithId>('/servers/:id/os-server-password', async ({ caller, params }, reply) => {
    await servers.forgetPassword(caller, params.id);
    return reply.code(204).send();
  });
}
