import { badRequest } from '../../lib/errors.ts';
import { lockedVolume } from './access.ts';
import type { VolumesForSnapshots } from './contract.ts';
import { can } from './states.ts';
import { findVolume, move } from './store.ts';

export function createVolumesForSnapshots(): VolumesForSnapshots {
  return {
    lock: (tx, caller, id) => lockedVolume(tx, caller, id, 'volume:get'),
    async lockForSnapshot(tx, caller, id, options) {
      const volume = await lockedVolume(tx, caller, id, 'volume:get');
      if (can.beSnapshotted(volume, options)) return volume;
      const wanted = options.inUse ? 'available or in-use' : 'available';
      throw badRequest(`Invalid volume: Volume ${id} status must be ${wanted}, but current status is: ${volume.status}.`);
    },
    beginRevert: async (tx, { id, attachments }) => attachments.length === 0 && (await move(tx.sql, id, 'revertBegun')),
    async endRevert(tx, id, outcome) {
      await move(tx.sql, id, outcome === 'done' ? 'reverted' : 'revertFailed');
    },
    topLayerOf: async (tx, id) => (await findVolume(tx.sql, id))?.topLayerId,
  };
}
