/** The request to make an image of a server: every check, the rows of what it will be, and the saga, in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Database, StringMap, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { ImagesForServers } from '../images/service.ts';
import type { Jobs } from '../jobs/service.ts';
import type { SnapshotsForServers } from '../snapshots/service.ts';
import type { VolumesForServers } from '../volumes/service.ts';
import { beginOr, lockedServer } from './access.ts';
import { insertAction } from './action-store.ts';
import type { Server, ServerDisk } from './contract.ts';
import { type ImageInput, imageKind, type SnapshotPart } from './image.job.ts';
import { hasAgent, requiresQuiesce } from './machine-spec.ts';
import { type SnapshotDevice, snapshotProperties } from './snapshot-devices.ts';

export interface ServerImageRequest {
  readonly name: string;
  readonly metadata: StringMap;
}

export interface ServerImages {
  /** Returns the id of the image, which is there already. */
  createImage(caller: Caller, serverId: string, order: ServerImageRequest): Promise<string>;
}

export interface ServerImagesDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'start'>;
  readonly images: ImagesForServers;
  readonly snapshots: SnapshotsForServers;
  readonly volumes: VolumesForServers;
}

export function createServerImages(deps: ServerImagesDeps): ServerImages {
  return { createImage: (caller, id, order) => deps.database.transact((tx) => begin(deps, tx, caller, id, order)) };
}

async function begin(deps: ServerImagesDeps, tx: Tx, caller: Caller, id: string, order: ServerImageRequest): Promise<string> {
  const server = await lockedServer(tx, caller, id, 'machine:snapshot');
  // A lock on the server does not keep it from being copied.
  await beginOr(tx, server, 'snapshot', 'createImage');
  const root = server.disks.find(({ bootIndex }) => bootIndex === 0);
  if (root === undefined) throw badRequest(`Instance ${id} has no disk that it boots from.`);
  const imageId = newId();
  const { requestId, userId } = caller;
  const { projectId } = server;
  await insertAction(tx.sql, { requestId, serverId: id, action: 'createImage', userId, projectId });
  const plan = root.isLocal
    ? await planBytes(deps, tx, caller, server, root, imageId, order)
    : await planSnapshots(deps, tx, caller, server, imageId, order);
  const input: ImageInput = { serverId: id, imageId, requestId, ...plan };
  await deps.jobs.start(tx, { kind: imageKind, subjectId: id, projectId, input, requestId });
  return imageId;
}

type Plan = Pick<ImageInput, 'disk' | 'properties' | 'parts'>;

async function planBytes(
  deps: ServerImagesDeps,
  tx: Tx,
  caller: Caller,
  server: Server,
  root: ServerDisk,
  imageId: string,
  { name, metadata }: ServerImageRequest,
): Promise<Plan> {
  const ofServer = { instance_uuid: server.id, user_id: caller.userId, image_type: 'snapshot' };
  const { min_disk: minDisk, min_ram: minRam } = server.imageProperties;
  await deps.images.register(tx, caller, {
    id: imageId,
    owner: caller.projectId ?? server.projectId,
    name,
    minDiskGib: Math.max(server.flavor.diskGib, Number(minDisk ?? 0)),
    minRamMib: Number(minRam ?? 0),
    properties: { ...inherited(server), ...ofServer, ...metadata },
    hasBytes: true,
  });
  const disk = {
    imageId,
    volumeId: root.volumeId,
    pointId: newId(),
    topLayerId: newId(),
    convertedId: newId(),
    uploadId: newId(),
    format: 'qcow2' as const,
  };
  return { disk, parts: [], properties: { image_location: 'snapshot', image_state: 'available', owner_id: server.projectId } };
}

async function planSnapshots(
  deps: ServerImagesDeps,
  tx: Tx,
  caller: Caller,
  server: Server,
  imageId: string,
  { name, metadata }: ServerImageRequest,
): Promise<Plan> {
  // Whether the agent answers is seen later; whether there is one, now.
  if (server.vmState === 'active' && requiresQuiesce(server.imageProperties) && !hasAgent(server.imageProperties))
    throw badRequest(`Quiescing is not supported in instance ${server.id}`);
  const parts: SnapshotPart[] = [];
  const devices: SnapshotDevice[] = [];
  for (const { volumeId, device, bootIndex, deleteOnTermination, tag } of server.disks.filter(({ isLocal }) => !isLocal)) {
    const volume = await deps.volumes.lock(tx, caller, volumeId);
    const part = { snapshotId: newId(), volumeId, pointId: newId(), topLayerId: newId() };
    await deps.snapshots.insert(tx, caller, { id: part.snapshotId, volume, name: `snapshot for ${name}`, description: volume.description });
    parts.push(part);
    devices.push({ snapshotId: part.snapshotId, bootIndex, device, deleteOnTermination, sizeGib: volume.sizeGib, tag });
  }
  await deps.images.register(tx, caller, {
    id: imageId,
    owner: caller.projectId ?? server.projectId,
    name,
    minDiskGib: 0,
    minRamMib: 0,
    properties: { ...inherited(server), ...snapshotProperties('vda', devices), ...metadata },
    hasBytes: false,
  });
  return { disk: null, parts, properties: {} };
}

/** What does not pass from an image to the images of servers that were made from it. */
const notInherited =
  /^(?:cache_in_nova$|bittorrent$|img_signature|cinder_encryption_key|block_device_mapping$|bdm_v2$|root_device_name$|image_type$|instance_uuid$|user_id$|image_location$|image_state$|owner_id$)/;

const inherited = ({ imageProperties }: Server): StringMap =>
  Object.fromEntries(Object.entries(imageProperties).filter(([name]) => !notInherited.test(name)));
