/** What a volume's status is when attachments come and go. */
import type { Tx } from '../database/service.ts';
import type { Volume, VolumeAttachment } from './contract.ts';
import type { TransitionName, VolumeStatus } from './states.ts';
import { move, updateVolume } from './store.ts';

/** From the furthest to the nearest. */
const remains = [
  { attachment: 'attached', transition: 'attachedRemains', volume: 'in-use' },
  { attachment: 'attaching', transition: 'attachingRemains', volume: 'attaching' },
  { attachment: 'reserved', transition: 'reservedRemains', volume: 'reserved' },
] as const satisfies readonly { attachment: VolumeAttachment['status']; transition: TransitionName; volume: VolumeStatus }[];
const nothingRemains = { transition: 'detached', volume: 'available' } as const;

/**
 * The volume is what the furthest of the attachments is that are left. While something else has it (a backup, an upload, an image that is being put
 * on it), that is where it goes back to.
 */
export async function followAttachments(
  tx: Tx,
  volume: Pick<Volume, 'id' | 'previousStatus'>,
  left: readonly Pick<VolumeAttachment, 'status'>[],
): Promise<void> {
  const furthest = remains.find(({ attachment }) => left.some(({ status }) => status === attachment)) ?? nothingRemains;
  if (await move(tx.sql, volume.id, furthest.transition, { previousStatus: null })) return;
  if (volume.previousStatus !== null) await updateVolume(tx.sql, volume.id, { previousStatus: furthest.volume });
}
