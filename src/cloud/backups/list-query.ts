/** What lists of backups may be sorted and filtered by. */
import type { ListColumn } from '../database/lists.ts';

export const listColumns = {
  id: { column: 'id', kind: 'uuid' },
  name: { column: 'name', kind: 'text', nullable: true },
  description: { column: 'description', kind: 'text', nullable: true },
  status: { column: 'status', kind: 'text' },
  fail_reason: { column: 'fail_reason', kind: 'text', nullable: true },
  volume_id: { column: 'volume_id', kind: 'uuid' },
  snapshot_id: { column: 'snapshot_id', kind: 'uuid', nullable: true },
  parent_id: { column: 'parent_id', kind: 'uuid', nullable: true },
  restore_volume_id: { column: 'restore_volume_id', kind: 'uuid', nullable: true },
  project_id: { column: 'project_id', kind: 'text' },
  user_id: { column: 'user_id', kind: 'text' },
  container: { column: 'container', kind: 'text', nullable: true },
  availability_zone: { column: 'availability_zone', kind: 'text', nullable: true },
  size: { column: 'size_gib', kind: 'number' },
  object_count: { column: 'object_count', kind: 'number' },
  data_timestamp: { column: 'data_timestamp', kind: 'time' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type BackupColumn = keyof typeof listColumns;

export function isBackupColumn(name: string): name is BackupColumn {
  return Object.hasOwn(listColumns, name);
}
