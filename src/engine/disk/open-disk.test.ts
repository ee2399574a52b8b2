import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskLayer } from './contract.ts';
import { ExtentSet } from './extent-set.ts';
import { layerChanges } from './layer-content.ts';
import { openDisk } from './open-disk.ts';
import { extentsFileOf } from './raw-layer.ts';

/** `qemu-io` makes the layers, `qemu-img` says what they mean; both read through QEMU's own code. */
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'open-disk-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const qemu = (tool: string, ...args: string[]): string => execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

interface LayerPlan {
  readonly sizeBytes: number;
  readonly options: string;
  readonly clusterBytes: number;
  readonly writes: readonly string[];
}

const sectors = 512;
const sizes = fc.integer({ min: 1, max: 6000 }).map((count) => count * sectors);
const layouts = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ options: 'extended_l2=on,cluster_size=64k', clusterBytes: 65_536 }) },
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      { options: 'cluster_size=64k', clusterBytes: 65_536 },
      { options: 'cluster_size=512', clusterBytes: 512 },
      { options: 'cluster_size=4k,compat=0.10', clusterBytes: 4096 },
      { options: 'cluster_size=64k,compression_type=zstd', clusterBytes: 65_536 },
      { options: 'cluster_size=2M', clusterBytes: 2 ** 21 },
      { options: 'cluster_size=16k,extended_l2=on', clusterBytes: 16_384 },
      { options: 'cluster_size=2M,extended_l2=on', clusterBytes: 2 ** 21 },
      { options: 'cluster_size=64k,lazy_refcounts=on', clusterBytes: 65_536 },
    ),
  },
);

const layerPlans = fc
  .record({
    sizeBytes: sizes,
    layout: layouts,
    writes: fc.array(
      fc.record({
        kind: fc.constantFrom('write', 'write', 'write', 'write -z', 'write -z -u', 'discard', 'write -c'),
        at: fc.double({ min: 0, max: 0.999, noNaN: true }),
        length: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 600 })),
        pattern: fc.integer({ min: 1, max: 255 }),
        isAligned: fc.boolean(),
      }),
      { maxLength: 8 },
    ),
  })
  .map(({ sizeBytes, layout, writes }): LayerPlan => {
    const commands = writes.flatMap(({ kind, at, length, pattern, isAligned }) => {
      const grain = kind === 'write -c' ? layout.clusterBytes : isAligned ? 4096 : sectors;
      const offset = Math.floor((at * sizeBytes) / grain) * grain;
      const lengthBytes = kind === 'write -c' ? grain : Math.min(Math.ceil((length * sectors) / grain) * grain, sizeBytes - offset);
      if (lengthBytes <= 0 || offset + lengthBytes > sizeBytes) return [];
      return [`${kind}${kind === 'write' || kind === 'write -c' ? ` -P ${pattern}` : ''} ${offset} ${lengthBytes}`];
    });
    return { sizeBytes, options: layout.options, clusterBytes: layout.clusterBytes, writes: commands };
  });

let serial = 0;

/** Makes the files: bottom first, a raw or a qcow2 base. */
function makeChain(plans: readonly LayerPlan[], rawBase: boolean): DiskLayer[] {
  const layers: DiskLayer[] = [];
  for (const plan of plans) {
    const below = layers.at(-1);
    const format = below === undefined && rawBase ? 'raw' : 'qcow2';
    const path = join(dir, `${serial++}.${format}`);
    const backing = below === undefined ? [] : ['-b', below.path, '-F', below.format];
    const options = format === 'raw' ? [] : ['-o', plan.options];
    qemu('qemu-img', 'create', '-q', '-f', format, ...options, ...backing, path, String(plan.sizeBytes));
    const writes = plan.writes.map((write) => (format === 'raw' ? write.replace('write -c', 'write') : write));
    if (writes.length > 0) writeInto(path, format, writes);
    layers.push({ path, format, sizeBytes: plan.sizeBytes });
  }
  return layers;
}

function writeInto(path: string, format: string, writes: readonly string[]): void {
  try {
    qemu('qemu-io', '-f', format, '-d', 'unmap', ...writes.flatMap((write) => ['-c', write]), path);
  } catch (error) {
    // QEMU does not write compressed data over plain data; the other writes count.
    if (!String((error as { stdout?: unknown }).stdout).includes('write failed: Input/output error')) throw error;
  }
}

function oracle(top: DiskLayer): Buffer {
  const path = join(dir, `${serial++}.oracle`);
  qemu('qemu-img', 'convert', '-f', top.format, '-O', 'raw', top.path, path);
  const bytes = readFileSync(path);
  rmSync(path);
  return bytes;
}

function readAll(layers: readonly DiskLayer[], sizeBytes: number, stepBytes: number): { bytes: Buffer; allocated: ExtentSet } {
  const disk = openDisk({ layers, sizeBytes });
  try {
    const bytes = Buffer.alloc(sizeBytes, 0xee);
    for (let at = 0; at < sizeBytes; at += stepBytes) disk.readSync(bytes.subarray(at, Math.min(sizeBytes, at + stepBytes)), at);
    return { bytes, allocated: disk.allocated() };
  } finally {
    disk.close();
  }
}

function expectZeroOutside(set: ExtentSet, bytes: Buffer): void {
  for (const [start, end] of ExtentSet.of([[0, bytes.length]])
    .subtract(set)
    .ranges()) {
    expect(bytes.subarray(start, end).equals(Buffer.alloc(end - start))).toBe(true);
  }
}

describe('openDisk', () => {
  it('reads what qemu-img reads, from any chain of layers', () => {
    fc.assert(
      fc.property(
        fc.array(layerPlans, { minLength: 1, maxLength: 4, size: 'max' }),
        fc.boolean(),
        fc.constantFrom(512, 4096, 65_536, 100_000, 4_194_304),
        (plans, rawBase, stepBytes) => {
          const layers = makeChain(plans, rawBase);
          const top = layers.at(-1) as DiskLayer;
          const wanted = oracle(top);
          const { bytes, allocated } = readAll(layers, top.sizeBytes, stepBytes);
          expect(bytes.equals(wanted)).toBe(true);
          expect(allocated.clamp(top.sizeBytes).equals(allocated)).toBe(true);
          expectZeroOutside(allocated, wanted);
          for (const layer of layers) rmSync(layer.path);
        },
      ),
      { numRuns: 60 },
    );
  }, 60_000);

  it('finds every byte that a layer changed among its changes', async () => {
    await fc.assert(
      fc.asyncProperty(layerPlans, layerPlans, async (base, upper) => {
        const sizeBytes = Math.max(base.sizeBytes, upper.sizeBytes);
        const layers = makeChain([base, { ...upper, sizeBytes }], true);
        const [below, top] = layers as [DiskLayer, DiskLayer];
        const before = readAll([below], sizeBytes, 65_536).bytes;
        const after = readAll(layers, sizeBytes, 65_536).bytes;
        const changes = await layerChanges(top);
        for (const [start, end] of ExtentSet.of([[0, sizeBytes]])
          .subtract(changes)
          .ranges()) {
          expect(after.subarray(start, end).equals(before.subarray(start, end))).toBe(true);
        }
        for (const layer of layers) rmSync(layer.path);
      }),
      { numRuns: 15 },
    );
  }, 30_000);

  it('reads a disk larger than its layers as zeroes past their end, and a smaller one cut off', () => {
    const path = join(dir, 'short.raw');
    writeFileSync(path, Buffer.alloc(10_000, 7));
    const layers: DiskLayer[] = [{ path, format: 'raw', sizeBytes: 12_288 }];
    const large = readAll(layers, 20_480, 4096);
    expect(large.bytes.equals(Buffer.concat([Buffer.alloc(10_000, 7), Buffer.alloc(10_480)]))).toBe(true);
    expect([...large.allocated.ranges()]).toEqual([[0, 10_000]]);
    expect([...readAll(layers, 4096, 4096).allocated.ranges()]).toEqual([[0, 4096]]);
  });

  it('takes what a raw layer holds from the notes beside it, and the whole file when they are damaged', () => {
    const path = join(dir, 'noted.raw');
    writeFileSync(path, Buffer.alloc(1_048_576, 7));
    const layers: DiskLayer[] = [{ path, format: 'raw', sizeBytes: 1_048_576 }];
    const notes = ExtentSet.of([[65_536, 131_072]]);
    writeFileSync(extentsFileOf(path), notes.encode());
    expect(readAll(layers, 1_048_576, 65_536).allocated.equals(notes)).toBe(true);
    writeFileSync(extentsFileOf(path), 'nonsense');
    expect(readAll(layers, 1_048_576, 65_536).allocated.totalBytes).toBe(1_048_576);
  });

  it('goes on reading after the files were removed, also what it had not looked at before', () => {
    const layers = makeChain(
      [
        { sizeBytes: 8192, options: '', clusterBytes: 512, writes: ['write -P 9 0 4096'] },
        { sizeBytes: 2 ** 30, options: 'cluster_size=4k', clusterBytes: 4096, writes: ['write -P 8 1024 512', 'write -P 7 500M 4096'] },
      ],
      true,
    );
    const disk = openDisk({ layers, sizeBytes: 2 ** 30 });
    for (const layer of layers) rmSync(layer.path);
    const bytes = Buffer.alloc(4096);
    disk.readSync(bytes, 0);
    expect(bytes.equals(Buffer.alloc(4096, 9).fill(8, 1024, 1536))).toBe(true);
    disk.readSync(bytes, 500 * 2 ** 20);
    expect(bytes.equals(Buffer.alloc(4096, 7))).toBe(true);
    disk.close();
  });

  it('refuses reads outside of the disk', () => {
    const path = join(dir, 'bounds.raw');
    writeFileSync(path, Buffer.alloc(4096, 9));
    const disk = openDisk({ layers: [{ path, format: 'raw', sizeBytes: 4096 }], sizeBytes: 4096 });
    expect(() => disk.readSync(Buffer.alloc(1), 4096)).toThrow(RangeError);
    expect(() => disk.readSync(Buffer.alloc(4096), 1)).toThrow(RangeError);
    expect(() => disk.readSync(Buffer.alloc(1), -1)).toThrow(RangeError);
    disk.close();
  });

  it('throws instead of inventing bytes when a file became shorter', () => {
    const path = join(dir, 'cut.raw');
    writeFileSync(path, Buffer.alloc(8192, 9));
    const disk = openDisk({ layers: [{ path, format: 'raw', sizeBytes: 8192 }], sizeBytes: 8192 });
    truncateSync(path, 4096);
    expect(() => disk.readSync(Buffer.alloc(8192), 0)).toThrow(/ended at 4096/);
    disk.close();
  });

  // Bounds of time: other work on the machine only ever makes this slower.
  it('loads only what was written of a disk of 1 TiB', { retry: 2 }, () => {
    const path = join(dir, 'huge.qcow2');
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on,cluster_size=64k', path, '1T');
    qemu('qemu-io', '-f', 'qcow2', '-c', 'write -P 5 900G 64k', '-c', 'write -P 6 4k 4k', path);
    const started = performance.now();
    const disk = openDisk({ layers: [{ path, format: 'qcow2', sizeBytes: 2 ** 40 }], sizeBytes: 2 ** 40 });
    const bytes = Buffer.alloc(65_536);
    disk.readSync(bytes, 900 * 2 ** 30);
    expect(performance.now() - started).toBeLessThan(200);
    expect([...disk.allocated().ranges()]).toEqual([
      [4096, 8192],
      [900 * 2 ** 30, 900 * 2 ** 30 + 65_536],
    ]);
    disk.close();
    expect(bytes.equals(Buffer.alloc(65_536, 5))).toBe(true);
  });
});
