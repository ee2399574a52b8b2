import type { FastifyInstance } from 'fastify';
import type { BlockStorageFront } from './context.ts';

/** Alias and name of the extensions whose routes exist here. Tempest compares the aliases, Horizon the names. */
const extensions: readonly (readonly [alias: string, name: string])[] = [
  ['os-admin-actions', 'AdminActions'],
  ['os-availability-zone', 'AvailabilityZones'],
  ['backups', 'Backups'],
  ['os-extended-snapshot-attributes', 'ExtendedSnapshotAttributes'],
  ['os-quota-class-sets', 'QuotaClasses'],
  ['os-quota-sets', 'Quotas'],
  ['os-snapshot-actions', 'SnapshotActions'],
  ['os-types-manage', 'TypesManage'],
  ['os-used-limits', 'UsedLimits'],
  ['os-volume-actions', 'VolumeActions'],
  ['os-vol-host-attr', 'VolumeHostAttribute'],
  ['os-vol-image-meta', 'VolumeImageMetadata'],
  ['os-vol-mig-status-attr', 'VolumeMigStatusAttribute'],
  ['os-vol-tenant-attr', 'VolumeTenantAttribute'],
];

export function registerExtensionRoutes(app: FastifyInstance, _front: BlockStorageFront): void {
  app.get('/extensions', async () => ({
    extensions: extensions.map(([alias, name]) => ({ name, alias, description: name, updated: '2022-08-31T00:00:00Z', links: [] })),
  }));
}
