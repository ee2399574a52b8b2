/**
 * Compute, as far as a cloud without machines has it. Clients ask Compute on the way to other things: `openstack quota show` and
 * `quota set` insist on its endpoint, `volume list` looks for the names of servers, `limits show` adds its limits. They
 * get a cloud in which no server can be made: no servers, and quotas of zero.
 */
import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { authorise } from '../../../cloud/identity/policy.ts';
import { forbidden } from '../../../lib/errors.ts';
import { authenticate, type TokenValidator } from '../shared/authentication.ts';
import { parseBoolean } from '../shared/body.ts';
import { answerWithCinderFaults } from '../shared/cinder-fault.ts';
import { acceptJson } from '../shared/json-parser.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { nameRequests } from '../shared/request-id.ts';
import { serveDiscovery } from '../shared/service-root.ts';
import { onlyMicroversion, versionEntry } from './versions.ts';

export interface ComputeFront {
  readonly identity: TokenValidator;
  readonly publicUrl: string | undefined;
}

const servicePath = '/compute';

/** What Compute calls its quotas before microversion 2.36. */
const quotaKeys = [
  'instances',
  'cores',
  'ram',
  'metadata_items',
  'key_pairs',
  'server_groups',
  'server_group_members',
  'injected_files',
  'injected_file_content_bytes',
  'injected_file_path_bytes',
  'fixed_ips',
  'floating_ips',
  'security_groups',
  'security_group_rules',
] as const;

const noQuotas = Object.fromEntries(quotaKeys.map((key) => [key, 0]));

const limitNames = [
  'maxTotalInstances',
  'maxTotalCores',
  'maxTotalRAMSize',
  'maxServerMeta',
  'maxTotalKeypairs',
  'maxServerGroups',
  'maxServerGroupMembers',
  'totalInstancesUsed',
  'totalCoresUsed',
  'totalRAMUsed',
  'totalServerGroupsUsed',
] as const;

/** Register it below the prefix `/compute`. */
export function computeFront(app: FastifyInstance, front: ComputeFront, done: () => void): void {
  nameRequests(app);
  answerWithCinderFaults(app);
  serveDiscovery(app, front.publicUrl, [
    { path: '/', code: 200, document: (base) => ({ versions: [versionEntry(`${base}${servicePath}`)] }) },
    { path: '/v2.1', code: 200, document: (base) => ({ version: versionEntry(`${base}${servicePath}`) }) },
  ]);
  app.register(guardedRoutes(front), { prefix: '/v2.1' });
  done();
}

const guardedRoutes =
  (front: ComputeFront): FastifyPluginCallback =>
  (app, _options, done) => {
    app.addHook('onRequest', authenticate(front.identity, front));
    app.addHook('onRequest', onlyMicroversion);
    acceptJson(app, { contentTypes: ['application/json'], brokenMessage: 'Malformed request body' });
    serverRoutes(app);
    quotaRoutes(app);
    done();
  };

function serverRoutes(app: FastifyInstance): void {
  for (const path of ['/servers', '/servers/detail']) {
    app.get(path, async (request) => {
      if (parseBoolean(queryValue(queryOf(request), 'all_tenants'))) authorise(request.caller, 'machine:list_all', { projectId: null });
      return { servers: [] };
    });
  }
  app.get('/limits', async () => ({ limits: { rate: [], absolute: Object.fromEntries(limitNames.map((name) => [name, 0])) } }));
}

type OfProject = { Params: { project: string } };

function quotaRoutes(app: FastifyInstance): void {
  app.get<OfProject>('/os-quota-sets/:project', async ({ params, caller }) => {
    authorise(caller, 'machine_quota:get', { projectId: params.project });
    return { quota_set: { id: params.project, ...noQuotas } };
  });
  // What a new project would get is no secret of any project.
  app.get<OfProject>('/os-quota-sets/:project/defaults', async ({ params }) => ({ quota_set: { id: params.project, ...noQuotas } }));
  app.get<{ Params: { class: string } }>('/os-quota-class-sets/:class', async ({ params, caller }) => {
    authorise(caller, 'machine_quota_class:get', { projectId: null });
    return { quota_class_set: { id: params.class, ...noQuotas } };
  });
  app.put('/os-quota-sets/:project', async () => {
    throw forbidden('There are no machines in this cloud whose quotas could be set.');
  });
}
