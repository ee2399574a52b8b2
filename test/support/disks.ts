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

export interface Block {
  readonly offset: number;
  readonly length: number;
}

/** `count` blocks spread evenly over a disk, each at an odd place of its own. */
export function scatteredBlocks(sizeBytes: number, count: number, length = 65_536): Block[] {
  const stride = Math.floor(sizeBytes / count);
  return Array.from({ length: count }, (_, index) => ({
    offset: Math.floor((index * stride + (index % 7) * 4096) / 4096) * 4096,
    length,
  })).filter((block) => block.offset + length <= sizeBytes);
}

/** Writes the same bytes into a local raw model of the disk and, durably, through NBD. */
export async function writeBlocks(uri: string, model: string, blocks: readonly Block[], seed: number): Promise<void> {
  const file = await open(model, 'r+');
  const commands: string[] = [];
  for (const [index, { offset, length }] of blocks.entries()) {
    const pattern = 1 + ((seed * 31 + index) % 254);
    await file.write(Buffer.alloc(length, pattern), 0, length, offset);
    commands.push('-c', `write -q -P ${pattern} ${offset} ${length}`);
  }
  await file.close();
  await mustRun('qemu-io', ['-f', 'raw', ...commands, '-c', 'flush', uri]);
}

/** Copies the disk behind an NBD address into a raw file. */
export async function readNbd(uri: string, path: string): Promise<void> {
  await mustRun('nbdcopy', [uri, path]);
}
