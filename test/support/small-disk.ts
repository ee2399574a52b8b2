/** A file system of its own that may be filled to its last byte: ext4 in a file. Only root can mount one. */
import { chmod, mkdir, mkdtemp, open, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mustRun, run } from './clients.ts';

export interface SmallDisk {
  /** Where it is mounted; others may pass through. */
  readonly path: string;
  freeBytes(): Promise<number>;
  /** Takes what is free, down to `leaveBytes`; 0 = to the last byte. */
  fill(leaveBytes?: number): Promise<void>;
  /** Gives back what `fill` took. */
  empty(): Promise<void>;
  unmount(): Promise<void>;
}

const mib = 2 ** 20;
export const mayMount = process.getuid?.() === 0;

export async function makeSmallDisk(sizeMib: number): Promise<SmallDisk> {
  const folder = await mkdtemp(join(tmpdir(), 'sp-'));
  const [image, path] = [join(folder, 'image'), join(folder, 'd')];
  await writeFile(image, '');
  await mustRun('truncate', ['-s', `${sizeMib}M`, image]);
  // Nothing is set aside for root: programs of root and of others see the same end.
  await mustRun('/usr/sbin/mkfs.ext4', ['-q', '-m', '0', image]);
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
    async fill(leaveBytes = 0) {
      if (leaveBytes > 0) {
        const bytes = (await freeBytes()) - leaveBytes;
        if (bytes > 0) await mustRun('fallocate', ['--offset', String(await sizeOf(filler)), '--length', String(bytes), filler]);
        return;
      }
      for (const blockBytes of [mib, 4096, 1])
        await run('dd', ['if=/dev/zero', `of=${filler}`, `bs=${blockBytes}`, 'oflag=append', 'conv=notrunc']);
      if ((await freeBytes()) > 0) throw new Error(`${await freeBytes()} bytes are still free`);
    },
    empty: () => rm(filler, { force: true }),
    async unmount() {
      await mustRun('umount', ['-l', path]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function sizeOf(path: string): Promise<number> {
  const file = await open(path, 'a');
  try {
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}
