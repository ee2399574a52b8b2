/** The requests that give volumes to servers, and take them away. */
import { badRequest, notFound } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Jobs } from '../jobs/service.ts';
import type { VolumesForServers } from '../volumes/service.ts';
import { checkUnlocked, lockedServer, refuseState, visibleServer } from './access.ts';
import { insertAction } from './action-store.ts';
import { type AttachInput, attachKind, detachKind } from './attach.job.ts';
import { nextDevice } from './block-devices.ts';
import type { Server, ServerDisk } from './contract.ts';
import { beginLeaving, changeDeletion, insertDisk } from './disk-store.ts';
import { can } from './states.ts';

export interface AttachOrder {
  readonly volumeId: string;
  /** As it was asked for: a wish. */
  readonly device: string | null;
  readonly tag: string | null;
  readonly deleteOnTermination: boolean;
}

export interface Attachments {
  /** What Block Storage knows of a server's disks. */
  attachments(caller: Caller, serverId: string): Promise<readonly ServerDisk[]>;
  attachment(caller: Caller, serverId: string, volumeId: string): Promise<ServerDisk>;
  attach(caller: Caller, serverId: string, order: AttachOrder): Promise<ServerDisk>;
  detach(caller: Caller, serverId: string, volumeId: string): Promise<void>;
  setDeletion(caller: Caller, serverId: string, volumeId: string, deleteOnTermination: boolean): Promise<void>;
}

export interface AttachmentsDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'start'>;
  readonly volumes: VolumesForServers;
}

const notAttached = (serverId: string, volumeId: string) =>
  notFound(`volume_id not found: ${volumeId} (it is not attached to instance ${serverId})`);

const leavesAlready = (volumeId: string) =>
  badRequest(
    `Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. Volume ${volumeId} is being detached already.`,
  );

export function createAttachments({ database, jobs, volumes }: AttachmentsDeps): Attachments {
  const visibleDisk = (server: Server, volumeId: string): ServerDisk => {
    const disk = server.disks.find((one) => one.volumeId === volumeId && !one.isLocal);
    if (disk === undefined) throw notAttached(server.id, volumeId);
    return disk;
  };

  async function changing(tx: Tx, caller: Caller, serverId: string, verb: string): Promise<Server> {
    const server = await lockedServer(tx, caller, serverId, 'machine:attach');
    checkUnlocked(caller, server);
    if (!can.changeDisks(server)) refuseState({ ...server, taskState: null }, verb);
    if (server.taskState === 'deleting') refuseState(server, verb);
    return server;
  }

  async function begin(
    tx: Tx,
    caller: Caller,
    server: Server,
    kind: string,
    disk: Pick<ServerDisk, 'volumeId' | 'attachmentId'>,
  ): Promise<void> {
    const { requestId, userId } = caller;
    const { id: serverId, projectId } = server;
    const { volumeId, attachmentId } = disk;
    const action = kind === attachKind ? 'attach_volume' : 'detach_volume';
    await insertAction(tx.sql, { requestId, serverId, action, userId, projectId });
    const input: AttachInput = { serverId, volumeId, attachmentId, requestId };
    await jobs.start(tx, { kind, subjectId: serverId, projectId, input, requestId });
  }

  return {
    async attachments(caller, serverId) {
      const server = await visibleServer(database, caller, serverId, 'machine:get');
      return server.disks.filter(({ isLocal }) => !isLocal);
    },
    attachment: async (caller, serverId, volumeId) => visibleDisk(await visibleServer(database, caller, serverId, 'machine:get'), volumeId),
    attach: (caller, serverId, order) =>
      database.transact(async (tx) => {
        const server = await changing(tx, caller, serverId, 'attach_volume');
        const { volumeId, tag, deleteOnTermination } = order;
        if (server.disks.some((disk) => disk.volumeId === volumeId))
          throw badRequest(`Invalid volume: volume ${volumeId} is already attached to instance ${serverId}`);
        const device = nextDevice(
          server.disks.map((disk) => disk.device),
          order.device,
        );
        if (device === undefined) throw badRequest('The server has no room for another disk.');
        const attachmentId = await volumes.reserve(tx, caller, { volumeId, serverId });
        const disk = { volumeId, attachmentId, device, bootIndex: null, isLocal: false, deleteOnTermination, tag };
        await insertDisk(tx.sql, serverId, disk);
        await begin(tx, caller, server, attachKind, disk);
        return { ...disk, isLeaving: false };
      }),
    detach: (caller, serverId, volumeId) =>
      database.transact(async (tx) => {
        const server = await changing(tx, caller, serverId, 'detach_volume');
        const disk = visibleDisk(server, volumeId);
        if (disk.bootIndex === 0) throw badRequest('Cannot detach a root device volume');
        // A start of the service puts volumes that are being detached back in use; one that is leaving leaves once all the same.
        if (!(await beginLeaving(tx.sql, serverId, volumeId))) throw leavesAlready(volumeId);
        await volumes.beginRelease(tx, caller, disk);
        await begin(tx, caller, server, detachKind, disk);
      }),
    setDeletion: (caller, serverId, volumeId, deleteOnTermination) =>
      database.transact(async (tx) => {
        const server = await changing(tx, caller, serverId, 'update_volume_attachment');
        visibleDisk(server, volumeId);
        await changeDeletion(tx.sql, serverId, volumeId, deleteOnTermination);
      }),
  };
}
