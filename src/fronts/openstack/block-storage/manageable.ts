/**
 * Taking over disks that Block Storage did not make. Whatever the backend keeps it made itself: the lists show what is managed already, as the lists of
 * any backend do, and there is nothing that could be taken over.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { backendHost, poolHost } from '../../../cloud/hosts/contract.ts';
import { authorise } from '../../../cloud/identity/policy.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, text, uuid } from '../shared/body.ts';
import { nextLinks, pageLimitMax, parsePage, queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { since } from './since.ts';

const reference = Type.Union([Type.Object({}), text(255)]);
const volumeSchema = Type.Object({
  volume: Type.Object({
    host: Type.Optional(Type.Union([text(255), Type.Null()])),
    cluster: Type.Optional(Type.Union([text(255), Type.Null()])),
    ref: reference,
  }),
});
const snapshotSchema = Type.Object({ snapshot: Type.Object({ volume_id: uuid, ref: reference }) });

const noReference = () =>
  badRequest('Manage existing volume failed due to invalid backend reference: there is no disk of that name that is not managed already.');

export function registerManageRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  for (const [path, minor] of [
    ['/os-volume-manage', 0],
    ['/manageable_volumes', 8],
  ] as const) {
    app.get(path, since(minor), (request) => listVolumes(front, request, false));
    app.get(`${path}/detail`, since(minor), (request) => listVolumes(front, request, true));
    app.post(path, since(minor), async (request) => {
      mayManage(request);
      const { volume } = parseBody(volumeSchema, request.body);
      checkHost(volume.host ?? null);
      throw noReference();
    });
  }
  for (const [path, minor] of [
    ['/os-snapshot-manage', 0],
    ['/manageable_snapshots', 8],
  ] as const) {
    app.get(path, since(minor), (request) => listSnapshots(front, request, false));
    app.get(`${path}/detail`, since(minor), (request) => listSnapshots(front, request, true));
    app.post(path, since(minor), async (request) => {
      mayManage(request);
      const { snapshot } = parseBody(snapshotSchema, request.body);
      await front.volumes.get(request.caller, snapshot.volume_id);
      throw noReference();
    });
  }
}

const mayManage = ({ caller }: FastifyRequest): void => authorise(caller, 'volume:manage', { projectId: null });

/** `host@backend`, or with the pool behind it. */
function checkHost(host: string | null): void {
  if (host === poolHost || host === backendHost) return;
  throw badRequest(`Invalid input received: Service ${host ?? 'None'} could not be found.`);
}

/** Those of all projects, in the order of their names on the backend. */
function pageOf(request: FastifyRequest) {
  mayManage(request);
  const query = queryOf(request);
  checkHost(queryValue(query, 'host') ?? null);
  const { limit, offset, marker } = parsePage(query);
  return { limit: Math.min(limit, pageLimitMax), offset, marker, allProjects: true, withCount: false, filters: [], metadata: {} };
}

const sort = [
  { column: 'created_at', direction: 'desc' },
  { column: 'id', direction: 'desc' },
] as const;

const managed = (id: string, name: string, sizeGib: number, isDetailed: boolean) => ({
  reference: { 'source-name': name },
  size: sizeGib,
  safe_to_manage: false,
  ...(isDetailed && { reason_not_safe: 'already managed', cinder_id: id, extra_info: null }),
});

async function listVolumes({ volumes, publicUrl }: BlockStorageFront, request: FastifyRequest, isDetailed: boolean): Promise<unknown> {
  const page = pageOf(request);
  const found = (await volumes.list(request.caller, { ...page, sort })).volumes;
  const links = nextLinks(request, { publicUrl, limit: page.limit, itemIds: found.map(({ id }) => id) });
  return {
    'manageable-volumes': found.map(({ id, sizeGib }) => managed(id, `volume-${id}`, sizeGib, isDetailed)),
    ...(links === undefined ? {} : { manageable_volumes_links: links }),
  };
}

async function listSnapshots({ snapshots, publicUrl }: BlockStorageFront, request: FastifyRequest, isDetailed: boolean): Promise<unknown> {
  const page = pageOf(request);
  const found = (await snapshots.list(request.caller, { ...page, sort })).snapshots;
  const links = nextLinks(request, { publicUrl, limit: page.limit, itemIds: found.map(({ id }) => id) });
  return {
    'manageable-snapshots': found.map(({ id, volumeId, sizeGib }) => ({
      ...managed(id, `snapshot-${id}`, sizeGib, isDetailed),
      source_reference: { 'source-name': `volume-${volumeId}` },
    })),
    ...(links === undefined ? {} : { manageable_snapshots_links: links }),
  };
}
