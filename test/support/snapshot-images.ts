import type { ImageSources } from '../../src/cloud/volumes/service.ts';

/** An image here is what a snapshot holds, under the snapshot's id. */
export const snapshotImages: ImageSources = {
  async sourceFor(tx, _caller, imageId) {
    const row = await tx.sql.selectFrom('snapshots').select(['point_id', 'size_gib']).where('id', '=', imageId).executeTakeFirst();
    if (row === undefined || row.point_id === null) throw new Error(`there is no image ${imageId} here`);
    const virtualSizeBytes = row.size_gib * 2 ** 30;
    return { imageId, pointId: row.point_id, virtualSizeBytes, minDiskGib: 0, metadata: { image_id: imageId }, volumeType: null };
  },
};
