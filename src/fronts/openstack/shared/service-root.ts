import type { FastifyInstance, FastifyRequest } from 'fastify';
import { publicBase } from './links.ts';

export interface DiscoveryPage {
  /** Below the prefix of the front; `/` answers with and without a slash at the end. */
  readonly path: string;
  readonly code: 200 | 300;
  /** `base` is the public URL of the whole server, without a slash at the end. */
  readonly document: (base: string) => unknown;
  /** For the Location header of 300 answers. */
  readonly location?: (base: string) => string;
}

/** Discovery documents need no token. Each service answers its own at its own prefix, because clients cut URLs back to it. */
export function serveDiscovery(app: FastifyInstance, publicUrl: string | undefined, pages: readonly DiscoveryPage[]): void {
  const base = (request: FastifyRequest): string => publicBase(request, publicUrl);
  for (const page of pages) {
    const options = { prefix: page.path === '/' ? '' : page.path };
    app.register((scope, _options, done) => {
      scope.get('/', async (request, reply) => {
        reply.code(page.code);
        if (page.location !== undefined) reply.header('location', page.location(base(request)));
        return page.document(base(request));
      });
      done();
    }, options);
  }
}
