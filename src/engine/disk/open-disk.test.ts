import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskLayer } from './contract.ts';
import { ExtentSet } from './extent-set.ts';
import { openDisk } from './open-disk.ts';
import { extentsFileOf } from './raw-layer.ts';

/** Single cases. What `qemu-img` says to all kinds of disks is in `test/integration/direct-reader.test.ts`. */
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'open-disk-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const qemu = (tool: string, ...args: string[]): string => execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

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

describe('openDisk', () => {
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
    const [base, top] = [join(dir, 'gone.raw'), join(dir, 'gone.qcow2')];
    writeFileSync(base, Buffer.alloc(4096, 9));
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', '-b', base, '-F', 'raw', top, '1G');
    qemu('qemu-io', '-f', 'qcow2', '-c', 'write -P 8 1024 512', '-c', 'write -P 7 500M 4096', top);
    const layers: DiskLayer[] = [
      { path: base, format: 'raw', sizeBytes: 4096 },
      { path: top, format: 'qcow2', sizeBytes: 2 ** 30 },
    ];
    const disk = openDisk({ layers, sizeBytes: 2 ** 30 });
    for (const layer of layers) rmSync(layer.path);
    const bytes = Buffer.alloc(4096);
    disk.readSync(bytes, 0);
    expect(bytes.equals(Buffer.alloc(4096, 9).fill(8, 1024, 1536))).toBe(true);
    disk.readSync(bytes, 500 * 2 ** 20);
    expect(bytes.equals(Buffer.alloc(4096, 7))).toBe(true);
    disk.close();
  });

  it('does not take a compressed cluster of one file for that of another at the same place', () => {
    const layers = ['lower', 'upper'].map((name, i): DiskLayer => {
      const path = join(dir, `packed-${name}.qcow2`);
      qemu('qemu-img', 'create', '-q', '-f', 'qcow2', path, '128k');
      qemu('qemu-io', '-f', 'qcow2', '-c', `write -c -P ${i + 1} ${i * 65_536} 64k`, path);
      return { path, format: 'qcow2', sizeBytes: 131_072 };
    });
    const { bytes } = readAll(layers, 131_072, 65_536);
    expect(bytes.equals(Buffer.concat([Buffer.alloc(65_536, 1), Buffer.alloc(65_536, 2)]))).toBe(true);
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
