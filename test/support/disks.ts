import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun } from './clients.ts';

/** A raw disk with an ext4 file system of real files in `folder`, of which half do not compress. Returns its path. */
export async function makeExt4Disk(folder: string, sizeMib: number): Promise<string> {
  const files = join(folder, 'files');
  await mkdir(files, { recursive: true });
  await mustRun('cp', ['-r', '/usr/share/perl5', files]).catch(() => undefined);
  await writeFile(join(files, 'random.bin'), randomBytes((sizeMib << 20) / 8));
  await writeFile(join(files, 'text.txt'), 'the same line again\n'.repeat(100_000));
  const disk = join(folder, 'disk.raw');
  await writeFile(disk, '');
  await truncate(disk, sizeMib << 20);
  await mustRun('/usr/sbin/mkfs.ext4', ['-q', '-d', files, disk]);
  return disk;
}

export async function toQcow2(raw: string): Promise<string> {
  const qcow2 = raw.replace(/raw$/, 'qcow2');
  await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
  return qcow2;
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const block of createReadStream(path)) hash.update(block as Buffer);
  return hash.digest('hex');
}

/** Writes random blocks at offsets spread over the disk, to a local raw copy and (the same bytes) through NBD. */
export async function scatterWrites(uri: string, model: string, blocks: readonly { offset: number; length: number }[]): Promise<void> {
  const file = await open(model, 'r+');
  for (const { offset, length } of blocks) {
    const pattern = 1 + (Math.floor(offset / 512) % 254);
    await file.write(Buffer.alloc(length, pattern), 0, length, offset);
    await mustRun('qemu-io', ['-f', 'raw', '-c', `write -q -P ${pattern} ${offset} ${length}`, uri]);
  }
  await file.close();
}

/** Copies the disk behind an NBD address into a raw file. */
export async function readNbd(uri: string, path: string): Promise<void> {
  await mustRun('nbdcopy', [uri, path]);
}
