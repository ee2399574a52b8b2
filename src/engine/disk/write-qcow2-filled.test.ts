import { execFile } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { armCrashPoint, disarmCrashPoints } from '../../lib/crash-points.ts';
import { ExtentSet } from './extent-set.ts';
import { layerContent } from './layer-content.ts';
import { openDisk } from './open-disk.ts';
import { extentsFileOf } from './raw-layer.ts';
import { FilledQcow2, qcow2TableBytesMax } from './write-qcow2-filled.ts';

const run = promisify(execFile);
const cluster = 65_536;
const mib = 2 ** 20;
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'filled-qcow2-'));
});
afterEach(disarmCrashPoints);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Piece {
  readonly kind: 'data' | 'zeroes';
  /** In clusters. */
  readonly at: number;
  readonly count: number;
}

/**
 * A raw base with data at the beginning and behind the end of each piece, an overlay on it, and a model of what both are together. Without
 * `bytes` nothing is written where the data belongs: it reads as zeroes, and a test of many clusters needs no gigabytes.
 */
async function writePieces(sizeBytes: number, pieces: readonly Piece[], options = { bytes: true }) {
  const [base, model, path] = ['base.raw', 'model.raw', 'overlay.qcow2'].map((name) => join(dir, name)) as [string, string, string];
  const files = [base, model].map((name) => openSync(name, 'w'));
  const noted = ExtentSet.builder();
  for (const at of [0, ...pieces.flatMap((piece) => [piece.at, piece.at + piece.count])]) {
    const bytes = Buffer.alloc(Math.max(0, Math.min(cluster, sizeBytes - at * cluster)), 0xb0);
    for (const fd of files) writeSync(fd, bytes, 0, bytes.length, at * cluster);
    noted.add(at * cluster, at * cluster + bytes.length);
  }
  for (const fd of files) ftruncateSync(fd, sizeBytes);
  writeFileSync(extentsFileOf(base), noted.build().encode());
  const writer = await FilledQcow2.create(path, { sizeBytes, backing: { name: 'base.raw', format: 'raw' } });
  const fd = openSync(path, 'r+');
  try {
    for (const { kind, at, count } of pieces) {
      const lengthBytes = Math.min((options.bytes ? count : 1) * cluster, sizeBytes - at * cluster);
      const bytes = Buffer.alloc(lengthBytes, kind === 'zeroes' || !options.bytes ? 0 : 1 + (at % 250));
      writeSync(files[1] as number, bytes, 0, lengthBytes, at * cluster);
      const hostBytes = kind === 'data' ? await writer.addData(at * cluster, count) : await writer.addZeroes(at * cluster, count);
      if (options.bytes && hostBytes !== undefined) writeSync(fd, bytes, 0, lengthBytes, hostBytes);
    }
    await writer.flush();
    await writer.finish();
  } catch (error) {
    copyFileSync(path, join(dir, 'unfinished.qcow2'));
    await writer.discard();
    throw error;
  } finally {
    for (const open of [...files, fd]) closeSync(open);
  }
  return { base, model, path };
}

async function expectWhole(sizeBytes: number, pieces: readonly Piece[], options = { bytes: true }): Promise<string> {
  const { base, model, path } = await writePieces(sizeBytes, pieces, options);
  const { stdout } = await run('qemu-img', ['check', '--output=json', '-f', 'qcow2', path]);
  const checked = JSON.parse(stdout) as Record<string, number>;
  expect(checked['check-errors']).toBe(0);
  expect([checked.leaks ?? 0, checked.corruptions ?? 0]).toEqual([0, 0]);
  await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', path, model]);
  await expectRead(sizeBytes, pieces, base, model, path);
  return path;
}

/** Our own reader sees the same: the bytes around each piece, and which ranges the layer changes. */
async function expectRead(sizeBytes: number, pieces: readonly Piece[], base: string, model: string, path: string): Promise<void> {
  const changed = (kind: Piece['kind']) =>
    ExtentSet.of(pieces.filter((piece) => piece.kind === kind).map(({ at, count }) => [at * cluster, (at + count) * cluster])).clamp(
      sizeBytes,
    );
  const content = await layerContent({ path, format: 'qcow2' });
  expect(content.data.equals(changed('data'))).toBe(true);
  expect(content.zeroes.equals(changed('zeroes'))).toBe(true);
  const layers = [
    { path: base, format: 'raw' as const, sizeBytes },
    { path, format: 'qcow2' as const, sizeBytes },
  ];
  const disk = openDisk({ layers, sizeBytes });
  const fd = openSync(model, 'r');
  for (const { at, count } of pieces) {
    const from = Math.max(0, (at - 1) * cluster);
    const lengthBytes = Math.min((Math.min(count, 300) + 2) * cluster, sizeBytes - from);
    const [seen, wanted] = [0, 0].map(() => Buffer.alloc(lengthBytes)) as [Buffer, Buffer];
    disk.readSync(seen, from);
    readSync(fd, wanted, 0, wanted.length, from);
    expect(seen.equals(wanted)).toBe(true);
  }
  closeSync(fd);
  disk.close();
}

describe('a filled qcow2 file', () => {
  it('is what qemu-img and our reader read as it was meant, with no leaks and no errors', { timeout: 120_000 }, async () => {
    // Gaps and lengths in clusters; a gap of 0 joins pieces, a large one jumps over whole tables.
    const piece = fc.record({
      kind: fc.constantFrom('data' as const, 'zeroes' as const),
      gap: fc.oneof(
        { weight: 4, arbitrary: fc.nat(40) },
        { weight: 2, arbitrary: fc.nat(9_000) },
        { weight: 1, arbitrary: fc.nat(2 ** 21) },
      ),
      count: fc.oneof(
        { weight: 6, arbitrary: fc.integer({ min: 1, max: 20 }) },
        { weight: 1, arbitrary: fc.integer({ min: 100, max: 300 }) },
      ),
    });
    const tail = fc.integer({ min: 0, max: 127 }).map((sectors) => sectors * 512);
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 12 }), tail, fc.nat(3), async (steps, tailBytes, beyond) => {
        const pieces: Piece[] = [];
        let at = 0;
        for (const { kind, gap, count } of steps) {
          at += gap;
          pieces.push({ kind, at, count });
          at += count;
        }
        // The disk ends inside the last piece, at its end, or behind it.
        const sizeBytes = (at - (tailBytes === 0 ? 0 : 1) + beyond * 5_000) * cluster + tailBytes;
        await expectWhole(sizeBytes, pieces);
      }),
      { numRuns: 25 },
    );
  });

  it('counts more clusters than one block of refcounts holds', async () => {
    const pieces: Piece[] = [
      { kind: 'data', at: 10, count: 40_000 },
      { kind: 'zeroes', at: 40_010, count: 5_000 },
      { kind: 'data', at: 50_000, count: 30_000 },
    ];
    const path = await expectWhole(8 * 2 ** 30, pieces, { bytes: false });
    expect(statSync(path).blocks * 512).toBeLessThan(8 * mib);
  }, 60_000);

  it('of a disk of 1 TiB takes little more than its data', async () => {
    const pieces: Piece[] = Array.from({ length: 100 }, (_, i) => ({ kind: 'data', at: i * 160_000 + 7, count: 1 }));
    const path = await expectWhole(2 ** 40, pieces);
    expect(statSync(path).blocks * 512).toBeLessThan(100 * (cluster + 4096) + mib);
  }, 60_000);

  it.each([512, cluster, 3 * 2 ** 30 + 512, 2 ** 40])('may hold nothing: a disk of %d bytes', async (sizeBytes) => {
    await expectWhole(sizeBytes, []);
  });

  it('never takes more than is foretold', async () => {
    const pieces: Piece[] = Array.from({ length: 50 }, (_, i) => ({ kind: i % 2 === 0 ? 'data' : 'zeroes', at: i * 3_000, count: 9 }));
    const sizeBytes = 2 ** 34;
    const path = await expectWhole(sizeBytes, pieces);
    const ranges = ExtentSet.of(pieces.map(({ at, count }) => [at * cluster, (at + count) * cluster]));
    const dataBytes = 25 * 9 * cluster;
    expect(statSync(path).size).toBe(dataBytes + qcow2TableBytesMax(sizeBytes, ranges, dataBytes));
  });

  it('can be written to by QEMU, and stays whole', async () => {
    const path = await expectWhole(2 ** 30, [
      { kind: 'data', at: 0, count: 3 },
      { kind: 'zeroes', at: 3, count: 3 },
    ]);
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 9 100k 200k', '-c', 'write -z 0 64k', '-c', 'write -P 8 900M 1M', path]);
    const { stdout } = await run('qemu-img', ['check', '--output=json', '-f', 'qcow2', path]);
    expect(JSON.parse(stdout)).toMatchObject({ 'check-errors': 0 });
    expect(JSON.parse(stdout).leaks).toBeUndefined();
  });

  it('is no qcow2 file until it is finished', async () => {
    armCrashPoint('qcow2:before-header', 'fail');
    await expect(writePieces(2 ** 30, [{ kind: 'data', at: 0, count: 3 }])).rejects.toThrow('qcow2:before-header');
    await expect(layerContent({ path: join(dir, 'unfinished.qcow2'), format: 'qcow2' })).rejects.toThrow(
      'does not begin with the qcow2 magic',
    );
  });

  it('replaces what was there, and goes when it is given up', async () => {
    const path = join(dir, 'given-up.qcow2');
    writeFileSync(path, 'something else');
    const writer = await FilledQcow2.create(path, { sizeBytes: mib, backing: undefined });
    await writer.addZeroes(0, 1);
    await writer.discard();
    expect(existsSync(path)).toBe(false);
  });

  it('refuses what is out of order, outside of the disk, or not on clusters', async () => {
    const writer = await FilledQcow2.create(join(dir, 'refused.qcow2'), { sizeBytes: 10 * cluster + 512, backing: undefined });
    await writer.addData(5 * cluster, 2);
    for (const at of [6 * cluster, 5 * cluster, 8 * cluster + 512]) await expect(writer.addData(at, 1)).rejects.toThrow(RangeError);
    await expect(writer.addZeroes(8 * cluster, 4)).rejects.toThrow(RangeError);
    await writer.addZeroes(8 * cluster, 3);
    await writer.discard();
    await expect(FilledQcow2.create(join(dir, 'bad.qcow2'), { sizeBytes: 100, backing: undefined })).rejects.toThrow(RangeError);
  });
});
