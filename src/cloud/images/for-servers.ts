/** Images as servers use them. */
import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { syncFile, syncFolder } from '../../lib/durable-files.ts';
import { badRequest } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { StringMap, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import { isVisible } from './access.ts';
import { checkLimits } from './changes.ts';
import type { Image } from './image.ts';
import { createPointImages, type PointImageDeps, type PointImages } from './point-image.ts';
import { type ImageLimitSource, reserveImages } from './quota.ts';
import { changeStatus, deleteImage, findImage, insertImage, registerImage, shareImage } from './store.ts';

/** An image of a server, as it is registered before there is anything of it. */
export interface ServerImageOrder {
  readonly id: string;
  readonly owner: string;
  readonly name: string;
  readonly minDiskGib: number;
  readonly minRamMib: number;
  readonly properties: StringMap;
  /** Its bytes follow, by `point`; without any it is active at once, and only names snapshots. */
  readonly hasBytes: boolean;
}

export interface ImagesForServers {
  /** Refused by the limits and quotas of images. */
  register(tx: Tx, caller: Caller, order: ServerImageOrder): Promise<void>;
  /** It came to nothing, and leaves nothing. Repeatable. */
  drop(tx: Tx, imageId: string): Promise<void>;
  /** How its bytes are written. */
  readonly point: PointImages;
  /** An active image that the caller may use, its row locked against deletion until the transaction ends. 400 otherwise. */
  get(tx: Tx, caller: Caller, imageId: string): Promise<Image>;
  /** Copies the bytes of an image, a kernel say, to a path. Repeatable. */
  copyTo(imageId: string, path: string): Promise<void>;
}

export interface ImagesForServersDeps extends PointImageDeps {
  readonly quota: ImageLimitSource;
}

export function createImagesForServers(deps: ImagesForServersDeps): ImagesForServers {
  const { database, clock } = deps;
  const { files } = deps.intake;
  return {
    point: createPointImages(deps),
    async register(tx, caller, { id, owner, name, minDiskGib, minRamMib, properties, hasBytes }) {
      authorise(caller, 'image:create', { projectId: owner });
      checkLimits({ properties, tags: [] });
      await reserveImages(deps.quota, tx, owner, { image_count_total: 1, ...(hasBytes && { image_count_uploading: 1 }) });
      const attributes = { name, owner, visibility: 'private', protected: false, hidden: false } as const;
      const formats = { containerFormat: null, diskFormat: null };
      await insertImage(tx.sql, id, { ...attributes, ...formats, minDiskGib, minRamMib, tags: [], properties }, clock.nowText());
      if (hasBytes) await changeStatus(tx.sql, id, 'uploadBegun', clock.nowText());
      else await registerImage(tx.sql, id, clock.nowText());
    },
    drop: (tx, imageId) => deleteImage(tx.sql, imageId),
    async get(tx, caller, imageId) {
      const image = isUuid(imageId) ? await shareImage(tx.sql, imageId) : undefined;
      if (image === undefined || !(await isVisible(tx.sql, caller, image))) throw badRequest(`Can not find requested image`);
      if (image.status !== 'active') throw badRequest(`Image ${imageId} is not active.`);
      return image;
    },
    async copyTo(imageId, path) {
      const image = await findImage(database.sql, imageId);
      if (image?.sizeBytes === undefined || image.sizeBytes === null || image.sizeBytes === 0)
        throw new Error(`image ${imageId} has no data`);
      const partPath = `${path}.part`;
      await pipeline(await files.read(imageId, { start: 0, end: image.sizeBytes - 1 }), createWriteStream(partPath, { mode: 0o600 }));
      await syncFile(partPath);
      await rename(partPath, path);
      await syncFolder(dirname(path));
    },
  };
}
