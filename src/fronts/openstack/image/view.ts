import type { Image } from '../../../cloud/images/image.ts';
import type { ImageQuery } from '../../../cloud/images/list.ts';
import type { Timestamp } from '../../../lib/clock.ts';

/** Image shows whole seconds. */
export const secondsOf = (time: Timestamp): string => `${time.slice(0, 19)}Z`;

/** An image as the wire has it: its properties lie flat among the attributes. */
export function imageView(image: Image): Record<string, unknown> {
  const path = `/v2/images/${image.id}`;
  return {
    ...image.properties,
    id: image.id,
    name: image.name,
    status: image.status,
    visibility: image.visibility,
    protected: image.protected,
    os_hidden: image.hidden,
    owner: image.owner,
    container_format: image.containerFormat,
    disk_format: image.diskFormat,
    min_disk: image.minDiskGib,
    min_ram: image.minRamMib,
    size: image.sizeBytes ?? image.staged?.sizeBytes ?? null,
    virtual_size: image.virtualBytes,
    checksum: image.checksum,
    os_hash_algo: image.hashAlgorithm,
    os_hash_value: image.hashValue,
    created_at: secondsOf(image.createdAt),
    updated_at: secondsOf(image.updatedAt),
    tags: [...image.tags],
    self: path,
    file: `${path}/file`,
    schema: '/v2/schemas/image',
  };
}

/** A page of a list; a full page may have another behind it. */
export function imageListView(images: readonly Image[], query: ImageQuery, url: string): Record<string, unknown> {
  return {
    images: images.map(imageView),
    ...nextPage('/v2/images', url, images.length === query.limit ? images.at(-1)?.id : undefined),
    schema: '/v2/schemas/images',
  };
}

/** Links to the first page of a list and to the one behind `marker`, asked for as this one was. */
export function nextPage(path: string, url: string, marker: string | undefined): { first: string; next?: string } {
  const params = new URLSearchParams(url.split('?', 2)[1] ?? '');
  params.delete('marker');
  const first = params.size === 0 ? path : `${path}?${params}`;
  if (marker === undefined) return { first };
  params.append('marker', marker);
  return { first, next: `${path}?${params}` };
}
