/** A file system of its own that may be filled to its last byte: ext4 in a file. Only root can mount one. */
import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mustRun } from './clients.ts';

export interface SmallDisk {
  /** Where it is mounted; others may pass through. */
  readonly path: string;
  freeBytes(): Promise<number>;
  /** Takes what is free, to the last byte, before anything else can happen. */
  fill(): void;
  /** Gives back what `fill` took. */
  empty(): Promise<void>;
  unmount(): Promise<void>;
}

const mib = 2 ** 20;
const roundsMax = 20;
export const mayMount = process.getuid?.() === 0;

export async function makeSmallDisk(sizeMib: number): Promise<SmallDisk> {
  const folder = await mkdtemp(join(tmpdir(), 'sp-'));
  const [image, path] = [join(folder, 'image'), join(folder, 'd')];
  await writeFile(image, '');
  await mustRun('truncate', ['-s', `${sizeMib}M`, image]);
  // Nothing is set aside for root: programs of root and of others see the same end.
  await mustRun('/usr/sbin/mkfs.ext4', ['-q', '-m', '0', '-b', '4096', image]);
  await mkdir(path);
  await mustRun('mount', ['-o', 'loop', image, path]);
  for (const one of [folder, path]) await chmod(one, 0o711);
  const filler = join(path, 'filler');

  const freeBytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  };

  return {
    path,
    freeBytes,
    fill() {
      const file = openSync(filler, 'a');
      try {
        // Blocks that the file system had set aside for its own tables come back in the end.
        for (let round = 0; statfsSync(path).bavail > 0; round += 1) {
          if (round === roundsMax) throw new Error(`${path} does not become full`);
          for (const blockBytes of [mib, 4096, 1]) writeUntilFull(file, blockBytes);
          fsyncSync(file);
        }
      } finally {
        closeSync(file);
      }
    },
    empty: () => rm(filler, { force: true }),
    async unmount() {
      await mustRun('umount', ['-l', path]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function writeUntilFull(file: number, blockBytes: number): void {
  const block = Buffer.alloc(blockBytes);
  try {
    for (;;) writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
