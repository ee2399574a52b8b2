import type { FastifyInstance } from 'fastify';
import { notFound } from '../../../lib/errors.ts';
import type { BlockStorageFront } from './context.ts';

/** Alias, name and purpose of all extensions. Tempest compares the aliases, Horizon the names. */
const extensions: readonly (readonly [alias: string, name: string, description: string])[] = [
  ['os-admin-actions', 'AdminActions', 'Enable admin actions.'],
  ['os-availability-zone', 'AvailabilityZones', 'Describe Availability Zones.'],
  ['backups', 'Backups', 'Backups support.'],
  ['capabilities', 'Capabilities', 'Capabilities support.'],
  ['cgsnapshots', 'Cgsnapshots', 'cgsnapshots support.'],
  ['consistencygroups', 'Consistencygroups', 'consistency groups support.'],
  ['os-extended-services', 'ExtendedServices', 'Extended services support.'],
  ['os-extended-snapshot-attributes', 'ExtendedSnapshotAttributes', 'Extended SnapshotAttributes support.'],
  ['os-hosts', 'Hosts', 'Admin-only host administration.'],
  ['qos-specs', 'Qos_specs_manage', 'QoS specs support.'],
  ['os-quota-class-sets', 'QuotaClasses', 'Quota classes management support.'],
  ['os-quota-sets', 'Quotas', 'Quota management support.'],
  ['OS-SCH-HNT', 'SchedulerHints', 'Pass arbitrary key/value pairs to the scheduler.'],
  ['scheduler-stats', 'Scheduler_stats', 'Scheduler stats support.'],
  ['os-services', 'Services', 'Services support.'],
  ['os-snapshot-actions', 'SnapshotActions', 'Enable snapshot manager actions.'],
  ['os-snapshot-manage', 'SnapshotManage', 'Allows existing backend storage to be "managed" by Cinder.'],
  ['os-snapshot-unmanage', 'SnapshotUnmanage', 'Enable volume unmanage operation.'],
  ['os-types-extra-specs', 'TypesExtraSpecs', 'Type extra specs support.'],
  ['os-types-manage', 'TypesManage', 'Types manage support.'],
  ['os-used-limits', 'UsedLimits', 'Provide data on limited resources that are being used.'],
  ['os-volume-actions', 'VolumeActions', 'Enable volume actions.'],
  ['os-volume-encryption-metadata', 'VolumeEncryptionMetadata', 'Volume encryption metadata retrieval support.'],
  ['os-vol-host-attr', 'VolumeHostAttribute', 'Expose host as an attribute of a volume.'],
  ['os-vol-image-meta', 'VolumeImageMetadata', 'Show image metadata associated with the volume.'],
  ['os-volume-manage', 'VolumeManage', 'Allows existing backend storage to be "managed" by Cinder.'],
  ['os-vol-mig-status-attr', 'VolumeMigStatusAttribute', 'Expose migration_status as an attribute of a volume.'],
  ['os-vol-tenant-attr', 'VolumeTenantAttribute', 'Expose the internal project_id as an attribute of a volume.'],
  ['os-volume-transfer', 'VolumeTransfer', 'Volume transfer management support.'],
  ['os-volume-type-access', 'VolumeTypeAccess', 'Volume type access support.'],
  ['encryption', 'VolumeTypeEncryption', 'Encryption support for volume types.'],
  ['os-volume-unmanage', 'VolumeUnmanage', 'Enable volume unmanage operation.'],
];

const views = extensions.map(([alias, name, description]) => ({ name, alias, description, updated: '2022-08-31T00:00:00Z', links: [] }));

export function registerExtensionRoutes(app: FastifyInstance, _front: BlockStorageFront): void {
  app.get('/extensions', async () => ({ extensions: views }));
  app.get<{ Params: { alias: string } }>('/extensions/:alias', async ({ params }) => {
    const extension = views.find(({ alias }) => alias === params.alias);
    if (extension === undefined) throw notFound('The resource could not be found.');
    return { extension };
  });
}
