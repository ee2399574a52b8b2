/**
 * Attaching and detaching: what a hypervisor, or our own `volume connect`, goes through.
 *
 * A volume that is attached is in-use, and its bytes are served by one process over NBD. The server is started when a client asks for a
 * connection, and ends (flushing first) when the last attachment goes, before the volume is available again: an available volume's disk is
 * open to nobody.
 */
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import { lockedVolume, visibleVolume } from './access.ts';
import { attachmentsOf, deleteAttachments, insertAttachment } from './attachment-store.ts';
import type { Volume, VolumeAttachment } from './contract.ts';
import { followAttachments } from './follow-attachments.ts';
import { refuseServers } from './refuse-servers.ts';
import { exportName } from './sizes.ts';
import type { ServerSources } from './sources.ts';
import { transitions } from './states.ts';
import { move, setStatus } from './store.ts';

export interface AttachOrder {
  readonly instanceId: string | null;
  readonly hostName: string | null;
  readonly mountpoint: string | null;
  readonly mode: 'rw' | 'ro';
}

export interface Connection {
  readonly socketPath: string;
  readonly exportName: string;
  readonly accessMode: 'rw' | 'ro';
}

export interface Attaching {
  reserve(caller: Caller, id: string): Promise<void>;
  unreserve(caller: Caller, id: string): Promise<void>;
  attach(caller: Caller, id: string, order: AttachOrder): Promise<void>;
  beginDetaching(caller: Caller, id: string): Promise<void>;
  rollDetaching(caller: Caller, id: string): Promise<void>;
  /** `attachmentId` may be left out when there is one. */
  detach(caller: Caller, id: string, attachmentId: string | null): Promise<void>;
  forceDetach(caller: Caller, id: string, attachmentId: string | null): Promise<void>;
  initializeConnection(caller: Caller, id: string, options: { readOnly: boolean }): Promise<Connection>;
  terminateConnection(caller: Caller, id: string): Promise<void>;
}

const connectable: readonly string[] = ['available', 'reserved', 'attaching', 'in-use'];

export function createAttaching(deps: {
  database: Database;
  disks: Pick<DisksService, 'openExport' | 'closeExport'>;
  servers?: ServerSources;
}): Attaching {
  const { database, disks } = deps;
  const locked = <T>(caller: Caller, id: string, work: (tx: Tx, volume: Volume) => Promise<T>): Promise<T> =>
    database.transact(async (tx) => await work(tx, await lockedVolume(tx, caller, id, 'volume:attach')));

  /** The server ends first: what it had not written yet belongs into the disk before anybody takes the volume for available. */
  async function detachFrom(caller: Caller, volume: Volume, attachmentId: string | null): Promise<void> {
    const attachment = chosenAttachment(volume, attachmentId);
    const isLast = volume.attachments.length <= 1;
    if (isLast) await disks.closeExport(volume.id);
    const isDone = await locked(caller, volume.id, async (tx, now) => {
      const others = (await attachmentsOf(tx.sql, volume.id)).filter(({ id }) => id !== attachment?.id);
      // The others went meanwhile, each taking this one for somebody who still needs the server.
      if (others.length === 0 && !isLast) return false;
      if (attachment !== undefined) await deleteAttachments(tx.sql, volume.id, attachment.id);
      await followAttachments(tx, now, others);
      return true;
    });
    if (!isDone) await detachFrom(caller, await visibleVolume(database, caller, volume.id, 'volume:attach'), attachmentId);
  }

  return {
    async reserve(caller, id) {
      await locked(caller, id, async (tx, volume) => {
        if (await move(tx.sql, id, 'reserved', { previousStatus: 'available' })) return;
        throw badRequest(
          `Invalid volume: Volume ${id} status must be available or downloading to reserve, but the current status is ${volume.status}.`,
        );
      });
    },
    async unreserve(caller, id) {
      await locked(caller, id, async (tx) => {
        // Of what attachments hold, it is they that let go.
        if ((await attachmentsOf(tx.sql, id)).length === 0) await move(tx.sql, id, 'unreserved', { previousStatus: null });
      });
    },
    async attach(caller, id, order) {
      await locked(caller, id, async (tx, volume) => {
        if (order.instanceId === null && order.hostName === null) {
          throw badRequest('Invalid volume: A volume is attached to an instance or to a host.');
        }
        if (volume.readonly && order.mode === 'rw') {
          throw badRequest(`Invalid attaching mode 'rw' for volume ${id}.`);
        }
        if (!(await move(tx.sql, id, 'attached', { previousStatus: null }))) {
          throw badRequest(`Invalid volume: Volume ${id} cannot be attached while its status is ${volume.status}.`);
        }
        await insertAttachment(tx.sql, { ...order, id: newId(), volumeId: id, projectId: volume.projectId, status: 'attached' });
      });
    },
    async beginDetaching(caller, id) {
      await locked(caller, id, async (tx, volume) => {
        if (volume.attachments.some(({ status }) => status === 'attached') && (await move(tx.sql, id, 'detachBegun'))) return;
        throw badRequest(
          `Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach.`,
        );
      });
    },
    async rollDetaching(caller, id) {
      await locked(caller, id, async (tx) => {
        await move(tx.sql, id, 'detachRolledBack');
      });
    },
    async detach(caller, id, attachmentId) {
      const volume = await visibleVolume(database, caller, id, 'volume:attach');
      // Nothing is left to do: clients that clean up ask twice.
      if (volume.status === 'available' && volume.attachments.length === 0) return;
      if (!(transitions.detached.from as readonly string[]).includes(volume.status)) {
        throw badRequest(`Invalid volume: Volume ${id} cannot be detached while its status is ${volume.status}.`);
      }
      await refuseServers(deps, chosenAttachment(volume, attachmentId));
      await detachFrom(caller, volume, attachmentId);
    },
    async forceDetach(caller, id, attachmentId) {
      const volume = await visibleVolume(database, caller, id, 'volume:attach');
      authorise(caller, 'volume:reset_status', volume);
      await detachFrom(caller, volume, attachmentId);
      if (volume.status === 'error') await setStatus(database.sql, id, 'available');
    },
    async initializeConnection(caller, id, options) {
      const volume = await visibleVolume(database, caller, id, 'volume:connect');
      if (!connectable.includes(volume.status)) {
        throw badRequest(`Invalid volume: Volume ${id} cannot be connected while its status is ${volume.status}.`);
      }
      const readOnly = options.readOnly || volume.readonly === true;
      const { socketPath } = await disks.openExport(id, { readOnly });
      await closeUnlessConnectable(caller, id);
      return { socketPath, exportName, accessMode: readOnly ? 'ro' : 'rw' };
    },
    async terminateConnection(caller, id) {
      const volume = await visibleVolume(database, caller, id, 'volume:connect');
      for (const attachment of volume.attachments) await refuseServers(deps, attachment);
      if (volume.attachments.length === 0 || volume.status === 'detaching') await disks.closeExport(id);
    },
  };

  /** The volume may have been deleted, or been given to a restore, while the server started: then nobody may use that server. */
  async function closeUnlessConnectable(caller: Caller, id: string): Promise<void> {
    const volume = await visibleVolume(database, caller, id, 'volume:connect');
    if (connectable.includes(volume.status) || volume.attachments.length > 0) return;
    await disks.closeExport(id);
    throw conflict(`Volume ${id} became ${volume.status} while it was being connected.`);
  }
}

function chosenAttachment(volume: Volume, attachmentId: string | null): VolumeAttachment | undefined {
  if (attachmentId !== null) {
    const found = isUuid(attachmentId) ? volume.attachments.find(({ id }) => id === attachmentId) : undefined;
    if (found === undefined) throw notFound(`Volume attachment could not be found with filter: attachment_id = ${attachmentId}.`);
    return found;
  }
  if (volume.attachments.length > 1) {
    throw badRequest('Invalid volume: Detach volume failed: More than one attachment, but no attachment_id provided.');
  }
  return volume.attachments[0];
}
