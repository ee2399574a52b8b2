/** A server as Compute shows it: field by microversion by role. */
import { createHash } from 'node:crypto';
import { hostName } from '../../../cloud/hosts/contract.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import type { Server } from '../../../cloud/servers/service.ts';
import { statusOf } from '../../../cloud/servers/states.ts';
import type { Viewer } from './viewer.ts';

/** Statuses of servers that something is going on with, or that run: only they have a progress. */
const withProgress = new Set(['ACTIVE', 'BUILD', 'REBUILD', 'REBOOT', 'HARD_REBOOT']);

/** A server that stopped by itself says why, too. */
const withFault = new Set(['ERROR', 'SHUTOFF']);

export const serverSummary = ({ id, name }: Server, viewer: Viewer): object => ({ id, name, links: viewer.linksTo('servers', id) });

export function serverView(server: Server, viewer: Viewer): object {
  const { since } = viewer;
  const status = statusOf(server);
  return {
    ...serverSummary(server, viewer),
    status,
    tenant_id: server.projectId,
    user_id: server.userId,
    metadata: server.metadata,
    hostId: hostIdOf(server),
    image: imageView(server, viewer),
    flavor: flavorIn(server, viewer),
    created: seconds(server.createdAt),
    updated: seconds(server.updatedAt ?? server.createdAt),
    addresses: {},
    accessIPv4: server.accessIpV4,
    accessIPv6: server.accessIpV6,
    'OS-DCF:diskConfig': server.diskConfig,
    ...(withProgress.has(status) && { progress: status === 'ACTIVE' ? 100 : 0 }),
    'OS-EXT-AZ:availability_zone': server.availabilityZone,
    config_drive: server.hasConfigDrive ? 'True' : '',
    key_name: server.keyName,
    'OS-SRV-USG:launched_at': server.launchedAt === null ? null : microseconds(server.launchedAt),
    'OS-SRV-USG:terminated_at': null,
    'OS-EXT-STS:task_state': server.taskState,
    'OS-EXT-STS:vm_state': server.vmState,
    'OS-EXT-STS:power_state': server.powerState,
    'os-extended-volumes:volumes_attached': server.disks
      .filter(({ isLocal }) => !isLocal)
      .map(({ volumeId, deleteOnTermination }) => ({ id: volumeId, ...(since(3) && { delete_on_termination: deleteOnTermination }) })),
    ...(withFault.has(status) && server.fault !== null && { fault: faultView(server.fault) }),
    ...ofOperators(server, viewer),
    ...(since(9) && { locked: server.isLocked }),
    ...(since(19) && { description: server.description }),
    ...(since(26) && { tags: server.tags }),
    ...(since(63) && { trusted_image_certificates: null }),
    ...(since(71) && { server_groups: [] }),
    ...(since(73) && { locked_reason: server.lockReason }),
  };
}

/** What a change answers with: until 2.75 without what extensions once added. */
export function changedServerView(server: Server, viewer: Viewer): object {
  const view = serverView(server, viewer);
  return viewer.since(75) ? view : Object.fromEntries(Object.entries(view).filter(([name]) => !isOfExtension(name)));
}

const isOfExtension = (name: string): boolean =>
  /^(?:OS-EXT-|OS-SRV-USG:|os-extended-volumes:)/.test(name) || ['config_drive', 'key_name', 'host_status', 'server_groups'].includes(name);

function ofOperators(server: Server, { caller, since }: Viewer): object {
  if (!isAllowed(caller, 'machine:see_host', { projectId: null })) return since(90) ? { 'OS-EXT-SRV-ATTR:hostname': server.hostname } : {};
  return {
    'OS-EXT-SRV-ATTR:host': hostName,
    'OS-EXT-SRV-ATTR:hypervisor_hostname': hostName,
    'OS-EXT-SRV-ATTR:instance_name': `instance-${server.id.slice(0, 8)}`,
    ...(since(3) && {
      'OS-EXT-SRV-ATTR:reservation_id': server.reservationId,
      'OS-EXT-SRV-ATTR:launch_index': server.launchIndex,
      'OS-EXT-SRV-ATTR:hostname': server.hostname,
      'OS-EXT-SRV-ATTR:kernel_id': server.imageProperties.kernel_id ?? '',
      'OS-EXT-SRV-ATTR:ramdisk_id': server.imageProperties.ramdisk_id ?? '',
      'OS-EXT-SRV-ATTR:root_device_name': server.disks[0] === undefined ? null : `/dev/${server.disks[0].device}`,
      'OS-EXT-SRV-ATTR:user_data': server.userData,
    }),
    ...(since(16) && { host_status: 'UP' }),
  };
}

function imageView({ imageId }: Server, viewer: Viewer): object | '' {
  if (imageId === null) return '';
  return { id: imageId, links: viewer.linksTo('images', imageId).filter(({ rel }) => rel === 'bookmark') };
}

function flavorIn({ flavor }: Server, viewer: Viewer): object {
  const { id, name, vcpus, ramMib, diskGib, ephemeralGib, swapMib, extraSpecs } = flavor;
  if (!viewer.since(47)) return { id, links: viewer.linksTo('flavors', id).filter(({ rel }) => rel === 'bookmark') };
  return { vcpus, ram: ramMib, disk: diskGib, ephemeral: ephemeralGib, swap: swapMib, original_name: name, extra_specs: extraSpecs };
}

const faultView = ({ code, message, at }: NonNullable<Server['fault']>): object => ({ code, message, created: seconds(at) });

/** Tells projects apart, so that none learns which of its servers share a host with another's. */
export const hostIdOf = ({ projectId, vmState }: Pick<Server, 'projectId' | 'vmState'>): string =>
  vmState === 'building' ? '' : createHash('sha224').update(`${projectId}${hostName}`).digest('hex');

const seconds = (time: string): string => `${time.slice(0, 19)}Z`;
const microseconds = (time: string): string => time.slice(0, 26);
