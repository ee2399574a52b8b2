import type { ListColumn } from '../database/lists.ts';
import type { Timestamp } from '../database/service.ts';

export interface Transfer {
  readonly id: string;
  readonly volumeId: string;
  /** Who gives. */
  readonly projectId: string;
  readonly name: string | null;
  readonly noSnapshots: boolean;
  readonly createdAt: Timestamp;
}

export const transferColumns = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  name: { column: 'name', kind: 'text', nullable: true },
  volume_id: { column: 'volume_id', kind: 'uuid' },
  no_snapshots: { column: 'no_snapshots', kind: 'boolean' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type TransferColumn = keyof typeof transferColumns;
