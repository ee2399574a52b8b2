/** `/os-hypervisors`: the machine that servers run on. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Hypervisor } from '../../../cloud/hosts/compute-hosts.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { isUuid } from '../../../lib/ids.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { hypervisorSummary, hypervisorView, sizes } from './hypervisor-view.ts';
import { parsePage } from './list-query.ts';
import { between, isSince } from './microversions.ts';

type WithId = { Params: { id: string } };
type WithPattern = { Params: { id: string } };

export function registerHypervisorRoutes(app: FastifyInstance, { computeHosts }: ComputeFront): void {
  for (const [path, view] of [
    ['/os-hypervisors', hypervisorSummary],
    ['/os-hypervisors/detail', hypervisorView],
  ] as const) {
    app.get(path, async (request) => {
      const all = await computeHosts.hypervisors(request.caller);
      return { hypervisors: wanted(all, request).map((one) => view(one, request)) };
    });
  }
  app.get('/os-hypervisors/statistics', between(1, 87), async ({ caller }) => {
    const all = (await computeHosts.hypervisors(caller)).map(sizes);
    const names = Object.keys(all[0] ?? {});
    const sums = names.map((name) => [name, all.reduce((sum, one) => sum + (one[name] ?? 0), 0)]);
    return { hypervisor_statistics: { count: all.length, ...Object.fromEntries(sums) } };
  });
  app.get<WithId>('/os-hypervisors/:id', async (request) => {
    const hypervisor = await computeHosts.hypervisor(request.caller, request.params.id);
    requireFittingId(request.params.id, request as FastifyRequest);
    return { hypervisor: hypervisorView(hypervisor, request as FastifyRequest) };
  });
  app.get<WithId>('/os-hypervisors/:id/uptime', between(1, 87), async (request) => {
    const hypervisor = await computeHosts.hypervisor(request.caller, request.params.id);
    requireFittingId(request.params.id, request as FastifyRequest);
    return { hypervisor: { ...hypervisorSummary(hypervisor, request as FastifyRequest), uptime: hypervisor.facts.uptime } };
  });
  for (const rest of ['search', 'servers']) {
    app.get<WithPattern>(`/os-hypervisors/:id/${rest}`, between(1, 52), async (request) => {
      const found = named(await computeHosts.hypervisors(request.caller), request.params.id);
      return { hypervisors: found.map((one) => hypervisorSummary(one, request as FastifyRequest)) };
    });
  }
}

/** Since 2.53 it is an id, before a number. */
function requireFittingId(id: string, { microversion }: FastifyRequest): void {
  if (isUuid(id) !== isSince(microversion, 53)) throw notFound(`Compute host ${id} could not be found.`);
}

function wanted(all: readonly Hypervisor[], request: FastifyRequest): readonly Hypervisor[] {
  const query = queryOf(request);
  const pattern = isSince(request.microversion, 53) ? queryValue(query, 'hypervisor_hostname_pattern') : undefined;
  const found = pattern === undefined ? all : named(all, pattern);
  return isSince(request.microversion, 33) ? paged(found, query, isSince(request.microversion, 53)) : found;
}

function named(all: readonly Hypervisor[], pattern: string): readonly Hypervisor[] {
  const found = all.filter(({ facts }) => facts.hostName.includes(pattern));
  if (found.length === 0) throw notFound(`No hypervisor matching '${pattern}' could be found.`);
  return found;
}

function paged(all: readonly Hypervisor[], query: Query, byUuid: boolean): readonly Hypervisor[] {
  const { limit, marker } = parsePage(query);
  const at = all.findIndex(({ id, uuid }) => marker === (byUuid ? uuid : String(id)));
  if (marker !== undefined && at < 0) throw badRequest(`marker [${marker}] not found`);
  return all.slice(at + 1, at + 1 + limit);
}
