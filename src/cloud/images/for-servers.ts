/** Images as servers use them. */
import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ImageFiles } from '../../engine/image-intake/files.ts';
import { syncFile, syncFolder } from '../../lib/durable-files.ts';
import { badRequest } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { isVisible } from './access.ts';
import type { Image } from './image.ts';
import { findImage, shareImage } from './store.ts';

export interface ImagesForServers {
  /** An active image that the caller may use, its row locked against deletion until the transaction ends. 400 otherwise. */
  get(tx: Tx, caller: Caller, imageId: string): Promise<Image>;
  /** Copies the bytes of an image, a kernel say, to a path. Repeatable. */
  copyTo(imageId: string, path: string): Promise<void>;
}

export function createImagesForServers({ database, files }: { database: Database; files: Pick<ImageFiles, 'read'> }): ImagesForServers {
  return {
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
