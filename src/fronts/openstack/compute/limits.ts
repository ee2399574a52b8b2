import type { FastifyInstance } from 'fastify';

const limitNames = [
  'maxTotalInstances',
  'maxTotalCores',
  'maxTotalRAMSize',
  'maxServerMeta',
  'maxTotalKeypairs',
  'maxServerGroups',
  'maxServerGroupMembers',
  'totalInstancesUsed',
  'totalCoresUsed',
  'totalRAMUsed',
  'totalServerGroupsUsed',
] as const;

export function registerLimitRoutes(app: FastifyInstance): void {
  app.get('/limits', async () => ({ limits: { rate: [], absolute: Object.fromEntries(limitNames.map((name) => [name, 0])) } }));
}
