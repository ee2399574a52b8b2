/** What the backend is and has: `/scheduler-stats/get_pools`, `/capabilities`, `/os-hosts`. For administrators. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { HostShare, Pool, ServiceView } from '../../../cloud/hosts/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBoolean } from '../shared/body.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';

type OfHost = { Params: { host: string } };

export function registerBackendRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  const { hosts } = front;
  app.get('/scheduler-stats/get_pools', async (request) => {
    const query = queryOf(request);
    const detailed = parseBoolean(queryValue(query, 'detail')) === true;
    const pools = await matching(front, request);
    return { pools: pools.map((pool) => (detailed ? poolDetail(pool) : { name: pool.name })) };
  });
  app.get<OfHost>('/capabilities/:host', async ({ caller, params }) =>
    capabilitiesView(await hosts.capabilities(caller, params.host), params.host),
  );

  app.get('/os-hosts', async ({ caller }) => {
    const services = await hosts.list(caller, { host: undefined, binary: undefined });
    return { hosts: services.map(hostView) };
  });
  app.get<OfHost>('/os-hosts/:host', async ({ caller, params }) => ({
    host: (await hosts.shares(caller, params.host)).map((share) => ({ resource: shareView(params.host, share) })),
  }));
}

/** By name and by volume type from 3.28 and 3.35 on; others are refused from 3.31 on, and did nothing before. */
async function matching({ hosts, volumeTypes }: BlockStorageFront, request: FastifyRequest): Promise<readonly Pool[]> {
  const { microversion, caller } = request;
  const query = queryOf(request);
  if (!microversion.atLeast(3, 28)) return await hosts.pools(caller);
  const knowsTypes = microversion.atLeast(3, 35);
  const unknown = microversion.atLeast(3, 31) ? unknownFilters(query, knowsTypes) : [];
  if (unknown.length > 0) throw badRequest(`Invalid filters ${unknown.join(', ')} are found in query options.`);
  const type = knowsTypes ? queryValue(query, 'volume_type') : undefined;
  const pools = await hosts.pools(caller, type === undefined ? {} : (await volumeTypes.find(caller, type)).extraSpecs);
  const name = queryValue(query, 'name');
  return pools.filter((pool) => name === undefined || pool.name === name);
}

const unknownFilters = (query: Query, knowsTypes: boolean): string[] =>
  Object.keys(query).filter((key) => key !== 'detail' && key !== 'name' && !(knowsTypes && key === 'volume_type'));

const poolDetail = ({ name, capabilities, timestamp }: Pool): object => ({
  name,
  capabilities: { ...capabilities, timestamp, filter_function: null, goodness_function: null },
});

const capabilitiesView = (capabilities: Pool['capabilities'], host: string): object => ({
  namespace: `OS::Storage::Capabilities::${host}`,
  vendor_name: capabilities.vendor_name,
  volume_backend_name: capabilities.volume_backend_name,
  pool_name: null,
  driver_version: capabilities.driver_version,
  storage_protocol: capabilities.storage_protocol,
  display_name: null,
  description: null,
  visibility: null,
  replication_targets: [],
  properties: {
    thin_provisioning: { title: 'Thin Provisioning', description: 'Sets thin provisioning.', type: 'boolean' },
    compression: { title: 'Compression', description: 'Enables compression.', type: 'boolean' },
    qos: { title: 'QoS', description: 'Enables QoS.', type: 'boolean' },
    replication_enabled: { title: 'Replication', description: 'Enables replication.', type: 'boolean' },
  },
});

const hostView = (service: ServiceView): object => ({
  host_name: service.host,
  service: service.binary,
  zone: 'nova',
  'service-status': 'available',
  'service-state': service.disabled ? 'disabled' : 'enabled',
  'last-update': service.updatedAt,
});

/** All numbers as text: so it has always been. */
const shareView = (host: string, share: HostShare): object => ({
  host,
  project: share.projectId ?? '(total)',
  volume_count: String(share.volumeCount),
  total_volume_gb: String(share.volumeGib),
  snapshot_count: String(share.snapshotCount),
  total_snapshot_gb: String(share.snapshotGib),
});
