import type { FastifyInstance } from 'fastify';
import type { BlockStorageFront } from './context.ts';

export function registerAvailabilityZoneRoutes(app: FastifyInstance, { volumes, hosts }: BlockStorageFront): void {
  app.get('/os-availability-zone', async () => ({
    availabilityZoneInfo: [{ zoneName: volumes.availabilityZone, zoneState: { available: await hosts.isZoneAvailable() } }],
  }));
}
