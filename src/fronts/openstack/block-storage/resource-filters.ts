/** By what lists may be filtered, whoever asks: one table, which the lists follow and `/resource_filters` (3.33) shows. */
import type { FastifyInstance } from 'fastify';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { since } from './since.ts';

export const resourceFilters = {
  volume: [
    'name',
    'status',
    'metadata',
    'bootable',
    'migration_status',
    'availability_zone',
    'group_id',
    'size',
    'created_at',
    'updated_at',
    'consumes_quota',
  ],
  backup: ['name', 'status', 'volume_id'],
  snapshot: ['name', 'status', 'volume_id', 'metadata', 'availability_zone', 'consumes_quota'],
  group: ['name'],
  group_snapshot: ['name', 'status', 'group_id'],
  attachment: ['volume_id', 'status', 'instance_id', 'attach_status'],
  message: ['resource_uuid', 'resource_type', 'event_id', 'request_id', 'message_level'],
  pool: ['name', 'volume_type'],
  volume_type: ['is_public', 'extra_specs'],
} as const satisfies Record<string, readonly string[]>;

export function registerResourceFilterRoutes(app: FastifyInstance, _front: BlockStorageFront): void {
  app.get('/resource_filters', since(33), async (request) => {
    const wanted = queryValue(queryOf(request), 'resource');
    const shown = Object.entries(resourceFilters).filter(([resource]) => wanted === undefined || resource === wanted);
    return { resource_filters: shown.map(([resource, filters]) => ({ resource, filters })) };
  });
}
