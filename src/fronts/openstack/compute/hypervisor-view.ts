import type { FastifyRequest } from 'fastify';
import type { Hypervisor } from '../../../cloud/hosts/compute-hosts.ts';
import { isSince } from './microversions.ts';

export const hypervisorSummary = ({ id, uuid, facts, service }: Hypervisor, { microversion }: FastifyRequest): object => ({
  id: isSince(microversion, 53) ? uuid : id,
  hypervisor_hostname: facts.hostName,
  state: service.forcedDown ? 'down' : 'up',
  status: service.disabled ? 'disabled' : 'enabled',
});

export function hypervisorView(hypervisor: Hypervisor, request: FastifyRequest): object {
  const { facts, service } = hypervisor;
  const byId = isSince(request.microversion, 53);
  return {
    ...hypervisorSummary(hypervisor, request),
    host_ip: facts.address,
    hypervisor_type: 'QEMU',
    hypervisor_version: facts.hypervisorVersion,
    service: { id: byId ? service.uuid : service.id, host: service.host, disabled_reason: service.disabledReason },
    ...(isSince(request.microversion, 88) ? { uptime: facts.uptime } : { ...sizes(hypervisor), cpu_info: processor(hypervisor, request) }),
  };
}

/** What statistics sum up, too. */
export function sizes({ facts, load, diskGib, freeDiskGib }: Hypervisor): Readonly<Record<string, number>> {
  return {
    vcpus: facts.vcpus,
    vcpus_used: load.vcpus,
    memory_mb: facts.ramMib,
    memory_mb_used: load.ramMib,
    free_ram_mb: facts.ramMib - load.ramMib,
    local_gb: diskGib,
    local_gb_used: diskGib - freeDiskGib,
    free_disk_gb: freeDiskGib,
    disk_available_least: freeDiskGib,
    running_vms: load.servers,
    current_workload: 0,
  };
}

function processor({ facts }: Hypervisor, { microversion }: FastifyRequest): unknown {
  const info = { arch: facts.architecture, model: facts.processor, topology: { sockets: 1, cores: facts.vcpus, threads: 1 } };
  return isSince(microversion, 28) ? info : JSON.stringify(info);
}
