/** `/status`: what this service is and how it does, for `stillpoint status` and for whoever watches it. */
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Caller } from '../../cloud/identity/caller.ts';
import { isAllowed } from '../../cloud/identity/policy.ts';
import { Space, type SpaceSource, spaceBody } from './space.ts';

export interface StatusDeps {
  readonly status: StatusSource;
}

export interface StatusSource {
  readonly version: string;
  uptimeSeconds(): number;
  /** How many of each the caller sees in lists. */
  countsFor(caller: Caller): Promise<ResourceCounts>;
  repositories(): Promise<readonly { readonly id: string; readonly name: string; readonly storePath: string }[]>;
  /** What volumes may still take before the space that is kept free. */
  freeBytes(): Promise<number>;
  space(): Promise<SpaceSource>;
  /** Files that nobody knows, before they are deleted for good. */
  trash(): Promise<{ readonly count: number; readonly bytes: number }>;
}

const Counts = Type.Object({
  volumes: Type.Integer(),
  snapshots: Type.Integer(),
  images: Type.Integer(),
  backups: Type.Integer(),
});

export type ResourceCounts = Static<typeof Counts>;

const Status = Type.Object({
  version: Type.String(),
  uptime_seconds: Type.Integer({ minimum: 0 }),
  counts: Counts,
  /** With their places for administrators only. */
  repositories: Type.Array(Type.Object({ id: Type.String(), name: Type.String(), path: Type.Optional(Type.String()) })),
  free_bytes: Type.Integer(),
  /** For administrators. */
  space: Type.Optional(Space),
  /** For administrators. */
  trash: Type.Optional(Type.Object({ count: Type.Integer(), bytes: Type.Integer() })),
});

export function registerStatusRoute(app: FastifyInstance, { status }: StatusDeps): void {
  app.get('/status', async (request): Promise<Static<typeof Status>> => {
    const { caller } = request;
    const seesPlaces = isAllowed(caller, 'repository:list', { projectId: null });
    const trash = isAllowed(caller, 'disk:check', { projectId: null }) ? { trash: await status.trash() } : {};
    const space = isAllowed(caller, 'pool:list', { projectId: null }) ? { space: spaceBody(await status.space()) } : {};
    const [counts, repositories, freeBytes] = await Promise.all([status.countsFor(caller), status.repositories(), status.freeBytes()]);
    return {
      version: status.version,
      uptime_seconds: Math.floor(status.uptimeSeconds()),
      counts,
      repositories: repositories.map(({ id, name, storePath }) => ({ id, name, ...(seesPlaces ? { path: storePath } : {}) })),
      free_bytes: freeBytes,
      ...space,
      ...trash,
    };
  });
}
