/** Compute, version 2.1: what `/compute` answers. Every route exists with the project's id in its path and without. */
import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { authenticate } from '../shared/authentication.ts';
import { answerWithCinderFaults } from '../shared/cinder-fault.ts';
import { acceptJson } from '../shared/json-parser.ts';
import { nameRequests } from '../shared/request-id.ts';
import { exactPathsOnly, ownProjectOnly } from '../shared/request-paths.ts';
import { serveDiscovery } from '../shared/service-root.ts';
import { registerAggregateRoutes } from './aggregates.ts';
import { registerAvailabilityZoneRoutes } from './availability-zones.ts';
import type { ComputeFront } from './context.ts';
import { registerExtensionRoutes } from './extensions.ts';
import { registerFlavorAccessRoutes } from './flavor-access.ts';
import { registerFlavorExtraSpecRoutes } from './flavor-extra-specs.ts';
import { registerFlavorRoutes } from './flavors.ts';
import { registerHostRoutes } from './hosts.ts';
import { registerHypervisorRoutes } from './hypervisors.ts';
import { registerKeypairRoutes } from './keypairs.ts';
import { registerLimitRoutes } from './limits.ts';
import { negotiate } from './microversions.ts';
import { registerQuotaRoutes } from './quota-sets.ts';
import { registerServerActions } from './server-actions.ts';
import { registerServerGroupRoutes } from './server-groups.ts';
import { registerServerInstanceActions } from './server-instance-actions.ts';
import { registerServerParts } from './server-parts.ts';
import { registerServerTags } from './server-tags.ts';
import { registerServerVolumes } from './server-volumes.ts';
import { registerServerRoutes } from './servers.ts';
import { registerServiceRoutes } from './services.ts';
import { versionChoices, versionDocument, versionList } from './versions.ts';

const servicePath = '/compute';

/** Register it below the prefix `/compute`. */
export function computeFront(app: FastifyInstance, front: ComputeFront, done: () => void): void {
  nameRequests(app);
  // Clients look for the version in refusals too, also of what is not there; so this comes before the refusing.
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) await negotiate(request, reply);
  });
  answerWithCinderFaults(app);
  serveDiscovery(app, front.publicUrl, [
    { path: '/', code: 200, document: (base) => versionList(`${base}${servicePath}`) },
    { path: '/v2', code: 200, document: (base) => versionDocument('v2', `${base}${servicePath}`) },
    { path: '/v2.1', code: 200, document: (base) => versionDocument('v2.1', `${base}${servicePath}`) },
    { path: '/:version', code: 300, document: (base) => versionChoices(`${base}${servicePath}`) },
  ]);
  app.register(guardedRoutes(front), { prefix: '/v2.1' });
  app.register(guardedRoutes(front), { prefix: '/v2.1/:projectId' });
  done();
}

const guardedRoutes =
  (front: ComputeFront): FastifyPluginCallback =>
  (app, _options, done) => {
    app.addHook('onRequest', negotiate);
    app.addHook('onRequest', authenticate(front.identity, front));
    app.addHook('onRequest', exactPathsOnly);
    app.addHook('onRequest', ownProjectOnly(otherProject));
    acceptJson(app, { contentTypes: ['application/json'], brokenMessage: 'Malformed request body' });
    const groups: readonly ((app: FastifyInstance, front: ComputeFront) => void)[] = [
      registerServerRoutes,
      registerServerActions,
      registerServerVolumes,
      registerServerInstanceActions,
      registerServerTags,
      registerServerParts,
      registerFlavorRoutes,
      registerFlavorExtraSpecRoutes,
      registerFlavorAccessRoutes,
      registerKeypairRoutes,
      registerServerGroupRoutes,
      registerQuotaRoutes,
      registerLimitRoutes,
      registerServiceRoutes,
      registerHypervisorRoutes,
      registerHostRoutes,
      registerAvailabilityZoneRoutes,
      registerAggregateRoutes,
      registerExtensionRoutes,
    ];
    for (const routes of groups) routes(app, front);
    done();
  };

const otherProject = (asked: string, own: string | null): string =>
  `Malformed request URL: URL's project_id '${asked}' doesn't match Context's project_id '${own}'`;
