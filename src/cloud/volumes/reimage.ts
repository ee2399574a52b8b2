/** The request to put an image on a volume that is there: every check first, then the row and the saga in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Jobs } from '../jobs/service.ts';
import { lockedVolume } from './access.ts';
import { checkImageFits } from './create.ts';
import { type ReimageInput, reimageHolderOf, reimageKind } from './reimage.job.ts';
import type { ImageSources } from './sources.ts';
import { can } from './states.ts';
import { move } from './store.ts';

export interface ReimageOrder {
  readonly volumeId: string;
  readonly imageId: string;
  /** A volume that is reserved may be meant, too: it stays reserved. */
  readonly evenReserved: boolean;
}

export interface ReimageDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly disks: Pick<DisksService, 'hold'>;
  readonly images: ImageSources;
}

export async function beginReimage({ jobs, disks, images }: ReimageDeps, tx: Tx, caller: Caller, order: ReimageOrder): Promise<void> {
  const volume = await lockedVolume(tx, caller, order.volumeId, 'volume:reimage');
  const { id, status, sizeGib, projectId } = volume;
  if (!can.beReimaged(volume, order)) {
    const wanted = order.evenReserved ? 'available or error or reserved' : 'available or error';
    throw badRequest(`Invalid volume: Volume ${id} status must be ${wanted}, but current status is: ${status}.`);
  }
  const image = await images.sourceFor(tx, caller, order.imageId);
  checkImageFits(image, sizeGib);
  // What was in error is whole again afterwards.
  await move(tx.sql, id, 'reimageBegun', { previousStatus: status === 'error' ? 'available' : status });
  await disks.hold(tx, image.pointId, reimageHolderOf(id));
  const input: ReimageInput = { volumeId: id, sizeGib, pointId: image.pointId, topLayerId: newId(), imageMetadata: image.metadata };
  await jobs.start(tx, { kind: reimageKind, subjectId: id, projectId, input, requestId: caller.requestId });
}
