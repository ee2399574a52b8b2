/** How a backup looks on the wire: one table of its fields, from which microversion on, and for whom. The parent's id is never shown. */
import type { Backup } from '../../../cloud/backups/backup.ts';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import type { Link } from '../shared/links.ts';
import type { Microversion } from '../shared/microversion.ts';

interface Field {
  readonly name: string;
  readonly value: (backup: Backup) => unknown;
  /** Minor version of 3. */
  readonly since?: number;
  readonly adminOnly?: true;
}

const fields: readonly Field[] = [
  { name: 'id', value: (backup) => backup.id },
  { name: 'name', value: (backup) => backup.name },
  { name: 'description', value: (backup) => backup.description },
  { name: 'status', value: (backup) => backup.status },
  { name: 'size', value: (backup) => backup.sizeGib },
  { name: 'object_count', value: (backup) => backup.objectCount },
  { name: 'container', value: (backup) => backup.container },
  { name: 'availability_zone', value: (backup) => backup.availabilityZone },
  { name: 'volume_id', value: (backup) => backup.volumeId },
  { name: 'snapshot_id', value: (backup) => backup.snapshotId },
  { name: 'is_incremental', value: (backup) => backup.parentId !== null },
  { name: 'has_dependent_backups', value: (backup) => backup.dependentCount > 0 },
  { name: 'data_timestamp', value: (backup) => backup.dataTimestamp },
  { name: 'created_at', value: (backup) => backup.createdAt },
  { name: 'updated_at', value: (backup) => backup.updatedAt },
  { name: 'fail_reason', value: (backup) => backup.failReason },
  { name: 'os-backup-project-attr:project_id', value: (backup) => backup.projectId, since: 18, adminOnly: true },
  { name: 'metadata', value: (backup) => backup.metadata, since: 43 },
  { name: 'user_id', value: (backup) => backup.userId, since: 56, adminOnly: true },
];

export interface BackupViewer {
  readonly caller: Caller;
  readonly microversion: Microversion;
  readonly linksTo: (id: string) => Link[];
}

export function backupDetail(backup: Backup, viewer: BackupViewer): Record<string, unknown> {
  const isAdmin = isAllowed(viewer.caller, 'backup:see_project', backup);
  const shown = fields.filter(
    ({ since, adminOnly }) => (since === undefined || viewer.microversion.atLeast(3, since)) && (adminOnly === undefined || isAdmin),
  );
  return { ...Object.fromEntries(shown.map(({ name, value }) => [name, value(backup)])), links: viewer.linksTo(backup.id) };
}

export function backupSummary({ id, name }: Backup, viewer: BackupViewer): Record<string, unknown> {
  return { id, name, links: viewer.linksTo(id) };
}
