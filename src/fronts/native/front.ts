import type { FastifyInstance } from 'fastify';
import { authenticate, type TokenValidator } from '../openstack/shared/authentication.ts';
import { acceptJson } from '../openstack/shared/json-parser.ts';
import { nameRequests } from '../openstack/shared/request-id.ts';
import { type DiskRoutesDeps, registerDiskRoutes } from './disks.ts';
import { answerWithNativeErrors } from './errors.ts';
import { type ImageLimitRoutesDeps, registerImageLimitRoutes } from './image-limits.ts';
import { type JobRoutesDeps, registerJobRoutes } from './jobs.ts';
import { type RevertRouteDeps, registerRevertRoute } from './revert.ts';
import { registerUsageRoute, type UsageRouteDeps } from './space.ts';
import { registerStatusRoute, type StatusDeps } from './status.ts';

export interface NativeFrontDeps extends JobRoutesDeps, DiskRoutesDeps, ImageLimitRoutesDeps, RevertRouteDeps, StatusDeps, UsageRouteDeps {
  readonly identity: TokenValidator;
  readonly publicUrl: string | undefined;
}

/** What no other API has words for. Register it below the prefix `/api/v1`. */
export function nativeFront(app: FastifyInstance, deps: NativeFrontDeps, done: () => void): void {
  nameRequests(app);
  answerWithNativeErrors(app);
  acceptJson(app, { contentTypes: ['application/json'], brokenMessage: 'The body is not valid JSON.' });
  app.addHook('onRequest', authenticate(deps.identity, deps));
  registerStatusRoute(app, deps);
  registerJobRoutes(app, deps);
  registerDiskRoutes(app, deps);
  registerRevertRoute(app, deps);
  registerUsageRoute(app, deps);
  registerImageLimitRoutes(app, deps);
  done();
}
