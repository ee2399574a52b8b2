import type { ListColumn } from '../database/lists.ts';
import type { StringMap, Timestamp } from '../database/service.ts';
import type { GroupSnapshotStatus, GroupStatus } from './states.ts';

export interface GroupType {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly isPublic: boolean;
  readonly specs: StringMap;
  readonly createdAt: Timestamp;
}

export interface Group {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly status: GroupStatus;
  readonly availabilityZone: string;
  readonly groupTypeId: string;
  /** Ids of the types of volumes that it takes. */
  readonly volumeTypeIds: readonly string[];
  readonly groupSnapshotId: string | null;
  readonly sourceGroupId: string | null;
  readonly createdAt: Timestamp;
}

export interface GroupSnapshot {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly groupId: string;
  readonly groupTypeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly status: GroupSnapshotStatus;
  readonly createdAt: Timestamp;
}

export const groupTypeColumns = {
  id: { column: 'id', kind: 'uuid' },
  name: { column: 'name', kind: 'text' },
  description: { column: 'description', kind: 'text', nullable: true },
  is_public: { column: 'is_public', kind: 'boolean' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

const owned = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  user_id: { column: 'user_id', kind: 'text' },
  name: { column: 'name', kind: 'text', nullable: true },
  description: { column: 'description', kind: 'text', nullable: true },
  status: { column: 'status', kind: 'text' },
  group_type_id: { column: 'group_type_id', kind: 'uuid' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export const groupColumns = {
  ...owned,
  availability_zone: { column: 'availability_zone', kind: 'text' },
  group_snapshot_id: { column: 'group_snapshot_id', kind: 'uuid', nullable: true },
  source_group_id: { column: 'source_group_id', kind: 'uuid', nullable: true },
} as const satisfies Record<string, ListColumn>;

export const groupSnapshotColumns = {
  ...owned,
  group_id: { column: 'group_id', kind: 'uuid' },
} as const satisfies Record<string, ListColumn>;

export type GroupTypeColumn = keyof typeof groupTypeColumns;
export type GroupColumn = keyof typeof groupColumns;
export type GroupSnapshotColumn = keyof typeof groupSnapshotColumns;
