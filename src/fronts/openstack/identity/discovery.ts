import type { FastifyInstance } from 'fastify';
import { publicBase } from '../shared/links.ts';
import { serveDiscovery } from '../shared/service-root.ts';
import { identityPath } from './catalog.ts';
import type { IdentityFront } from './context.ts';
import { jsonHome } from './json-home.ts';

const version = (base: string) => ({
  id: 'v3.14',
  status: 'stable',
  updated: '2020-04-07T00:00:00Z',
  links: [{ rel: 'self', href: `${base}${identityPath}/v3/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
});

export function discoveryRoutes(app: FastifyInstance, { publicUrl }: IdentityFront): void {
  serveDiscovery(app, publicUrl, [
    {
      path: '/',
      code: 300,
      document: (base) => ({ versions: { values: [version(base)] } }),
      location: (base) => `${base}${identityPath}/v3/`,
    },
  ]);
  app.register(
    (scope, _options, done) => {
      scope.get('/', async (request, reply) => {
        if (request.headers.accept === 'application/json-home') return reply.type('application/json-home').send(jsonHome);
        return { version: version(publicBase(request, publicUrl)) };
      });
      done();
    },
    { prefix: '/v3' },
  );
}
