/** The one port of the service: each API under its prefix, as a DevStack lays them out. */
import fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest, LogController, type RouteOptions } from 'fastify';
import { nativeFront } from '../fronts/native/front.ts';
import { healthRoutes } from '../fronts/native/health.ts';
import { blockStorageFront } from '../fronts/openstack/block-storage/plugin.ts';
import { computeFront } from '../fronts/openstack/compute/plugin.ts';
import { identityFront } from '../fronts/openstack/identity/plugin.ts';
import { imageFront } from '../fronts/openstack/image/plugin.ts';
import { badRequest } from '../lib/errors.ts';
import type { Cloud } from './compose.ts';
import type { Config } from './config.ts';

export interface FrontDoor {
  readonly url: string;
  /** Stops listening, and waits for the requests that are being answered. */
  close(): Promise<void>;
}

/** Names stand in paths too, where clients try them as ids first. Longer ones than the router's 100 characters must come back as unknown. */
const pathParameterCharactersMax = 2048;

/** Block Storage takes paths with `.json` behind them. What Compute calls 2.0 is 2.1 under another name. */
function servedUrl(url: string): string {
  if (url.startsWith('/volume/')) return url.replace(/\.json(?=\?|$)/, '');
  return url.replace(/^\/compute\/v2\/(?=[^?])/, '/compute/v2.1/');
}

export async function openFrontDoor({ config, cloud, log }: { config: Config; cloud: Cloud; log: FastifyBaseLogger }): Promise<FrontDoor> {
  const app = buildFrontDoor({ publicUrl: config.publicUrl, cloud, log });
  await app.listen({ host: config.listen.host, port: config.listen.port });
  return { url: urlOf(app.server.address(), config.listen.host), close: () => app.close() };
}

/** All APIs, listening nowhere yet: they register themselves when it is made ready. `onRoute` hears of each route. */
export function buildFrontDoor(options: {
  publicUrl: Config['publicUrl'];
  cloud: Cloud;
  log: FastifyBaseLogger;
  onRoute?: (route: RouteOptions) => void;
}): FastifyInstance {
  const { publicUrl, cloud, log, onRoute } = options;
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: pathParameterCharactersMax },
    rewriteUrl: ({ url }) => servedUrl(url ?? '/'),
  });
  app.addHook('onRequest', refuseFragments);
  if (onRoute !== undefined) app.addHook('onRoute', onRoute);
  app.register(identityFront, { prefix: '/identity', identity: cloud.identity, publicUrl });
  app.register(blockStorageFront, { prefix: '/volume', ...cloud, publicUrl });
  app.register(computeFront, { prefix: '/compute', ...cloud, publicUrl });
  app.register(imageFront, { prefix: '/image', ...cloud, publicUrl });
  app.register(nativeFront, { prefix: '/api/v1', ...cloud, publicUrl });
  healthRoutes(app, cloud);
  return app;
}

/**
 * No client sends a fragment. The router would drop it unseen, with all that follows: whoever judges the path of a request, above all the
 * access rules of application credentials, would judge another one than the one that is served.
 */
async function refuseFragments(request: FastifyRequest): Promise<void> {
  // The code is for addresses that belong to no API.
  if (request.url.includes('#')) throw Object.assign(badRequest('The address of a request has no fragment.'), { statusCode: 400 });
}

function urlOf(address: ReturnType<ReturnType<typeof fastify>['server']['address']>, host: string): string {
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port');
  return `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`;
}
