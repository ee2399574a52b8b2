import { execFile } from 'node:child_process';
import { closeSync, copyFileSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ZERO } from '../../src/engine/disk/extent-map.ts';
import { extentsOf, openLayer } from '../../src/engine/disk/load-layer.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { Qcow2Error } from '../../src/engine/disk/qcow2-header.ts';
import { type Dice, dice } from '../support/dice.ts';
import { makeRandomDisks, type RandomDisk, removeDisk, writeContents } from '../support/random-disks.ts';

/**
 * Whatever the header and the tables of a qcow2 file say, our reader refuses it with a typed error, or reads what QEMU reads, and never
 * looks outside of the file. `STILLPOINT_READER_DAMAGES` sets how many damages are tried, `STILLPOINT_TEST_SEED` repeats a run.
 */
const damageCount = Number(process.env.STILLPOINT_READER_DAMAGES ?? 800);
const firstSeed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const damagesPerImage = 100;
const readableBytesMax = 2 ** 26;
const patienceMs = 60_000 + damageCount * 60;

const run = promisify(execFile);
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'direct-reader-hostile-'));
  writeContents(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Places {
  readonly header: readonly number[];
  readonly l1: readonly number[];
  readonly l2: readonly number[];
  readonly clusterBytes: number;
  readonly entryBytes: number;
}

/** Where the numbers of a sound image lie. */
function placesOf(bytes: Buffer): Places {
  const clusterBytes = 2 ** bytes.readUInt32BE(20);
  const entryBytes = bytes.readUInt32BE(4) === 3 && (bytes.readBigUInt64BE(72) & 16n) !== 0n ? 16 : 8;
  const l1Offset = Number(bytes.readBigUInt64BE(40));
  const l1 = Array.from({ length: bytes.readUInt32BE(36) }, (_, i) => l1Offset + i * 8);
  const tables = l1.map((at) => Number(bytes.readBigUInt64BE(at) & 0x00fffffffffffe00n)).filter((offset) => offset !== 0);
  const used = Math.ceil(Number(bytes.readBigUInt64BE(24)) / clusterBytes);
  const perTable = Math.min(clusterBytes / entryBytes, used);
  const l2 = tables.flatMap((offset) => Array.from({ length: perTable }, (_, i) => offset + i * entryBytes));
  return { header: Array.from({ length: 28 }, (_, i) => 4 + i * 4), l1, l2, clusterBytes, entryBytes };
}

type Edit = readonly [offset: number, bytes: Buffer];

function number64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  return bytes;
}

/** An offset that might lead somewhere interesting. */
function strangeOffset(random: Dice, fileBytes: number, clusterBytes: number): bigint {
  const clusters = Math.ceil(fileBytes / clusterBytes);
  const inside = BigInt(random.below(clusters)) * BigInt(clusterBytes);
  const end = BigInt(clusters) * BigInt(clusterBytes);
  return random.pick([inside, inside, inside, 0n, end, end - BigInt(clusterBytes), inside + 512n, BigInt(fileBytes), 1n << 55n, 1n << 40n]);
}

function damageEntry(random: Dice, bytes: Buffer, at: number, places: Places): Buffer {
  const before = bytes.readBigUInt64BE(at);
  const offset = strangeOffset(random, bytes.length, places.clusterBytes);
  const flags = random.pick([0n, 1n << 63n, 1n << 62n, 3n << 62n, 1n, before & (3n << 62n)]);
  const sectors = BigInt(random.below(2 ** 12)) << 48n;
  return number64(
    random.pick([
      offset | flags,
      offset | (1n << 63n),
      before ^ (1n << BigInt(random.below(64))),
      (before & ~0xffffffn) | flags,
      (1n << 62n) | sectors | BigInt(random.below(bytes.length)),
      0n,
    ]),
  );
}

function planDamage(random: Dice, bytes: Buffer, places: Places): Edit {
  const kind = random.pick(['header', 'l1', 'l2', 'l2', 'l2', 'bitmap', 'byte'] as const);
  if (kind === 'header') {
    const value = Buffer.alloc(4);
    value.writeUInt32BE(random.pick([0, 1, 3, 16, random.below(256), random.below(bytes.length), 0x7fffffff, 0xffffffff]));
    return [random.pick(places.header), value];
  }
  if (kind === 'byte') return [random.below(bytes.length), Buffer.from([random.below(256)])];
  const at = random.pick(kind === 'l1' || places.l2.length === 0 ? places.l1 : places.l2);
  if (kind !== 'bitmap' || places.entryBytes === 8 || places.l2.length === 0) return [at, damageEntry(random, bytes, at, places)];
  const bits = BigInt(random.below(2 ** 32));
  return [at + 8, number64(random.pick([bits, bits << 32n, (bits << 32n) | (~bits & 0xffffffffn), bytes.readBigUInt64BE(at + 8) ^ bits]))];
}

/** What the file holds according to our reader; the error that it declined with; or 'large' for a disk that is not read whole. */
function readByUs(path: string): Buffer | Qcow2Error | 'large' {
  try {
    const layer = openLayer({ path, format: 'qcow2' });
    try {
      for (const map of extentsOf(layer)) {
        for (let i = 0; i < map.length; i += 1) {
          const length = map.packed(i) === 0 ? map.end(i) - map.start(i) : map.packed(i);
          if (map.file(i) !== ZERO && map.host(i) + length > statSync(path).size) throw new Error('an extent lies outside of the file');
        }
      }
    } finally {
      closeSync(layer.fd);
    }
    const { sizeBytes } = layer;
    const disk = openDisk({ layers: [{ path, format: 'qcow2', sizeBytes }], sizeBytes }, { directFromBytes: 0 });
    try {
      disk.allocated(65_536);
      if (sizeBytes > readableBytesMax) return 'large';
      const bytes = Buffer.alloc(sizeBytes);
      for (let at = 0; at < sizeBytes; at += 1_000_000) disk.readSync(bytes.subarray(at, at + 1_000_000), at);
      return bytes;
    } finally {
      disk.close();
    }
  } catch (error) {
    if (error instanceof Qcow2Error) return error;
    throw error;
  }
}

/** Undefined when QEMU refuses. */
async function readByQemu(path: string): Promise<Buffer | undefined> {
  const target = join(folder, 'oracle.raw');
  const image = `json:${JSON.stringify({ driver: 'qcow2', backing: null, file: { driver: 'file', filename: path } })}`;
  try {
    await run('qemu-img', ['convert', '-t', 'unsafe', '-O', 'raw', image, target]);
    return readFileSync(target);
  } catch {
    return undefined;
  } finally {
    rmSync(target, { force: true });
  }
}

/** How each damage ended. */
const outcomes = { declined: 0, equal: 0, 'too large to compare': 0, 'refused by QEMU alone': 0 };

async function checkOne(path: string): Promise<keyof typeof outcomes> {
  const ours = readByUs(path);
  if (ours instanceof Qcow2Error) return 'declined';
  if (ours === 'large') return 'too large to compare';
  const theirs = await readByQemu(path);
  if (theirs === undefined) return 'refused by QEMU alone';
  if (!ours.equals(theirs)) throw new Error(`QEMU reads something else, ${theirs.length} bytes instead of ${ours.length}`);
  return 'equal';
}

async function checkImage(disk: RandomDisk, random: Dice, count: number): Promise<void> {
  const sound = disk.layers[0]?.path ?? '';
  const path = join(folder, 'damaged.qcow2');
  copyFileSync(sound, path);
  const bytes = readFileSync(sound);
  const places = placesOf(bytes);
  const file = openSync(path, 'r+');
  try {
    for (let i = 0; i < count; i += 1) {
      const edits = Array.from({ length: random.pick([1, 1, 1, 2, 3]) }, () => planDamage(random, bytes, places));
      for (const [offset, value] of edits) writeSync(file, value, 0, value.length, offset);
      const cut = random.chance(0.04) ? random.below(bytes.length) : undefined;
      if (cut !== undefined) ftruncateSync(file, cut);
      try {
        outcomes[await checkOne(path)] += 1;
      } catch (error) {
        const what = edits.map(([offset, value]) => `${offset}: ${value.toString('hex')}`).join(', ');
        throw new Error(`image ${disk.seed} with ${what}${cut === undefined ? '' : `, cut at ${cut}`}: ${error}`, { cause: error });
      }
      for (const [offset, value] of edits) writeSync(file, bytes, offset, Math.min(value.length, bytes.length - offset), offset);
      if (cut !== undefined) writeSync(file, bytes, cut, bytes.length - cut, cut);
      ftruncateSync(file, bytes.length);
    }
  } finally {
    closeSync(file);
  }
}

describe('a qcow2 file with damaged or forged tables', () => {
  it('is declined, or read as QEMU reads it', { timeout: patienceMs }, async () => {
    process.stdout.write(`damaged tables: ${damageCount}, STILLPOINT_TEST_SEED=${firstSeed}\n`);
    for (let done = 0; done < damageCount; done += damagesPerImage) {
      const seed = firstSeed + done;
      const [disk] = await makeRandomDisks([seed], { folder, layersMax: 1 });
      if (disk === undefined) throw new Error('no disk was made');
      await checkImage(disk, dice(seed), Math.min(damagesPerImage, damageCount - done));
      removeDisk(disk);
    }
    process.stdout.write(`damaged tables: ${JSON.stringify(outcomes)}\n`);
    expect(outcomes.declined).toBeGreaterThan(damageCount / 10);
    expect(outcomes.equal).toBeGreaterThan(damageCount / 20);
  });
});
