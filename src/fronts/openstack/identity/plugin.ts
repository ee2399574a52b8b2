import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { authenticate } from '../shared/authentication.ts';
import { acceptJson } from '../shared/json-parser.ts';
import { answerWithKeystoneErrors, expecting } from '../shared/keystone-error.ts';
import { nameRequests } from '../shared/request-id.ts';
import { accessRuleRoutes, applicationCredentialRoutes } from './application-credentials.ts';
import { catalogRoutes } from './catalog-routes.ts';
import type { IdentityFront } from './context.ts';
import { credentialRoutes } from './credentials.ts';
import { discoveryRoutes } from './discovery.ts';
import { domainConfigRoutes } from './domain-config.ts';
import { domainRoutes } from './domains.ts';
import { endpointFilterRoutes } from './endpoint-filters.ts';
import { grantRoutes } from './grants.ts';
import { groupRoutes } from './groups.ts';
import { limitRoutes } from './limits.ts';
import { consumerRoutes, policyRoutes } from './policies-and-consumers.ts';
import { projectTagRoutes } from './project-tags.ts';
import { projectRoutes } from './projects.ts';
import { roleAssignmentRoutes } from './role-assignments.ts';
import { implicationRoutes, roleRoutes } from './roles.ts';
import { loginRoute, tokenRoutes } from './tokens.ts';
import { passwordRoute, userRoutes } from './users.ts';

/** Identity v3. Register it below the prefix `/identity`. */
export function identityFront(app: FastifyInstance, front: IdentityFront, done: () => void): void {
  nameRequests(app);
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('vary', 'X-Auth-Token');
  });
  answerWithKeystoneErrors(app, front);
  acceptJson(app, { contentTypes: ['application/json'], brokenMessage: expecting('valid JSON', 'request body') });
  discoveryRoutes(app, front);
  app.register(openRoutes(front), { prefix: '/v3' });
  app.register(guardedRoutes(front), { prefix: '/v3' });
  done();
}

const openRoutes =
  (front: IdentityFront): FastifyPluginCallback =>
  (app, _options, done) => {
    loginRoute(app, front);
    passwordRoute(app, front);
    done();
  };

const resources = [
  tokenRoutes,
  domainRoutes,
  domainConfigRoutes,
  projectRoutes,
  projectTagRoutes,
  userRoutes,
  groupRoutes,
  roleRoutes,
  implicationRoutes,
  grantRoutes,
  roleAssignmentRoutes,
  applicationCredentialRoutes,
  accessRuleRoutes,
  credentialRoutes,
  catalogRoutes,
  endpointFilterRoutes,
  policyRoutes,
  consumerRoutes,
  limitRoutes,
];

const guardedRoutes =
  (front: IdentityFront): FastifyPluginCallback =>
  (app, _options, done) => {
    app.addHook('onRequest', authenticate(front.identity, front));
    for (const routes of resources) routes(app, front);
    done();
  };
