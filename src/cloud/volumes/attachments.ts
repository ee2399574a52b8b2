/**
 * Attachments as things of their own: what hypervisors use since 3.27. One is reserved, told how to connect (which starts the server of the
 * disk), called complete by its client, and deleted in the end. A disk is served once, however many attachments a volume has.
 *
 * Half-way: the row is `attaching` before the server is started, so whoever dies in between leaves an attachment that can be updated again, or
 * deleted, which ends the server. No attachment is taken back at a start of the service: only its client knows how far it is.
 */
import { badRequest, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { ListQuery } from '../database/lists.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee, projectOfList } from '../identity/policy.ts';
import { lockedVolume } from './access.ts';
import type { Connection } from './attach.ts';
import {
  attachmentsOf,
  deleteAttachments,
  findAttachment,
  insertAttachment,
  listAttachments,
  updateAttachment,
} from './attachment-store.ts';
import type { Attachment, AttachmentColumn, Volume } from './contract.ts';
import { followAttachments } from './follow-attachments.ts';
import { refuseServers } from './refuse-servers.ts';
import { exportName } from './sizes.ts';
import type { ServerSources } from './sources.ts';
import { can } from './states.ts';
import { move, type Queries } from './store.ts';

/** What a client says of itself; the names are the wire's. */
export interface Connector {
  readonly host: string | null;
  readonly mountpoint: string | null;
  readonly mode: 'rw' | 'ro' | null;
}

export interface ReserveOrder {
  readonly volumeId: string;
  readonly instanceId: string | null;
  readonly mode: 'rw' | 'ro' | null;
  /** Null: only reserved. */
  readonly connector: Connector | null;
}

export interface AttachmentQuery extends Omit<ListQuery<AttachmentColumn>, 'projectId' | 'markerId'> {
  readonly allProjects: boolean;
  readonly marker: string | undefined;
}

/** How a connection looks on the wire; the front's business. */
export type DescribeConnection = (volumeId: string, attachmentId: string, connection: Connection) => Attachment['connectionInfo'];

export interface AttachmentsService {
  list(caller: Caller, query: AttachmentQuery): Promise<Attachment[]>;
  get(caller: Caller, id: string): Promise<Attachment>;
  create(caller: Caller, order: ReserveOrder, describe: DescribeConnection): Promise<Attachment>;
  /** Starts the server of the disk for this client, and says where it is. Repeatable. */
  connect(caller: Caller, id: string, connector: Connector, describe: DescribeConnection): Promise<Attachment>;
  complete(caller: Caller, id: string): Promise<void>;
  /** Returns what is left of the volume's attachments. */
  remove(caller: Caller, id: string): Promise<Attachment[]>;
}

const missing = (id: string) => notFound(`Volume attachment could not be found with filter: attachment_id = ${id}.`);

export interface AttachmentsDeps {
  readonly database: Database;
  readonly servers?: ServerSources;
  readonly disks: Pick<DisksService, 'openExport' | 'closeExport'>;
}

export function createAttachments(deps: AttachmentsDeps): AttachmentsService {
  const { database, disks } = deps;

  async function visible(caller: Caller, id: string, action: Action): Promise<Attachment> {
    const attachment = isUuid(id) ? await findAttachment(database.sql, id) : undefined;
    if (attachment === undefined || !canSee(caller, attachment)) throw missing(id);
    authorise(caller, action, attachment);
    return attachment;
  }

  /** Volume and attachment, both as they are under the volume's lock. */
  async function locked<T>(caller: Caller, id: string, work: (tx: Tx, volume: Volume, attachment: Attachment) => Promise<T>): Promise<T> {
    const { volumeId } = await visible(caller, id, 'volume:attach');
    return await database.transact(async (tx) => {
      const volume = await lockedVolume(tx, caller, volumeId, 'volume:attach');
      const attachment = await findAttachment(tx.sql, id);
      if (attachment === undefined) throw missing(id);
      return await work(tx, volume, attachment);
    });
  }

  async function connect(caller: Caller, id: string, connector: Connector, describe: DescribeConnection): Promise<Attachment> {
    const { volumeId, readOnly } = await locked(caller, id, (tx, volume, attachment) => beginConnect(tx, volume, attachment, connector));
    const { socketPath } = await disks.openExport(volumeId, { readOnly });
    const connection: Connection = { socketPath, exportName, accessMode: readOnly ? 'ro' : 'rw' };
    try {
      return await locked(caller, id, async (tx) => {
        await updateAttachment(tx.sql, id, { connectionInfo: describe(volumeId, id, connection) });
        return (await findAttachment(tx.sql, id)) as Attachment;
      });
    } catch (error) {
      // Deleted while the server started: then nobody may use it.
      if ((await attachmentsOf(database.sql, volumeId)).length === 0) await disks.closeExport(volumeId);
      throw error;
    }
  }

  return {
    async list(caller, query) {
      authorise(caller, 'attachment:list', { projectId: caller.projectId });
      if (query.marker !== undefined) await visible(caller, query.marker, 'attachment:get');
      const projectId = projectOfList(caller, query.allProjects);
      return query.limit === 0 ? [] : await listAttachments(database.sql, { ...query, projectId, markerId: query.marker });
    },
    get: (caller, id) => visible(caller, id, 'attachment:get'),
    async create(caller, order, describe) {
      const id = await database.transact((tx) => reserve(tx, caller, order));
      return order.connector === null
        ? await visible(caller, id, 'attachment:get')
        : await connect(caller, id, { ...order.connector, mode: order.mode ?? order.connector.mode }, describe);
    },
    connect,
    complete: (caller, id) => locked(caller, id, (tx, volume) => completeAttachment(tx, volume, id)),
    async remove(caller, id) {
      const attachment = await visible(caller, id, 'volume:attach');
      const { volumeId } = attachment;
      await refuseServers(deps, attachment);
      return await endAttachment(deps, { id, volumeId }, (work) => locked(caller, id, work));
    },
  };
}

/** Ends the server of the disk with its last attachment. `locked` runs work while the volume is locked. Returns what is left of the volume's attachments. */
export async function endAttachment(
  { database, disks }: AttachmentsDeps,
  { id, volumeId }: { id: string; volumeId: string },
  locked: (work: (tx: Tx, volume: Volume) => Promise<Attachment[] | undefined>) => Promise<Attachment[] | undefined>,
): Promise<Attachment[]> {
  const othersIn = async (db: Queries) => (await attachmentsOf(db, volumeId)).filter((other) => other.id !== id);
  for (;;) {
    const isLast = (await othersIn(database.sql)).length === 0;
    // The server ends first, as in a detach: what it had not written yet belongs into the disk before the volume is available.
    if (isLast) await disks.closeExport(volumeId);
    const left = await locked(async (tx, volume) => {
      const others = await othersIn(tx.sql);
      // The others went meanwhile, each taking this one for somebody who still needs the server.
      if (others.length === 0 && !isLast) return undefined;
      await deleteAttachments(tx.sql, volumeId, id);
      await followAttachments(tx, volume, others);
      return others;
    });
    if (left !== undefined) return left;
  }
}

/** Returns the id of the new attachment. */
export async function reserve(tx: Tx, caller: Caller, order: ReserveOrder): Promise<string> {
  const { volumeId, instanceId } = order;
  const volume = await lockedVolume(tx, caller, volumeId, 'volume:attach');
  checkMode(volume, order.mode ?? order.connector?.mode ?? null);
  if (!(await move(tx.sql, volumeId, 'attachmentReserved', { previousStatus: null }))) {
    // One instance may have several: while it moves from host to host, say.
    const isAgain =
      can.reserveAgain(volume) &&
      instanceId !== null &&
      (await attachmentsOf(tx.sql, volumeId)).some((other) => other.instanceId === instanceId);
    if (!isAgain) {
      throw badRequest(
        `Invalid volume: Volume ${volumeId} status must be available or downloading to reserve, but the current status is ${volume.status}.`,
      );
    }
  }
  const id = newId();
  const mode = order.mode ?? (volume.readonly ? 'ro' : 'rw');
  const { projectId } = volume;
  await insertAttachment(tx.sql, { id, volumeId, projectId, instanceId, hostName: null, mountpoint: null, mode, status: 'reserved' });
  return id;
}

export async function completeAttachment(tx: Tx, volume: Volume, id: string): Promise<void> {
  // An image is being put on it, which counts on nobody having it open.
  if (volume.status === 'downloading') {
    throw badRequest(`Invalid volume: Volume ${volume.id} cannot be attached while its status is ${volume.status}.`);
  }
  await updateAttachment(tx.sql, id, { status: 'attached' });
  await followAttachments(tx, volume, await attachmentsOf(tx.sql, volume.id));
}

export async function beginConnect(
  tx: Tx,
  volume: Volume,
  attachment: Attachment,
  connector: Connector,
): Promise<{ volumeId: string; readOnly: boolean }> {
  checkMode(volume, connector.mode);
  if (!can.connect(volume)) {
    throw badRequest(`Invalid volume: Volume ${volume.id} cannot be connected while its status is ${volume.status}.`);
  }
  const mode = connector.mode ?? attachment.mode;
  const status = attachment.status === 'attached' ? 'attached' : 'attaching';
  await updateAttachment(tx.sql, attachment.id, { hostName: connector.host, mountpoint: connector.mountpoint, mode, status });
  await move(tx.sql, volume.id, 'attachmentConnecting', { previousStatus: null });
  return { volumeId: volume.id, readOnly: mode === 'ro' || volume.readonly === true };
}

function checkMode(volume: Volume, mode: 'rw' | 'ro' | null): void {
  if (volume.readonly && mode === 'rw') throw badRequest(`Invalid volume: Invalid attaching mode 'rw' for volume ${volume.id}.`);
}
