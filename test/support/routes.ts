/** The routes of the service's APIs, as they register themselves: for tests that go through all of them. */
import type { RouteOptions } from 'fastify';
import pino from 'pino';
import type { Cloud } from '../../src/main/compose.ts';
import { buildFrontDoor } from '../../src/main/front-door.ts';

export interface Route {
  readonly method: string;
  /** As the router knows it: `/volume/v3/:projectId/volumes/:id`. */
  readonly pattern: string;
  /** What it tells apart by its body. */
  readonly actions: readonly string[];
}

export async function allRoutes(): Promise<Route[]> {
  const routes: Route[] = [];
  const onRoute = ({ method, url, config }: RouteOptions): void => {
    for (const one of [method].flat()) routes.push({ method: one, pattern: url, actions: config?.actions ?? [] });
  };
  const app = buildFrontDoor({ publicUrl: undefined, cloud: cloudWithNothing, log: pino({ level: 'silent' }), onRoute });
  await app.ready();
  await app.close();
  return routes;
}

/** Stands for each part of a cloud as long as none of it is called: the fronts only take it apart. */
const nothing: object = new Proxy({}, { get: () => nothing });
/** What a cloud is made of: a part that is missing here does not compile. */
export const cloudWithNothing = {
  database: nothing,
  clock: nothing,
  jobs: nothing,
  identity: nothing,
  quotas: nothing,
  imageLimits: nothing,
  computeQuotas: nothing,
  hosts: nothing,
  computeHosts: nothing,
  aggregates: nothing,
  flavors: nothing,
  keypairs: nothing,
  serverGroups: nothing,
  volumeTypes: nothing,
  messages: nothing,
  volumes: nothing,
  snapshots: nothing,
  transfers: nothing,
  groups: nothing,
  images: nothing,
  volumeImages: nothing,
  servers: nothing,
  backups: nothing,
  diskChecks: nothing,
  status: nothing,
} satisfies Record<Exclude<keyof Cloud, 'prepare' | 'startWorking' | 'stop'>, object> as unknown as Cloud;
