/**
 * The data that benchmarks move: a raw ext4 image of real system files with a share of incompressible data, and two shapes of change.
 * It is made once and kept, with the set of ranges that hold data beside it, as an image intake leaves it.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { ExtentSet } from '../src/engine/disk/extent-set.ts';
import { extentsFileOf } from '../src/engine/disk/raw-layer.ts';

const MIB = 1024 * 1024;
const BLOCK_BYTES = 64 * 1024;

export interface DatasetShape {
  readonly sizeBytes: number;
  readonly systemBytes: number;
  readonly randomBytes: number;
}

/** 4 GiB, of which about 2.2 GB hold data. */
export const standardShape: DatasetShape = { sizeBytes: 4096 * MIB, systemBytes: 1720 * MIB, randomBytes: 400 * MIB };

export interface Dataset {
  readonly imagePath: string;
  readonly sizeBytes: number;
  readonly allocated: ExtentSet;
}

/** Makes the image in `folder`, or finds the one that was made there. Without the rights of root: `mke2fs -d` fills it. */
export function makeDataset(folder: string, shape: DatasetShape = standardShape): Dataset {
  mkdirSync(folder, { recursive: true });
  const imagePath = join(folder, `disk-${shape.sizeBytes}-${shape.systemBytes}-${shape.randomBytes}.raw`);
  if (!existsSync(imagePath)) {
    const stage = join(folder, 'stage');
    const unfinished = `${imagePath}.part`;
    rmSync(stage, { recursive: true, force: true });
    mkdirSync(join(stage, 'random'), { recursive: true });
    copySystemFiles(stage, shape.systemBytes);
    for (let i = 0; i * 8 * MIB < shape.randomBytes; i += 1) writeFileSync(join(stage, 'random', `${i}`), randomBytes(8 * MIB));
    rmSync(unfinished, { force: true });
    const options = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-d', stage, unfinished, String(shape.sizeBytes / 4096)];
    execFileSync('mke2fs', options, { stdio: ['ignore', 'ignore', 'inherit'] });
    rmSync(stage, { recursive: true, force: true });
    renameSync(unfinished, imagePath);
  }
  const allocated = scanData(imagePath, shape.sizeBytes);
  writeFileSync(extentsFileOf(imagePath), allocated.encode());
  return { imagePath, sizeBytes: shape.sizeBytes, allocated };
}

/** Files of the running system, folder by folder, until there are enough. */
function copySystemFiles(stage: string, wantedBytes: number): void {
  let left = wantedBytes;
  const copyFolder = (from: string, to: string): void => {
    mkdirSync(to, { recursive: true });
    for (const name of readdirSync(from).sort()) {
      const path = join(from, name);
      const stat = lstatSync(path);
      if (left <= 0) return;
      if (stat.isDirectory()) copyFolder(path, join(to, name));
      if (!stat.isFile() || stat.size > 64 * MIB || stat.size > left) continue;
      cpSync(path, join(to, name));
      // A file takes whole blocks, and its inode.
      left -= Math.ceil(stat.size / 4096) * 4096 + 256;
    }
  };
  for (const root of ['/usr/lib', '/usr/bin', '/usr/share']) copyFolder(root, join(stage, root));
}

/** The 64 KiB blocks that hold anything but zeroes. */
export function scanData(path: string, sizeBytes: number): ExtentSet {
  const builder = ExtentSet.builder();
  const zeroes = Buffer.alloc(BLOCK_BYTES);
  const buffer = Buffer.alloc(16 * BLOCK_BYTES);
  const fd = openSync(path, 'r');
  for (let offset = 0; offset < sizeBytes; offset += buffer.length) {
    const count = readSync(fd, buffer, 0, buffer.length, offset);
    for (let at = 0; at < count; at += BLOCK_BYTES) {
      const end = Math.min(count, at + BLOCK_BYTES);
      if (!buffer.subarray(at, end).equals(zeroes.subarray(0, end - at))) builder.add(offset + at, offset + end);
    }
  }
  closeSync(fd);
  return builder.build();
}

export type ChangeShape = 'scattered' | 'runs';

/** 20 runs of 4 MiB change about as much as 2 % of the standard image in scattered blocks. */
const RUN_BYTES = 4 * MIB;

/**
 * Changes a part of the allocated blocks in place and returns which. New content is other content of the same disk with some bytes of each
 * 4 KiB changed: it compresses like the rest and is found nowhere else.
 */
export function changeDataset(dataset: Dataset, shape: ChangeShape, fraction: number, seed: number): ExtentSet {
  const random = randomNumbers(seed);
  const blocks: number[] = [];
  for (const [start, end] of dataset.allocated.ranges()) for (let at = start; at < end; at += BLOCK_BYTES) blocks.push(at);
  const wanted = Math.round((blocks.length * fraction * BLOCK_BYTES) / (shape === 'runs' ? RUN_BYTES : BLOCK_BYTES));
  const unit = shape === 'runs' ? RUN_BYTES : BLOCK_BYTES;
  const changed = ExtentSet.builder();
  const fd = openSync(dataset.imagePath, 'r+');
  const chosen = new Set<number>();
  while (chosen.size < wanted) {
    const block = blocks[Math.floor(random() * blocks.length)] as number;
    const start = Math.floor(block / unit) * unit;
    if (chosen.has(start) || start + unit > dataset.sizeBytes) continue;
    chosen.add(start);
    const content = Buffer.alloc(unit);
    readSync(fd, content, 0, unit, blocks[Math.floor(random() * blocks.length)] as number);
    for (let at = 0; at + 32 <= unit; at += 4096) randomBytes(32).copy(content, at + Math.floor(random() * 4064));
    writeSync(fd, content, 0, unit, start);
    changed.add(start, start + unit);
  }
  closeSync(fd);
  return changed.build();
}

/** A copy of the image that keeps its holes, so that a run can change it. */
export function copyDataset(dataset: Dataset, imagePath: string): Dataset {
  const from = openSync(dataset.imagePath, 'r');
  const to = openSync(imagePath, 'w');
  const buffer = Buffer.alloc(4 * MIB);
  for (const [start, end] of dataset.allocated.ranges()) {
    for (let at = start; at < end; at += buffer.length) {
      const length = Math.min(buffer.length, end - at);
      readSync(from, buffer, 0, length, at);
      writeSync(to, buffer, 0, length, at);
    }
  }
  ftruncateSync(to, dataset.sizeBytes);
  closeSync(from);
  closeSync(to);
  writeFileSync(extentsFileOf(imagePath), dataset.allocated.encode());
  return { ...dataset, imagePath };
}

/** A small generator with a seed (mulberry32), so that two runs change the same blocks. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}
