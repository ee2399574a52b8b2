/**
 * A file of real bytes that does nothing but occupy space. When the file system is full PostgreSQL cannot even start; the ballast is
 * thrown off then, so that it can, and people get in to delete something. It comes back when there is plenty of room.
 */
import { randomBytes } from 'node:crypto';
import { open, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';

const fullBelowBytes = 48 * 2 ** 20;
const plentyFactor = 16;
const blockBytes = 2 ** 20;

/** Removes the ballast when the file system is full. True when that gave room. */
export async function dropBallastWhenFull(path: string): Promise<boolean> {
  if ((await freeBytes(dirname(path))) >= fullBelowBytes) return false;
  const size = (await stat(path).catch(() => undefined))?.size ?? 0;
  await rm(path, { force: true });
  return size > 0;
}

/** Random bytes, so that no file system can store them as less. */
export async function layBallast(path: string, sizeBytes: number): Promise<void> {
  const existing = (await stat(path).catch(() => undefined))?.size ?? 0;
  if (existing === sizeBytes || (await freeBytes(dirname(path))) < sizeBytes * plentyFactor) return;
  const partial = `${path}.partial`;
  const file = await open(partial, 'w', 0o600);
  try {
    const block = randomBytes(blockBytes);
    for (let written = 0; written < sizeBytes; written += blockBytes) await file.write(block, 0, Math.min(blockBytes, sizeBytes - written));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}
