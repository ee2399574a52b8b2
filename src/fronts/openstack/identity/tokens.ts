/** `/v3/auth`: logging in, and what a token is and opens. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Domain } from '../../../cloud/identity/entities.ts';
import { badRequest } from '../../../lib/errors.ts';
import { expecting } from '../shared/keystone-error.ts';
import { parseAuthRequest } from './auth-request.ts';
import { collection, type IdentityFront } from './context.ts';
import { domainView } from './domains.ts';
import { projectView } from './projects.ts';
import { catalogFor } from './token-catalog.ts';
import { tokenView } from './token-view.ts';

/** The only route that asks for no token. */
export function loginRoute(app: FastifyInstance, front: IdentityFront): void {
  app.post('/auth/tokens', async (request, reply) => {
    const { proofs, scope } = parseAuthRequest(request.body);
    const issued = await front.identity.authenticate(proofs, scope);
    reply.code(201).header('x-subject-token', issued.secret);
    return tokenView(issued.token, request, front);
  });
}

export function tokenRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { identity } = front;
  app.get('/auth/tokens', async (request, reply) => {
    const subject = subjectOf(request);
    const token = await identity.tokens.describe(request.token, subject);
    reply.header('x-subject-token', subject);
    return tokenView(token, request, front);
  });
  app.delete('/auth/tokens', async (request, reply) => {
    await identity.tokens.revoke(request.token, subjectOf(request));
    return reply.code(204).send();
  });
  app.get('/auth/catalog', async (request) => collection(request, front, 'catalog', await catalogFor(request.token, request, front)));
  app.get('/auth/projects', async (request) => {
    const { projects } = await identity.grants.ownScopes(request.token);
    return collection(
      request,
      front,
      'projects',
      projects.map((project) => projectView(project, request, front)),
    );
  });
  app.get('/auth/domains', async (request) => {
    const { domains } = await identity.grants.ownScopes(request.token);
    return collection(
      request,
      front,
      'domains',
      domains.map((domain: Domain) => domainView(domain, request, front)),
    );
  });
  app.get('/auth/system', async (request) => {
    const { system } = await identity.grants.ownScopes(request.token);
    return collection(request, front, 'system', system ? [{ all: true }] : []);
  });
}

function subjectOf(request: FastifyRequest): string {
  const subject = request.headers['x-subject-token'];
  if (typeof subject !== 'string') throw badRequest(expecting('X-Subject-Token', 'request headers'));
  return subject;
}
