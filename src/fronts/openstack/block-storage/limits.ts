import type { FastifyInstance } from 'fastify';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import { badRequest } from '../../../lib/errors.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';

/** Names in the answer, and the quota behind each. Clients insist on exactly these ten. */
const totals = {
  Volumes: 'volumes',
  Snapshots: 'snapshots',
  VolumeGigabytes: 'gigabytes',
  Backups: 'backups',
  BackupGigabytes: 'backup_gigabytes',
} as const;

/** `totalGigabytesUsed`, though its limit is `maxTotalVolumeGigabytes`. */
const usedName = (name: string): string => `total${name === 'VolumeGigabytes' ? 'Gigabytes' : name}Used`;

export function registerLimitRoutes(app: FastifyInstance, { quotas }: BlockStorageFront): void {
  app.get('/limits', async (request) => {
    const { caller, microversion } = request;
    const asked =
      microversion.atLeast(3, 39) && isAllowed(caller, 'all_projects:list', { projectId: null })
        ? queryValue(queryOf(request), 'project_id')
        : undefined;
    const projectId = asked ?? caller.projectId;
    if (projectId === null) throw badRequest('Malformed request url');
    const usage = await quotas.usageOf(caller, projectId);
    const absolute: Record<string, number> = {};
    for (const [name, key] of Object.entries(totals)) {
      absolute[`maxTotal${name}`] = usage[key]?.limit ?? -1;
      absolute[usedName(name)] = usage[key]?.inUse ?? 0;
    }
    return { limits: { rate: [], absolute } };
  });
}
