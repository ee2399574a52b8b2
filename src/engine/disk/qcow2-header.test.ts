import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDisk } from './open-disk.ts';
import { parseQcow2Header, Qcow2Error, type Qcow2Header } from './qcow2-header.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'qcow2-header-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let serial = 0;

/** An image made by QEMU, its bytes changed by `damage`. */
function image(options: readonly string[], damage: Damage = (bytes) => bytes): { path: string; bytes: Buffer } {
  const path = join(dir, `${serial++}.qcow2`);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, path, '1M']);
  const bytes = readFileSync(path);
  const changed = damage(bytes);
  writeFileSync(path, changed);
  return { path, bytes: changed };
}

const parse = ({ bytes }: { bytes: Buffer }): Qcow2Header => parseQcow2Header(bytes, bytes.length);

function problemOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Qcow2Error) return `${error.problem}: ${error.message}`;
    throw error;
  }
  return 'none';
}

/** Returns other bytes, or the same ones changed. */
type Damage = (bytes: Buffer) => Buffer;

function set(at: number, value: bigint): Damage {
  return (bytes) => {
    bytes.writeBigUInt64BE(value, at);
    return bytes;
  };
}
function set32(at: number, value: number): Damage {
  return (bytes) => {
    bytes.writeUInt32BE(value, at);
    return bytes;
  };
}

describe('parseQcow2Header', () => {
  it('reads what qemu-img writes', () => {
    expect(parse(image(['-o', 'compat=0.10']))).toMatchObject({ version: 2, sizeBytes: 2 ** 20, clusterBits: 16, backingFile: undefined });
    expect(parse(image(['-o', 'compression_type=zstd,cluster_size=4k']))).toMatchObject({
      version: 3,
      clusterBits: 12,
      compression: 'zstd',
    });
    expect(parse(image(['-o', 'extended_l2=on'])).hasExtendedL2).toBe(true);
  });

  it('sees a backing file, an external data file, encryption and internal snapshots', () => {
    const backed = parse(image(['-u', '-b', '/etc/passwd', '-F', 'raw']));
    expect(backed.backingFile).toMatchObject({ name: '/etc/passwd', format: 'raw' });
    const external = parse(image(['-o', `data_file=${join(dir, 'outside.raw')}`]));
    expect(external.hasExternalDataFile).toBe(true);
    expect(parse(image([], set32(32, 1))).encrypted).toBe(true);
    const withSnapshot = image([]);
    execFileSync('qemu-img', ['snapshot', '-c', 'one', withSnapshot.path]);
    expect(parse({ bytes: readFileSync(withSnapshot.path) }).snapshotCount).toBe(1);
    expect(parse(image([], set(72, 1n << 40n))).unknownFeatures).toEqual([40]);
  });

  it.each([
    ['an empty file', (_: Buffer) => Buffer.alloc(0), /^not-qcow2/],
    ['another file', (_: Buffer) => Buffer.from('hello, this is no disk at all'), /^not-qcow2/],
    ['half a header', (bytes: Buffer) => bytes.subarray(0, 60), /^truncated/],
    ['a file cut before its L1 table', (bytes: Buffer) => bytes.subarray(0, 4096), /^truncated/],
    ['an unknown version', set32(4, 4), /^unsupported: qcow2 version 4/],
    ['clusters of 2^30 bytes', set32(20, 30), /^damaged: a cluster size/],
    ['a virtual size beyond 2^53', set(24, 2n ** 60n), /^damaged: the virtual size/],
    ['an L1 table that does not fit the size', set(24, 2n ** 50n), /^damaged: the L1 table is too small/],
    ['an L1 table of gigabytes', set32(36, 0x7fffffff), /^damaged: the L1 table is too large/],
    ['an L1 table that is not aligned', set(40, 3n), /^damaged: the L1 table is not aligned/],
    ['a backing name outside the first cluster', set(8, 2n ** 40n), /^damaged: the backing name/],
    ['a header longer than a cluster', set32(100, 2 ** 20), /^damaged: a header of/],
    [
      'an unknown compression',
      (bytes: Buffer) => {
        bytes.writeUInt8(9, 104);
        return set(72, 8n)(bytes);
      },
      /^unsupported: compression type 9/,
    ],
  ] as const)('refuses %s', (_what, damage, problem) => {
    expect(problemOf(() => parse(image([], damage)))).toMatch(problem);
  });

  it('gives an answer or a typed error for whatever bytes it gets', () => {
    const { bytes } = image(['-o', 'extended_l2=on']);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 6 }), fc.nat(bytes.length), (changes, length) => {
        const damaged = Buffer.from(bytes.subarray(0, length));
        for (const [at, value] of changes) if (at < length) damaged[at] = value;
        problemOf(() => parseQcow2Header(damaged, length));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a qcow2 file from a stranger', () => {
  it('never makes the reader do more than fail with a typed error', () => {
    const { path } = image(['-o', 'extended_l2=on']);
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 200k', '-c', 'write -z 512k 64k', '-c', 'write -c -P 3 320k 64k', path]);
    const bytes = readFileSync(path);
    const l1 = Number(bytes.readBigUInt64BE(40));
    const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n);
    const places = fc.oneof(
      fc.nat(120),
      fc.nat(8).map((i) => l1 + i),
      fc.nat(200).map((i) => l2 + i),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(places, fc.nat(255)), { minLength: 1, maxLength: 4 }), (changes) => {
        const damaged = Buffer.from(bytes);
        for (const [at, value] of changes) damaged[at] = value;
        writeFileSync(path, damaged);
        problemOf(() => readAndClose(path));
      }),
      { numRuns: 300 },
    );
  });
});

function readAndClose(path: string): void {
  const disk = openDisk({ layers: [{ path, format: 'qcow2', sizeBytes: 2 ** 20 }], sizeBytes: 2 ** 20 });
  const chunk = Buffer.alloc(65_536);
  try {
    for (let at = 0; at < disk.sizeBytes; at += chunk.length) disk.readSync(chunk, at);
  } finally {
    disk.close();
  }
}
