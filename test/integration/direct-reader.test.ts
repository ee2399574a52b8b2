import { execFile, execFileSync } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskLayer, DiskReader } from '../../src/engine/disk/contract.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { layerChanges } from '../../src/engine/disk/layer-content.ts';
import { type OpenDiskOptions, openDisk } from '../../src/engine/disk/open-disk.ts';
import { extentsFileOf } from '../../src/engine/disk/raw-layer.ts';
import { type Dice, dice } from '../support/dice.ts';
import { bytesByQemu, dataByQemu, inPairs, makeRandomDisks, type RandomDisk, removeDisk, writeContents } from '../support/random-disks.ts';

/**
 * Our reader against QEMU's, on disks with random histories. `STILLPOINT_READER_IMAGES` sets of how many files at least; a disk has up to
 * five. `STILLPOINT_TEST_SEED` repeats a run, or (with one image) a single disk.
 */
const run = promisify(execFile);
const imageCount = Number(process.env.STILLPOINT_READER_IMAGES ?? 240);
const firstSeed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const batchSize = 16;
const randomReads = 12;
const patienceMs = 60_000 + imageCount * 1500;

const modes: Readonly<Record<string, OpenDiskOptions>> = {
  'through the page cache': { directFromBytes: Number.POSITIVE_INFINITY },
  'past the page cache': { directFromBytes: 0 },
};

/** Undefined: as large as it comes, which most disks here fit into. */
const partSizes = [undefined, 512, 65_536, 262_144];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'direct-reader-'));
  writeContents(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const wholeOf = (sizeBytes: number): ExtentSet => ExtentSet.of([[0, sizeBytes]]);

function readAll(reader: DiskReader, stepBytes: number): Buffer {
  const bytes = Buffer.alloc(reader.sizeBytes, 0xee);
  for (let at = 0; at < bytes.length; at += stepBytes) reader.readSync(bytes.subarray(at, at + stepBytes), at);
  return bytes;
}

/** Not by `expect`: a difference is one number, not two disks. */
function mustEqual(got: Buffer, wanted: Buffer, what: string): void {
  if (got.equals(wanted)) return;
  const at = got.findIndex((byte, index) => byte !== wanted[index]);
  throw new Error(`${what} differs at ${at}: ${got[at]} instead of ${wanted[at]}`);
}

function checkReads(reader: DiskReader, wanted: Buffer, random: Dice): void {
  const stepBytes = random.pick([512, 4096, 65_536, 100_001, 1_048_576, 4_194_304]);
  mustEqual(readAll(reader, stepBytes), wanted, `the disk read in steps of ${stepBytes}`);
  for (let i = 0; i < randomReads; i += 1) {
    const start = random.below(wanted.length);
    const end = Math.min(wanted.length, start + random.below(random.pick([10, 5000, 300_000])));
    const got = Buffer.alloc(end - start, 0xee);
    reader.readSync(got, start);
    mustEqual(got, wanted.subarray(start, end), `a read of [${start}, ${end})`);
  }
}

function checkAllocated(allocated: ExtentSet, wanted: Buffer, byQemu: ExtentSet, disk: RandomDisk): void {
  if (!allocated.clamp(wanted.length).equals(allocated)) throw new Error('more is allocated than the disk is long');
  for (const [start, end] of wholeOf(wanted.length).subtract(allocated).ranges()) {
    mustEqual(wanted.subarray(start, end), Buffer.alloc(end - start), `what is not allocated, from ${start}`);
  }
  // Notes beside a raw base say more than the file system does, which counts in blocks.
  if (existsSync(extentsFileOf(disk.layers[0]?.path ?? ''))) return;
  const missing = byQemu.subtract(allocated);
  if (!missing.isEmpty) throw new Error(`QEMU has data at ${JSON.stringify([...missing.ranges()])}, which is not allocated`);
}

/** What the top layer does not count as changed is what it was without the layer. */
async function checkChanges(disk: RandomDisk, wanted: Buffer): Promise<void> {
  const [top, ...below] = disk.layers.toReversed();
  if (top === undefined) return;
  const reader = openDisk({ layers: below.reverse(), sizeBytes: disk.sizeBytes });
  const before = readAll(reader, 1_048_576);
  reader.close();
  for (const [start, end] of wholeOf(wanted.length)
    .subtract(await layerChanges(top))
    .ranges()) {
    mustEqual(wanted.subarray(start, end), before.subarray(start, end), `what did not change, from ${start}`);
  }
}

async function checkDisk(disk: RandomDisk, wanted: Buffer, byQemu: ExtentSet): Promise<void> {
  for (const [mode, options] of Object.entries(modes)) {
    const random = dice(disk.seed);
    const partBytes = random.pick(partSizes);
    const reader = openDisk(disk, partBytes === undefined ? options : { ...options, partBytes });
    try {
      checkReads(reader, wanted, random);
      const allocated = reader.allocated();
      checkAllocated(allocated, wanted, byQemu, disk);
      if (!allocated.subtract(reader.allocated(65_536)).isEmpty) throw new Error('less is allocated in whole grains');
    } catch (error) {
      throw new Error(`${mode}, in parts of ${partBytes} bytes: ${error}`, { cause: error });
    } finally {
      reader.close();
    }
  }
  await checkChanges(disk, wanted);
}

describe('the reader of frozen disks', () => {
  it(`reads what QEMU reads, whatever happened to a disk`, { timeout: patienceMs }, async () => {
    process.stdout.write(`images of random disks: ${imageCount}, STILLPOINT_TEST_SEED=${firstSeed}\n`);
    let diskCount = 0;
    let layerCount = 0;
    while (layerCount < imageCount) {
      const seeds = Array.from({ length: Math.min(batchSize, imageCount - layerCount) }, (_, i) => firstSeed + diskCount + i);
      const disks = await makeRandomDisks(seeds, { folder });
      const bytes = await bytesByQemu(disks, folder);
      const data = await inPairs(disks, dataByQemu);
      for (const [i, disk] of disks.entries()) {
        await checkDisk(disk, bytes[i] as Buffer, data[i] as ExtentSet).catch((error: unknown) => {
          throw new Error(`disk ${disk.seed}: ${error}\n${disk.history.join('\n')}`, { cause: error });
        });
        layerCount += disk.layers.length;
        removeDisk(disk);
      }
      diskCount += disks.length;
    }
    process.stdout.write(`disks read: ${diskCount}, of ${layerCount} images\n`);
    expect(layerCount).toBeGreaterThanOrEqual(imageCount);
  });

  it('finds the few bytes of disks of terabytes', { timeout: patienceMs }, async () => {
    const hugeCount = Math.ceil(imageCount / 40);
    for (let seed = firstSeed; seed < firstSeed + hugeCount; seed += 1) {
      const { layers, sizeBytes } = makeHugeDisk(seed);
      const copy = join(folder, 'copy.raw');
      const file = openSync(copy, 'w');
      ftruncateSync(file, sizeBytes);
      const reader = openDisk({ layers, sizeBytes });
      for (const [start, end] of reader.allocated(65_536).ranges()) {
        const bytes = Buffer.alloc(end - start);
        reader.readSync(bytes, start);
        writeSync(file, bytes, 0, bytes.length, start);
      }
      reader.close();
      closeSync(file);
      await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', layers.at(-1)?.path ?? '', copy]).catch((error: Error) => {
        throw new Error(`disk ${seed}: ${error.message}`, { cause: error });
      });
      for (const { path } of layers) rmSync(path);
      rmSync(copy);
    }
  });
});

/** Layers of very different sizes and clusters, with a few writes each anywhere. */
function makeHugeDisk(seed: number): { layers: DiskLayer[]; sizeBytes: number } {
  const random = dice(seed);
  const layers: DiskLayer[] = [];
  for (let height = 0; height < 3; height += 1) {
    const path = join(folder, `huge-${height}.qcow2`);
    const sizeBytes = 65_536 * (1 + random.below(random.pick([2 ** 14, 2 ** 20, 2 ** 26])));
    const options = random.pick(['extended_l2=on', 'cluster_size=64k', 'cluster_size=2M', 'cluster_size=32k,extended_l2=on']);
    const below = layers.at(-1);
    const backing = below === undefined ? [] : ['-b', below.path, '-F', 'qcow2'];
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, ...backing, path, String(sizeBytes)]);
    const writes = Array.from({ length: 8 }, () => {
      const offset = 512 * random.below(sizeBytes / 512 - 200);
      return `${random.pick([`write -q -s ${folder}/noise`, 'write -q -z', 'discard -q'])} ${offset} ${512 * (1 + random.below(128))}`;
    });
    execFileSync('qemu-io', ['-f', 'qcow2', ...writes.flatMap((write) => ['-c', write]), path]);
    layers.push({ path, format: 'qcow2', sizeBytes });
  }
  return { layers, sizeBytes: layers.at(-1)?.sizeBytes ?? 0 };
}
