import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { authenticate } from '../shared/authentication.ts';
import { acceptJson } from '../shared/json-parser.ts';
import { answerWithKeystoneErrors, expecting } from '../shared/keystone-error.ts';
import { nameRequests } from '../shared/request-id.ts';
import { applicationCredentialRoutes } from './application-credentials.ts';
import { catalogRoutes } from './catalog-routes.ts';
import type { IdentityFront } from './context.ts';
import { discoveryRoutes } from './discovery.ts';
import { domainRoutes } from './domains.ts';
import { grantRoutes } from './grants.ts';
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

const guardedRoutes =
  (front: IdentityFront): FastifyPluginCallback =>
  (app, _options, done) => {
    app.addHook('onRequest', authenticate(front.identity, front));
    const groups = [tokenRoutes, domainRoutes, projectRoutes, userRoutes, roleRoutes, implicationRoutes, grantRoutes];
    for (const routes of [...groups, roleAssignmentRoutes, applicationCredentialRoutes, catalogRoutes]) routes(app, front);
    done();
  };
