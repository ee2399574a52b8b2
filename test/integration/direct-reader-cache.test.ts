import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskSource } from '../../src/engine/disk/contract.ts';
import { type OpenDiskOptions, openDisk } from '../../src/engine/disk/open-disk.ts';

/** What stays in the page cache after a large disk was read. `fincore` tells, `dd` makes the kernel forget. */
const mib = 2 ** 20;
const diskBytes = 64 * mib;
const tmpfsType = 0x01021994;

let folder: string;
let source: DiskSource;
beforeAll(() => {
  // A file in memory has no other place to be read from.
  const parent = statfsSync(tmpdir()).type === tmpfsType ? import.meta.dirname : tmpdir();
  folder = mkdtempSync(join(parent, 'direct-reader-cache-'));
  const [base, top] = [join(folder, 'base.raw'), join(folder, 'top.qcow2')];
  run('qemu-img', 'create', '-q', '-f', 'raw', base, String(diskBytes));
  run('qemu-io', '-f', 'raw', '-c', `write -q -P 1 0 ${diskBytes}`, base);
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on', '-b', base, '-F', 'raw', top);
  run('qemu-io', '-f', 'qcow2', ...Array.from({ length: 16 }, (_, i) => ['-c', `write -q -P 2 ${i * 4}M 2M`]).flat(), top);
  source = {
    layers: [
      { path: base, format: 'raw', sizeBytes: diskBytes },
      { path: top, format: 'qcow2', sizeBytes: diskBytes },
    ],
    sizeBytes: diskBytes,
  };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function forget(): void {
  for (const { path } of source.layers) {
    run('sync', path);
    run('dd', 'iflag=nocache', 'count=0', `if=${path}`);
  }
}

function cachedBytes(): number {
  const files = source.layers.map((layer) => layer.path);
  const lines = run('fincore', '--bytes', '--noheadings', '--output', 'RES', ...files);
  return lines
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number(line), 0);
}

function readDisk(options: OpenDiskOptions): void {
  const disk = openDisk(source, options);
  const bytes = Buffer.alloc(mib);
  for (let at = 0; at < diskBytes; at += mib) {
    disk.readSync(bytes, at);
    expect(bytes[0]).toBe((at / mib) % 4 < 2 ? 2 : 1);
  }
  disk.close();
}

describe('the page cache', () => {
  it('holds next to nothing of a disk that was too large for it', () => {
    forget();
    readDisk({ directFromBytes: diskBytes });
    // The tables.
    expect(cachedBytes()).toBeLessThan(mib);
  });

  // Other work on the machine may push out what was read.
  it('holds a disk that is small, or of which little is read', { retry: 3 }, () => {
    const isWarm = (): boolean => cachedBytes() > diskBytes * 0.9;
    forget();
    expect(isWarm()).toBe(false);
    readDisk({ directFromBytes: 4 * diskBytes });
    expect(isWarm()).toBe(true);
    forget();
    readDisk({ directFromBytes: diskBytes, expectedBytes: mib });
    expect(isWarm()).toBe(true);
  });

  it('is what the files of a disk count against, with the share of the memory that one disk may take', () => {
    const allocated = source.layers.reduce((sum, { path }) => sum + statSync(path).blocks * 512, 0);
    forget();
    readDisk({ directFromBytes: allocated });
    expect(cachedBytes()).toBeLessThan(mib);
    readDisk({});
    // 96 MiB are less than a quarter of the memory of any machine that runs this.
    expect(cachedBytes()).toBeGreaterThan(mib);
  });
});
