/** `/limits`: the quotas of a project, and what of them is in use. */
import type { FastifyInstance } from 'fastify';
import type { ComputeLimitKey } from '../../../cloud/quotas/compute-keys.ts';
import { badRequest } from '../../../lib/errors.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';

interface Name {
  readonly key: ComputeLimitKey;
  readonly kind: 'limit' | 'inUse';
  /** The first version without it. */
  readonly until?: number;
}

const names: Readonly<Record<string, Name>> = {
  maxTotalInstances: { key: 'instances', kind: 'limit' },
  maxTotalCores: { key: 'cores', kind: 'limit' },
  maxTotalRAMSize: { key: 'ram', kind: 'limit' },
  maxServerMeta: { key: 'metadata_items', kind: 'limit' },
  maxTotalKeypairs: { key: 'key_pairs', kind: 'limit' },
  maxServerGroups: { key: 'server_groups', kind: 'limit' },
  maxServerGroupMembers: { key: 'server_group_members', kind: 'limit' },
  totalInstancesUsed: { key: 'instances', kind: 'inUse' },
  totalCoresUsed: { key: 'cores', kind: 'inUse' },
  totalRAMUsed: { key: 'ram', kind: 'inUse' },
  totalServerGroupsUsed: { key: 'server_groups', kind: 'inUse' },
  maxSecurityGroups: { key: 'security_groups', kind: 'limit', until: 36 },
  maxSecurityGroupRules: { key: 'security_group_rules', kind: 'limit', until: 36 },
  maxTotalFloatingIps: { key: 'floating_ips', kind: 'limit', until: 36 },
  totalSecurityGroupsUsed: { key: 'security_groups', kind: 'inUse', until: 36 },
  totalFloatingIpsUsed: { key: 'floating_ips', kind: 'inUse', until: 36 },
  maxImageMeta: { key: 'metadata_items', kind: 'limit', until: 39 },
  maxPersonality: { key: 'injected_files', kind: 'limit', until: 57 },
  maxPersonalitySize: { key: 'injected_file_content_bytes', kind: 'limit', until: 57 },
};

export function registerLimitRoutes(app: FastifyInstance, { computeQuotas }: ComputeFront): void {
  app.get('/limits', async (request) => {
    const { caller, microversion } = request;
    const projectId = queryValue(queryOf(request), 'tenant_id') ?? caller.projectId;
    if (projectId === null) throw badRequest('Malformed request url');
    const usage = await computeQuotas.usageOf(caller, { projectId });
    const shown = Object.entries(names).filter(([, { until }]) => until === undefined || !isSince(microversion, until));
    return { limits: { rate: [], absolute: Object.fromEntries(shown.map(([name, { key, kind }]) => [name, usage[key][kind]])) } };
  });
}
