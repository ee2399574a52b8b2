/** What a backup or a restore does to a volume's row. `contract.ts` says what each promises. */
import { badRequest } from '../../lib/errors.ts';
import type { Placement } from '../hosts/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { TypeChoice } from '../volume-types/service.ts';
import { lockedVolume } from './access.ts';
import type { Volume, VolumesForBackups } from './contract.ts';
import { checkedZone, checkSize, projectOf } from './create.ts';
import { quotaOfVolume } from './sizes.ts';
import { transitions } from './states.ts';
import { findVolume, insertVolume, move } from './store.ts';
import { checkAgainstType } from './type-limits.ts';

export interface ForBackupsDeps {
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly types: TypeChoice;
  readonly placement: Placement;
  readonly availabilityZone: string;
}

export function createVolumesForBackups(deps: ForBackupsDeps): VolumesForBackups {
  return {
    getForUpdate: (tx, caller, id) => lockedVolume(tx, caller, id, 'volume:get'),

    async beginBackup(tx, caller, id, { force }) {
      const volume = await lockedVolume(tx, caller, id, 'volume:get');
      if (!(transitions.backupBegun.from as readonly string[]).includes(volume.status)) {
        throw badRequest(
          `Invalid volume: Volume to be backed up must be available or in-use, but the current status is "${volume.status}".`,
        );
      }
      if (volume.status === 'in-use' && !force) {
        throw badRequest('Invalid volume: Backing up an in-use volume must use the force flag.');
      }
      await move(tx.sql, id, 'backupBegun', { previousStatus: volume.status });
      return volume;
    },

    async endBackup(tx, id, outcome) {
      await move(tx.sql, id, 'backupEnded', { previousStatus: outcome === 'failed' ? 'error_backing-up' : null });
    },

    async beginRestore(tx, caller, id, backup) {
      const volume = await lockedVolume(tx, caller, id, 'volume:get');
      const attached = volume.attachments.length > 0;
      if (attached || !(transitions.restoreBegun.from as readonly string[]).includes(volume.status)) {
        throw badRequest('Invalid volume: Volume to be restored to must be available');
      }
      if (volume.sizeGib < backup.sizeGib) {
        throw badRequest(`Invalid volume: volume size ${volume.sizeGib} is too small to restore backup of size ${backup.sizeGib}.`);
      }
      await move(tx.sql, id, 'restoreBegun');
      return volume;
    },

    async createForRestore(tx, caller, order) {
      const projectId = projectOf(caller);
      checkSize(order.sizeGib);
      const availabilityZone = checkedZone(order.availabilityZone ?? null, deps.availabilityZone);
      const type = await deps.types.choose(tx, caller, { asked: order.volumeType ?? null, fromSource: null });
      checkAgainstType(type, order.sizeGib, deps.availabilityZone);
      if (!(await deps.placement.takesVolume(tx.sql, type.extraSpecs))) {
        throw badRequest('Invalid volume: No valid backend was found. No weighed backends available');
      }
      await deps.quotas.reserve(tx, projectId, quotaOfVolume(type.name, order.sizeGib));
      await insertVolume(tx.sql, {
        id: order.id,
        projectId,
        userId: caller.userId,
        name: order.name,
        description: order.description,
        status: order.status,
        sizeGib: order.sizeGib,
        availabilityZone,
        volumeTypeId: type.id,
        bootable: order.bootable ?? false,
        snapshotId: null,
        sourceVolumeId: null,
        metadata: order.metadata ?? {},
        imageMetadata: order.imageMetadata ?? {},
      });
      return (await findVolume(tx.sql, order.id)) as Volume;
    },

    async endRestore(tx, id, facts) {
      await move(tx.sql, id, 'restored', facts);
    },

    async failRestore(tx, id, status) {
      await move(tx.sql, id, status === 'error' ? 'restoreOfNewFailed' : 'restoreFailed');
    },
  };
}
