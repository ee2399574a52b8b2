import type { Image } from '../../../cloud/images/image.ts';
import type { ImageQuery } from '../../../cloud/images/list.ts';
import type { Timestamp } from '../../../lib/clock.ts';

/** Image shows whole seconds. */
const secondsOf = (time: Timestamp): string => `${time.slice(0, 19)}Z`;

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
    size: image.sizeBytes,
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

/** A page of a list. `search` is the query as it came; a full page may have another behind it. */
export function imageListView(images: readonly Image[], query: ImageQuery, search: string): Record<string, unknown> {
  const params = new URLSearchParams(search);
  params.delete('marker');
  const first = params.size === 0 ? '/v2/images' : `/v2/images?${params}`;
  const last = images.at(-1);
  params.append('marker', last?.id ?? '');
  return {
    images: images.map(imageView),
    first,
    ...(last !== undefined && images.length === query.limit ? { next: `/v2/images?${params}` } : {}),
    schema: '/v2/schemas/images',
  };
}
