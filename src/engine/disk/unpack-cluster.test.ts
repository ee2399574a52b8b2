import { randomBytes } from 'node:crypto';
import { deflateRawSync, constants as zlib, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { Qcow2Error } from './qcow2-header.ts';
import { unpackCluster } from './unpack-cluster.ts';

const clusterBytes = 65_536;
/** Half of it can be compressed. */
const cluster = Buffer.concat([randomBytes(clusterBytes / 2), Buffer.alloc(clusterBytes / 2, 'abc')]);
const packers = {
  zlib: (bytes: Buffer) => deflateRawSync(bytes, { windowBits: 12 }),
  zstd: (bytes: Buffer) => zstdCompressSync(bytes),
} as const;

describe.each(['zlib', 'zstd'] as const)('a cluster packed with %s', (codec) => {
  const packed = packers[codec](cluster);
  const unpack = (bytes: Buffer): Buffer => unpackCluster(bytes, { codec, clusterBytes });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['zeroes to the end of the sector', Buffer.alloc(300)],
    ['noise', randomBytes(300)],
    ['the beginning of the next cluster', packed.subarray(0, 400)],
    ['a whole neighbour', packers[codec](Buffer.alloc(clusterBytes, 7))],
  ])('is unpacked when %s follows', (_what, tail) => {
    expect(unpack(Buffer.concat([packed, tail])).equals(cluster)).toBe(true);
  });

  it.each([
    ['is cut short', packed.subarray(0, packed.length / 2)],
    ['is empty', Buffer.alloc(0)],
    ['is noise', randomBytes(1000)],
    ['holds less than a cluster', packers[codec](cluster.subarray(1))],
    ['holds more than a cluster', packers[codec](Buffer.concat([cluster, Buffer.alloc(1)]))],
  ])('is refused when it %s', (_what, bytes) => {
    expect(() => unpack(bytes)).toThrow(Qcow2Error);
  });
});

describe('a cluster packed with zstd', () => {
  const unpack = (bytes: Buffer): Buffer => unpackCluster(bytes, { codec: 'zstd', clusterBytes });

  it('may be made of several frames', () => {
    const frames = [cluster.subarray(0, 1000), Buffer.alloc(0), cluster.subarray(1000)].map((part) => zstdCompressSync(part));
    expect(unpack(Buffer.concat([...frames, randomBytes(100)])).equals(cluster)).toBe(true);
  });

  it('may have a checksum', () => {
    const whole = zstdCompressSync(cluster, { params: { [zlib.ZSTD_c_checksumFlag]: 1 } });
    expect(unpack(Buffer.concat([whole, whole])).equals(cluster)).toBe(true);
    const wrong = Buffer.from(whole);
    wrong[wrong.length - 1] = (wrong.at(-1) as number) ^ 1;
    expect(() => unpack(wrong)).toThrow(Qcow2Error);
  });
});
