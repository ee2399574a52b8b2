/**
 * Files that are there after a power cut: bytes reach the disk before the name does, and the name before success is told.
 */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes names created, renamed or removed in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

export interface FilePart {
  readonly atBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Puts a file (mode 0600) in its place as a whole: afterwards there is the old file or the new one, never a part. What lies between
 * the parts, and behind them up to `sizeBytes`, is a hole. A crash may leave `<path>.new`, which the next attempt overwrites.
 */
export async function replaceFileDurably(path: string, parts: readonly FilePart[], sizeBytes: number): Promise<void> {
  const interim = `${path}.new`;
  try {
    const file = await open(interim, 'w', 0o600);
    try {
      for (const part of parts) await file.write(part.bytes, 0, part.bytes.length, part.atBytes);
      await file.truncate(sizeBytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(interim, path);
  } catch (error) {
    await rm(interim, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

export function replaceBytesDurably(path: string, bytes: Uint8Array): Promise<void> {
  return replaceFileDurably(path, [{ atBytes: 0, bytes }], bytes.length);
}

/** Removes a file, or nothing when there is none, and makes that durable. */
export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncFolder(dirname(path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}
