/** `/os-hosts` until 2.42: the same as services and hypervisors, in older words. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Hypervisor } from '../../../cloud/hosts/compute-hosts.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody, text } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { sizes } from './hypervisor-view.ts';
import { between } from './microversions.ts';

type OfHost = { Params: { host: string } };

const until42 = between(1, 42);
const switched = Type.Optional(Type.Refine(text(255), isSwitch, () => "{value} is not one of ['enable', 'disable']"));
const update = Type.Object({ status: switched, maintenance_mode: switched }, { additionalProperties: false });

function isSwitch(value: string): boolean {
  return ['enable', 'disable'].includes(value.trim().toLowerCase());
}

export function registerHostRoutes(app: FastifyInstance, { computeHosts }: ComputeFront): void {
  app.get('/os-hosts', until42, async (request) => {
    const zone = queryValue(queryOf(request), 'zone') || undefined;
    const services = await computeHosts.services(request.caller, { host: undefined, binary: undefined });
    const found = services.filter((service) => zone === undefined || service.zone === zone);
    return { hosts: found.map(({ host, binary, zone: own }) => ({ host_name: host, service: binary.replace('nova-', ''), zone: own })) };
  });
  app.get<OfHost>('/os-hosts/:host', until42, async (request) => {
    const hypervisor = await hypervisorAt(request as FastifyRequest, request.params.host);
    return { host: resourcesOf(hypervisor) };
  });
  app.put<OfHost>('/os-hosts/:host', until42, async (request) => {
    const { host } = request.params;
    const asked = parseBody(update, request.body);
    if (asked.status === undefined && asked.maintenance_mode === undefined)
      throw badRequest('Invalid input: status or maintenance_mode is needed');
    await hypervisorAt(request as FastifyRequest, host);
    if (asked.maintenance_mode !== undefined) throw badRequest('There is no other host that servers could be moved to for maintenance.');
    const disabled = asked.status?.trim().toLowerCase() === 'disable';
    await computeHosts.change(request.caller, { host, binary: 'nova-compute' }, { disabled, disabledReason: null });
    return { host, status: disabled ? 'disabled' : 'enabled' };
  });
  for (const power of ['startup', 'shutdown', 'reboot']) {
    app.get<OfHost>(`/os-hosts/:host/${power}`, until42, async (request) => {
      await hypervisorAt(request as FastifyRequest, request.params.host);
      throw badRequest(`The host is the machine that the service itself runs on: ${power} it there.`);
    });
  }

  async function hypervisorAt({ caller }: FastifyRequest, host: string): Promise<Hypervisor> {
    const found = (await computeHosts.hypervisors(caller)).find(({ service }) => service.host === host);
    if (found === undefined) throw notFound(`Compute host ${host} could not be found.`);
    return found;
  }
}

/** What there is, what is taken now, and what is taken at most. */
function resourcesOf(hypervisor: Hypervisor): object[] {
  const { facts, load, diskGib, service } = hypervisor;
  const used = { cpu: load.vcpus, memory_mb: load.ramMib, disk_gb: sizes(hypervisor).local_gb_used };
  const line = (project: string, figures: object): object => ({ resource: { host: service.host, project, ...figures } });
  return [
    line('(total)', { cpu: facts.vcpus, memory_mb: facts.ramMib, disk_gb: diskGib }),
    line('(used_now)', used),
    line('(used_max)', used),
  ];
}
