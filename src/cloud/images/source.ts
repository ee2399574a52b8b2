/** Images as volumes see them: the port that `cloud/volumes` declares. */
import { badRequest } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { StringMap, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { ImageSource, ImageSources } from '../volumes/sources.ts';
import { isVisible } from './access.ts';
import type { Image } from './image.ts';
import { can } from './states.ts';
import { shareImage } from './store.ts';

export const imageSources: ImageSources = {
  async sourceFor(tx: Tx, caller: Caller, imageId: string): Promise<ImageSource> {
    const image = isUuid(imageId) ? await shareImage(tx.sql, imageId) : undefined;
    if (image === undefined || !(await isVisible(tx.sql, caller, image)) || !can.startVolume(image) || image.pointId === null) {
      throw badRequest('Invalid image identifier or unable to access requested image.');
    }
    return {
      imageId: image.id,
      pointId: image.pointId,
      virtualSizeBytes: image.virtualBytes ?? image.sizeBytes ?? 0,
      minDiskGib: image.minDiskGib,
      metadata: volumeMetadata(image),
      volumeType: image.properties.cinder_img_volume_type ?? null,
    };
  },
};

/** All texts, as Block Storage keeps them; what the image does not say is left out. */
function volumeMetadata(image: Image): StringMap {
  const facts = {
    image_id: image.id,
    image_name: image.name,
    checksum: image.checksum,
    container_format: image.containerFormat,
    disk_format: image.diskFormat,
    min_disk: image.minDiskGib,
    min_ram: image.minRamMib,
    size: image.sizeBytes,
  };
  const said = Object.entries(facts).filter(([, value]) => value !== null);
  return { ...image.properties, ...Object.fromEntries(said.map(([key, value]) => [key, String(value)])) };
}
