import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const mkfs = { ext4: ['/usr/sbin/mkfs.ext4', '-q', '-F'], xfs: ['/usr/sbin/mkfs.xfs', '-q', '-f'] } as const;
const check = { ext4: ['/usr/sbin/e2fsck', '-f', '-n'], xfs: ['/usr/sbin/xfs_repair', '-n'] } as const;

/** A raw disk that holds an empty file system, without a partition table. XFS needs 300 MiB. */
export async function makeFormattedDisk(path: string, kind: keyof typeof mkfs, sizeMib = kind === 'xfs' ? 320 : 64): Promise<void> {
  const disk = await open(path, 'w');
  await disk.truncate(sizeMib * 2 ** 20);
  await disk.close();
  const [command, ...args] = mkfs[kind];
  await run(command, [...args, path]);
}

/**
 * Rejects with what the checker says when the file system is not in order. Changes nothing, not even by replaying the journal. XFS leaves its journal
 * in use on purpose when it is frozen: mount it once before.
 */
export async function checkFormattedDisk(path: string, kind: keyof typeof check): Promise<void> {
  const [command, ...args] = check[kind];
  await run(command, [...args, path]);
}
