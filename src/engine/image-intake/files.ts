/**
 * Where the original bytes of images lie: `<folder>/<image id>/`.
 *
 *     data                  the image, once it was accepted
 *     upload-<id>           bytes that are arriving, or are being examined
 *     upload-<id>.extents   which ranges of them hold something
 *
 * A raw image shares its file (one inode, two names) with the base layer of the volumes made from it. So nothing here ever writes into
 * `data`; and who removes an image must wait for its readers before the base is given up, because a base that nobody names may be
 * merged into, and a reader that still had the file open would see that.
 */
import { createReadStream } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { ExtentSet } from '../disk/extent-set.ts';
import type { UploadTarget } from './upload.ts';

export interface ImageFiles {
  /** Makes the image's folder, and names the files of one upload attempt. */
  beginUpload(imageId: string, uploadId: string): Promise<UploadTarget>;
  uploadPath(imageId: string, uploadId: string): string;
  uploadedExtents(imageId: string, uploadId: string): Promise<ExtentSet>;
  /** Gives the upload's file a second name elsewhere. False where the file system cannot: another one, or one without links. */
  linkUpload(imageId: string, uploadId: string, path: string): Promise<boolean>;
  discardUpload(imageId: string, uploadId: string): Promise<void>;
  /** The upload becomes the image's data, durably. May be repeated. */
  publish(imageId: string, uploadId: string): Promise<void>;
  /** A part of the data, both ends included. The image counts as being read until the stream has closed. */
  read(imageId: string, range: { readonly start: number; readonly end: number }): Promise<Readable>;
  /** Removes all names, then waits until nobody reads what was behind them. */
  remove(imageId: string, signal: AbortSignal): Promise<void>;
  /** What may be kept of an image that nobody is working on: its data, one upload, or nothing. */
  sweep(imageId: string, keep: 'data' | 'nothing' | { readonly uploadId: string }): Promise<void>;
  imageIds(): Promise<string[]>;
}

const readChunkBytes = 256 * 1024;
const noLinkCodes = new Set(['EXDEV', 'EPERM', 'EMLINK', 'EOPNOTSUPP', 'ENOTSUP']);

export function createImageFiles(folder: string): ImageFiles {
  const readers = countReaders();
  const folderOf = (imageId: string): string => join(folder, imageId);
  const dataPath = (imageId: string): string => join(folderOf(imageId), 'data');
  const uploadPath = (imageId: string, uploadId: string): string => join(folderOf(imageId), `upload-${uploadId}`);
  const extentsPath = (imageId: string, uploadId: string): string => `${uploadPath(imageId, uploadId)}.extents`;

  return {
    uploadPath,
    async beginUpload(imageId, uploadId) {
      await mkdir(folderOf(imageId), { recursive: true, mode: 0o700 });
      // Also one that was there: it may have been made by a process that died before it could sync.
      await syncFolder(folder);
      return { path: uploadPath(imageId, uploadId), extentsPath: extentsPath(imageId, uploadId) };
    },
    uploadedExtents: async (imageId, uploadId) => ExtentSet.decode(await readFile(extentsPath(imageId, uploadId))),
    async linkUpload(imageId, uploadId, path) {
      await rm(path, { force: true });
      try {
        await link(uploadPath(imageId, uploadId), path);
        return true;
      } catch (error) {
        if (noLinkCodes.has((error as NodeJS.ErrnoException).code ?? '')) return false;
        throw error;
      }
    },
    async discardUpload(imageId, uploadId) {
      await rm(uploadPath(imageId, uploadId), { force: true });
      await rm(extentsPath(imageId, uploadId), { force: true });
    },
    async publish(imageId, uploadId) {
      try {
        await rename(uploadPath(imageId, uploadId), dataPath(imageId));
      } catch (error) {
        // A repeat finds the upload renamed already; then the data must be there.
        if (!isMissing(error)) throw error;
        await (await open(dataPath(imageId), 'r')).close();
      }
      await rm(extentsPath(imageId, uploadId), { force: true });
      await syncFolder(folderOf(imageId));
    },
    async read(imageId, range) {
      const file = await open(dataPath(imageId), 'r');
      const leave = readers.enter(imageId);
      const stream = createReadStream('', { fd: file, start: range.start, end: range.end, highWaterMark: readChunkBytes });
      stream.once('close', leave);
      return stream;
    },
    async remove(imageId, signal) {
      await removeFolder(folderOf(imageId));
      await readers.gone(imageId, signal);
    },
    async sweep(imageId, keep) {
      if (keep === 'nothing') return removeFolder(folderOf(imageId));
      const kept = keep === 'data' ? [dataPath(imageId)] : [uploadPath(imageId, keep.uploadId), extentsPath(imageId, keep.uploadId)];
      for (const name of await readdir(folderOf(imageId))) {
        if (!kept.includes(join(folderOf(imageId), name))) await rm(join(folderOf(imageId), name), { force: true });
      }
    },
    async imageIds() {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return await readdir(folder);
    },
  };
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Retries, because an upload that has not heard yet may add a file meanwhile. */
const removeFolder = (path: string): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface Readers {
  enter(imageId: string): () => void;
  /** Resolves at once when nobody reads. */
  gone(imageId: string, signal: AbortSignal): Promise<void>;
}

function countReaders(): Readers {
  const counts = new Map<string, number>();
  const waiting = new Map<string, (() => void)[]>();

  function leave(imageId: string): void {
    const count = (counts.get(imageId) ?? 0) - 1;
    if (count > 0) {
      counts.set(imageId, count);
      return;
    }
    counts.delete(imageId);
    for (const wake of waiting.get(imageId) ?? []) wake();
    waiting.delete(imageId);
  }

  return {
    enter(imageId) {
      counts.set(imageId, (counts.get(imageId) ?? 0) + 1);
      return () => leave(imageId);
    },
    gone(imageId, signal) {
      signal.throwIfAborted();
      if (!counts.has(imageId)) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const giveUp = (): void => reject(signal.reason);
        signal.addEventListener('abort', giveUp, { once: true });
        const wake = (): void => {
          signal.removeEventListener('abort', giveUp);
          resolve();
        };
        waiting.set(imageId, [...(waiting.get(imageId) ?? []), wake]);
      });
    },
  };
}
