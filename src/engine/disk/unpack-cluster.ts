/**
 * Unpacks one compressed cluster of a qcow2 file.
 *
 * The table knows the length of the packed bytes only in whole sectors, and QEMU begins the next cluster right behind this one. So what
 * is given here ends with bytes that belong to something else, and an end of the file may cut the last sector short.
 */
import { inflateRawSync, constants as zlib, zstdDecompressSync } from 'node:zlib';
import { messageOf } from '../../lib/errors.ts';
import { Qcow2Error } from './qcow2-header.ts';

export interface ClusterFormat {
  readonly codec: 'zlib' | 'zstd';
  readonly clusterBytes: number;
}

/** Returns exactly one cluster, and allocates no more than that. Throws `Qcow2Error` when the bytes do not hold one. */
export function unpackCluster(packed: Buffer, { codec, clusterBytes }: ClusterFormat): Buffer {
  const cluster = codec === 'zlib' ? inflate(packed, clusterBytes) : unpackFrames(packed, clusterBytes);
  if (cluster.length !== clusterBytes) throw damaged(`it has ${cluster.length} instead of ${clusterBytes} bytes`);
  return cluster;
}

/** The decoder stops by itself at the end of the stream; without the flag it would insist on having seen that end. */
function inflate(packed: Buffer, clusterBytes: number): Buffer {
  return decoded(() => inflateRawSync(packed, { finishFlush: zlib.Z_SYNC_FLUSH, maxOutputLength: clusterBytes }));
}

/** This decoder would go on with the next frame, which may be that of another cluster: each frame is cut out first. */
function unpackFrames(packed: Buffer, clusterBytes: number): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  let missingBytes = clusterBytes;
  while (missingBytes > 0) {
    const end = at + zstdFrameBytes(packed.subarray(at));
    const part = unpackFrame(packed.subarray(at, end), missingBytes);
    parts.push(part);
    missingBytes -= part.length;
    at = end;
  }
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

function unpackFrame(frame: Buffer, bytesMax: number): Buffer {
  const params = { [zlib.ZSTD_d_windowLogMax]: windowLogMax };
  return decoded(() => zstdDecompressSync(frame, { maxOutputLength: bytesMax, params }));
}

/** A frame may ask for memory of its own. So much is plenty for a cluster, which has 2 MiB at most. */
const windowLogMax = 23;
const frameMagic = 0xfd2fb528;
const checksumBytes = 4;

/** The length of the zstd frame (RFC 8878) that the bytes begin with: its header says how long that is, each block says where the next begins. */
function zstdFrameBytes(bytes: Buffer): number {
  if (bytes.length < 5 || bytes.readUInt32LE(0) !== frameMagic) throw damaged('no zstd frame begins where one should');
  const descriptor = bytes.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const hasChecksum = (descriptor & 0x04) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] as number;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes;
  for (let isLast = false; !isLast; ) {
    if (at + 3 > bytes.length) throw damaged('it ends inside a zstd frame');
    const block = bytes.readUIntLE(at, 3);
    const isRepeatedByte = ((block >>> 1) & 3) === 1;
    isLast = (block & 1) !== 0;
    at += 3 + (isRepeatedByte ? 1 : block >>> 3);
  }
  if (hasChecksum) at += checksumBytes;
  if (at > bytes.length) throw damaged('it ends inside a zstd frame');
  return at;
}

function decoded(decode: () => Buffer): Buffer {
  try {
    return decode();
  } catch (error) {
    throw damaged(messageOf(error));
  }
}

function damaged(reason: string): Qcow2Error {
  return new Qcow2Error('damaged', `a compressed cluster cannot be unpacked: ${reason}`);
}
