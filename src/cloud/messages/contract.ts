import type { ListColumn } from '../database/lists.ts';

/** The names under which lists may be sorted and filtered. */
export const messageColumns = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  request_id: { column: 'request_id', kind: 'text', nullable: true },
  resource_type: { column: 'resource_type', kind: 'text' },
  resource_uuid: { column: 'resource_uuid', kind: 'uuid' },
  event_id: { column: 'event_id', kind: 'text' },
  message_level: { column: 'message_level', kind: 'text' },
  created_at: { column: 'created_at', kind: 'time' },
  expires_at: { column: 'expires_at', kind: 'time' },
} as const satisfies Record<string, ListColumn>;

export type MessageColumn = keyof typeof messageColumns;
