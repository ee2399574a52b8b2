/** `/servers` of a cloud without machines. */
import type { FastifyInstance } from 'fastify';
import { authorise } from '../../../cloud/identity/policy.ts';
import { parseBoolean } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';

export function registerServerRoutes(app: FastifyInstance): void {
  for (const path of ['/servers', '/servers/detail']) {
    app.get(path, async (request) => {
      if (parseBoolean(queryValue(queryOf(request), 'all_tenants'))) authorise(request.caller, 'machine:list_all', { projectId: null });
      return { servers: [] };
    });
  }
}
