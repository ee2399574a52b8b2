/** Disks of servers. `contract.ts` says what each call promises. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import { hostName } from '../hosts/contract.ts';
import type { Placement } from '../hosts/service.ts';
import { configuredDefaultId } from '../volume-types/service.ts';
import { lockedVolume } from './access.ts';
import { findAttachment, insertAttachment, updateAttachment } from './attachment-store.ts';
import { beginConnect, completeAttachment, endAttachment, reserve } from './attachments.ts';
import type { Attachment, PlannedDisk, Volume, VolumesForServers } from './contract.ts';
import { holderOf } from './create.job.ts';
import { type CreateDeps, planCreate } from './create.ts';
import { exportName, gib } from './sizes.ts';
import type { SnapshotSources } from './sources.ts';
import { deleteVolume, insertVolume, localDisks, lockVolume, move } from './store.ts';

export interface ForServersDeps extends Omit<CreateDeps, 'jobs' | 'disks' | 'snapshots'> {
  readonly database: Database;
  readonly snapshots: SnapshotSources;
  readonly disks: Pick<DisksService, 'hold' | 'release' | 'createDisk' | 'dropDisk' | 'openExport' | 'closeExport'>;
  readonly placement: Pick<Placement, 'takesVolume'>;
}

export function createVolumesForServers(deps: ForServersDeps): VolumesForServers {
  const { database, disks } = deps;

  /** Undefined once the volume is gone. */
  const locked = <T>(volumeId: string, work: (tx: Tx, volume: Volume) => Promise<T>): Promise<T | undefined> =>
    database.transact(async (tx) => {
      const volume = await lockVolume(tx.sql, volumeId);
      return volume === undefined ? undefined : await work(tx, volume);
    });

  const volumeOf = async (attachmentId: string): Promise<string> => {
    const attachment = await findAttachment(database.sql, attachmentId);
    if (attachment === undefined) throw new Error(`attachment ${attachmentId} was removed`);
    return attachment.volumeId;
  };

  return {
    lock: (tx, caller, id) => lockedVolume(tx, caller, id, 'volume:get'),

    async plan(tx, caller, order) {
      const { volumeId, topLayerId, sizeGib, pointId } = await planCreate(deps, tx, caller, order);
      return { volumeId, topLayerId, sizeGib, pointId };
    },

    async planLocal(tx, { serverId, userId, sizeGib, availabilityZone, pointId }) {
      const planned: PlannedDisk = { volumeId: newId(), topLayerId: newId(), sizeGib, pointId };
      await insertVolume(tx.sql, {
        id: planned.volumeId,
        projectId: localDisks,
        userId,
        name: `disk of server ${serverId}`,
        description: null,
        status: 'creating',
        sizeGib,
        availabilityZone,
        volumeTypeId: configuredDefaultId,
        bootable: true,
        snapshotId: null,
        sourceVolumeId: null,
        metadata: {},
        imageMetadata: {},
      });
      if (pointId !== null) await disks.hold(tx, pointId, holderOf(planned.volumeId));
      return planned;
    },

    async make({ volumeId, topLayerId, sizeGib, pointId }, { id, serverId }) {
      if (!(await deps.placement.takesVolume(database.sql, {})))
        throw new Error('No valid backend was found. No weighed backends available');
      await disks.createDisk(volumeId, { topLayerId, sizeBytes: sizeGib * gib, fromPointId: pointId });
      await locked(volumeId, async (tx, volume) => {
        await move(tx.sql, volumeId, 'created');
        if (pointId !== null) await disks.release(tx, pointId, holderOf(volumeId));
        if ((await findAttachment(tx.sql, id)) !== undefined) return;
        if (!(await move(tx.sql, volumeId, 'attachmentReserved'))) throw new Error(`volume ${volumeId} is ${volume.status}`);
        const { projectId } = volume;
        await insertAttachment(tx.sql, {
          id,
          volumeId,
          projectId,
          instanceId: serverId,
          hostName: null,
          mountpoint: null,
          mode: 'rw',
          status: 'reserved',
        });
      });
    },

    reserve: (tx, caller, { volumeId, serverId }) => reserve(tx, caller, { volumeId, instanceId: serverId, mode: null, connector: null }),

    async connect(attachmentId, mountpoint) {
      const volumeId = await volumeOf(attachmentId);
      const begun = await locked(volumeId, async (tx, volume) => {
        const attachment = await findAttachment(tx.sql, attachmentId);
        if (attachment === undefined) return undefined;
        return await beginConnect(tx, volume, attachment, { host: hostName, mountpoint, mode: attachment.mode });
      });
      if (begun === undefined) throw new Error(`attachment ${attachmentId} was removed`);
      const { readOnly } = begun;
      const { socketPath } = await disks.openExport(volumeId, { readOnly });
      return { socketPath, exportName, readOnly };
    },

    async complete(attachmentId, mountpoint) {
      await locked(await volumeOf(attachmentId), async (tx, volume) => {
        await updateAttachment(tx.sql, attachmentId, { hostName, mountpoint });
        await completeAttachment(tx, volume, attachmentId);
      });
    },

    async beginRelease(tx, caller, { volumeId, attachmentId }) {
      const volume = await lockedVolume(tx, caller, volumeId, 'volume:attach');
      if ((await findAttachment(tx.sql, attachmentId)) === undefined) return;
      if (await move(tx.sql, volumeId, 'detachBegun')) return;
      throw badRequest(
        `Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach. Its status is ${volume.status}.`,
      );
    },

    async keep(volumeId) {
      await move(database.sql, volumeId, 'detachRolledBack');
    },

    disconnect: (volumeId) => disks.closeExport(volumeId),

    async release(volumeId, attachmentId) {
      if ((await findAttachment(database.sql, attachmentId)) === undefined) return;
      // With a volume that is gone went its attachments.
      const whileThere = (work: (tx: Tx, volume: Volume) => Promise<Attachment[] | undefined>) =>
        database.transact(async (tx) => {
          const volume = await lockVolume(tx.sql, volumeId);
          return volume === undefined ? [] : await work(tx, volume);
        });
      await endAttachment(deps, { id: attachmentId, volumeId }, whileThere);
    },

    async remove({ volumeId, pointId }) {
      const isGoing = await locked(volumeId, async (tx, volume) => {
        if (volume.attachments.length > 0) return false;
        const hasSnapshots = (await deps.snapshots.countOf(tx, volumeId)) > 0;
        return !hasSnapshots && ((await move(tx.sql, volumeId, 'serverDiskDeleteBegun')) || volume.status === 'deleting');
      });
      if (isGoing !== true) return;
      try {
        await disks.dropDisk(volumeId);
      } catch (error) {
        // Whoever began this may give up; then it is its owner who tries again.
        await move(database.sql, volumeId, 'deleteFailed');
        throw error;
      }
      await database.transact(async (tx) => {
        if (pointId !== null) await disks.release(tx, pointId, holderOf(volumeId));
        await deleteVolume(tx.sql, volumeId);
      });
    },
  };
}
