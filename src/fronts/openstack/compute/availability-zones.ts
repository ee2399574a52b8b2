import type { FastifyInstance } from 'fastify';
import type { ComputeServiceView } from '../../../cloud/hosts/compute-hosts.ts';
import type { ComputeFront } from './context.ts';

export function registerAvailabilityZoneRoutes(app: FastifyInstance, { computeHosts }: ComputeFront): void {
  app.get('/os-availability-zone', async () => {
    const { name, takesServers } = await computeHosts.zone();
    return { availabilityZoneInfo: [{ zoneName: name, zoneState: { available: takesServers }, hosts: null }] };
  });
  app.get('/os-availability-zone/detail', async ({ caller }) => {
    const services = await computeHosts.zones(caller);
    return {
      availabilityZoneInfo: [...new Set(services.map(({ zone }) => zone))].map((zone) => {
        const own = services.filter((service) => service.zone === zone);
        return { zoneName: zone, zoneState: { available: own.some(isUsable) }, hosts: byHost(own) };
      }),
    };
  });
}

const isUsable = ({ disabled, forcedDown }: ComputeServiceView): boolean => !disabled && !forcedDown;

function byHost(services: readonly ComputeServiceView[]): object {
  const hosts = [...new Set(services.map(({ host }) => host))];
  return Object.fromEntries(
    hosts.map((name) => [
      name,
      Object.fromEntries(
        services
          .filter(({ host }) => host === name)
          .map(({ binary, disabled, forcedDown, updatedAt }) => [
            binary,
            { active: !disabled, available: !forcedDown, updated_at: updatedAt },
          ]),
      ),
    ]),
  );
}
