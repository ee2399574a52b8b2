import { execFile, execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** Small files that claim much. Each is read in a process of its own, whose memory tells whether the claim was believed. */
const run = promisify(execFile);
const mib = 2 ** 20;
const memoryMibMax = 150;
const script = join(import.meta.dirname, '../support/hostile-reader-process.ts');
const here = 1n << 63n;
const compressed = 1n << 62n;

let folder: string;
let plainMib: number;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'direct-reader-bombs-'));
  plainMib = (await read(make('plain', '1M', []))).memoryMib;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function make(name: string, size: string, options: readonly string[]): string {
  const path = join(folder, `${name}.qcow2`);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...(options.length > 0 ? ['-o', options.join(',')] : []), path, size]);
  return path;
}

async function read(path: string): Promise<{ outcome: string; memoryMib: number }> {
  const { stdout } = await run(process.execPath, [script, path], { timeout: 60_000 });
  return JSON.parse(stdout);
}

/** Writes where `edit` says, and leaves the rest as it is. */
function change(path: string, edit: (write: (at: number, bytes: Buffer) => void, file: number) => void): void {
  const file = openSync(path, 'r+');
  edit((at, bytes) => void writeSync(file, bytes, 0, bytes.length, at), file);
  closeSync(file);
}

function numbers(...values: readonly bigint[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [i, value] of values.entries()) bytes.writeBigUInt64BE(value, i * 8);
  return bytes;
}

const l1Entries = (count: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(count);
  return bytes;
};

async function expectLittleMemory(path: string, outcome: RegExp): Promise<void> {
  const found = await read(path);
  expect(found.outcome).toMatch(outcome);
  expect(found.memoryMib - plainMib).toBeLessThan(memoryMibMax);
}

describe('a small qcow2 file that claims much', () => {
  it('may have a disk of two pebibytes with nothing in it', async () => {
    const path = make('pebibytes', '1G', []);
    const [l1, entries] = [2 ** 24, 2 ** 22];
    change(path, (write, file) => {
      write(24, numbers(2n ** 51n));
      write(36, l1Entries(entries));
      write(40, numbers(BigInt(l1)));
      ftruncateSync(file, l1 + entries * 8);
    });
    await expectLittleMemory(path, /^read$/);
  });

  it('may not have an L1 table that the file has no room for', async () => {
    const path = make('l1', '1G', ['cluster_size=2M']);
    change(path, (write) => write(36, l1Entries(2 ** 22)));
    await expectLittleMemory(path, /^declined: the file ends before or inside the L1 table/);
  });

  it('may not use one table for all of the disk', async () => {
    const path = make('shared', '64G', ['extended_l2=on']);
    change(path, (write, file) => {
      write(2 ** 18, numbers(...Array.from({ length: 256 }, () => here | BigInt(2 ** 20))));
      write(40, numbers(BigInt(2 ** 18)));
      ftruncateSync(file, 2 * mib);
    });
    await expectLittleMemory(path, /^declined: an L2 table is used twice/);
  });

  it('may have millions of pieces, all in one cluster', async () => {
    const path = make('pieces', '64G', ['extended_l2=on']);
    const tables = 128;
    const [l1, data, first] = [2 ** 18, 2 ** 19, 2 ** 20];
    const table = numbers(...Array.from({ length: 4096 }, () => [here | BigInt(data), 0x55555555n]).flat());
    change(path, (write) => {
      write(40, numbers(BigInt(l1)));
      write(l1, numbers(...Array.from({ length: tables }, (_, i) => here | BigInt(first + i * 65_536))));
      for (let i = 0; i < tables; i += 1) write(first + i * 65_536, table);
    });
    await expectLittleMemory(path, /^read$/);
  });

  it.each([
    ['zlib', (bytes: number) => deflateRawSync(Buffer.alloc(bytes), { windowBits: 12 }), /^declined: .*cannot be unpacked/],
    ['zstd', (bytes: number) => zstdCompressSync(Buffer.alloc(bytes)), /^declined: .*cannot be unpacked/],
    // A frame header that asks for a window of 2 GiB, and a block of one repeated byte.
    ['zstd', () => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 0x03, 0x08, 0, 0]), /^declined: .*cannot be unpacked/],
  ] as const)('may not unpack %s data to more than a cluster', async (codec, pack, outcome) => {
    const path = make(`bomb-${codec}`, '1G', ['cluster_size=2M', `compression_type=${codec}`]);
    const packed = pack(64 * mib);
    const [l1, l2, data] = [8 * mib, 10 * mib, 12 * mib];
    const sectors = Math.ceil(packed.length / 512);
    change(path, (write) => {
      write(40, numbers(BigInt(l1)));
      write(l1, numbers(here | BigInt(l2)));
      write(l2, numbers(compressed | (BigInt(sectors - 1) << 49n) | BigInt(data)));
      write(data, packed);
      write(l2 + 2 * mib - 8, numbers(0n));
    });
    await expectLittleMemory(path, outcome);
  });
});
