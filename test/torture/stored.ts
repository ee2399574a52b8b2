/** What backups hold, read from the repository itself: without the service, as an operator would who has nothing else left. */
import { open, rm } from 'node:fs/promises';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import type { RepositoryAddress } from '../../src/engine/transfer/contract.ts';
import { type OfflineRepository, openOfflineRepository, type StoredBackup } from '../../src/engine/transfer/offline-repository.ts';
import { type Contents, ContentsBuilder, pageBytes } from './contents.ts';
import { Found } from './model.ts';

const readBytesMax = 8 << 20;
const uncancelled = { signal: new AbortController().signal };

/** `work` gets the live backups, the oldest first. */
export async function withStored<T>(
  { store, keyFile }: Pick<RepositoryAddress, 'store' | 'keyFile'>,
  work: (stored: readonly StoredBackup[], repository: OfflineRepository) => Promise<T>,
): Promise<T> {
  const repository = await openOfflineRepository({ store, keyFile, workerCount: 1 });
  try {
    const stored: StoredBackup[] = [];
    const damage: string[] = [];
    for await (const one of repository.list((message) => damage.push(message))) stored.push(one);
    if (damage.length > 0) throw new Found(`the repository is damaged: ${damage.join('; ')}`);
    return await work(stored, repository);
  } finally {
    await repository.close();
  }
}

/** Restores a backup to a new file at `path`, and removes that again. */
export async function readStored(repository: OfflineRepository, stored: StoredBackup, path: string): Promise<Contents> {
  try {
    const outcome = await repository.restore(stored, path, uncancelled);
    // The file is new: where nothing was written it is a hole.
    const written = ExtentSet.decode(Buffer.from(outcome.allocated, 'base64')).alignTo(pageBytes).clamp(stored.sizeBytes);
    return await readRanges(path, stored.sizeBytes, written);
  } finally {
    await rm(path, { force: true });
  }
}

async function readRanges(path: string, sizeBytes: number, ranges: ExtentSet): Promise<Contents> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size !== sizeBytes) throw new Found(`a restored file has ${size} bytes instead of ${sizeBytes}`);
    const builder = new ContentsBuilder(sizeBytes);
    for (const [start, end] of ranges.ranges()) {
      for (let at = start; at < end; at += readBytesMax) {
        const bytes = Buffer.alloc(Math.min(readBytesMax, end - at));
        await file.read(bytes, 0, bytes.length, at);
        builder.add(at, bytes);
      }
    }
    return builder.build();
  } finally {
    await file.close();
  }
}
