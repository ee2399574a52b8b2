import { badRequest } from '../../lib/errors.ts';
import { lockedVolume } from './access.ts';
import type { VolumesForImages } from './contract.ts';
import { move } from './store.ts';

export function createVolumesForImages(): VolumesForImages {
  const lock: VolumesForImages['lock'] = (tx, caller, id) => lockedVolume(tx, caller, id, 'volume:upload_image');
  return {
    lock,
    async beginUpload(tx, caller, id) {
      const volume = await lock(tx, caller, id);
      if (await move(tx.sql, id, 'uploadBegun', { previousStatus: volume.status })) return volume;
      throw badRequest(
        `Invalid volume: Volume ${id} status must be available to copy volume to image, but the current status is ${volume.status}.`,
      );
    },
    async endUpload(tx, id) {
      await move(tx.sql, id, 'uploadEnded', { previousStatus: null });
    },
  };
}
