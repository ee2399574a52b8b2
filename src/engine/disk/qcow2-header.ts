/**
 * The header of a qcow2 file, versions 2 and 3 (all numbers big-endian):
 *
 *     0 magic   4 version   8 backing name offset   16 backing name length   20 cluster bits   24 virtual size
 *    32 encryption   36 L1 entries   40 L1 offset   48 refcount table offset   56 refcount table clusters
 *    60 internal snapshots   64 snapshot table offset
 *    version 3: 72 incompatible features   80 compatible   88 autoclear   96 refcount order   100 header length   104 compression type
 *
 * then header extensions (type, length, data padded to 8), and the backing name, all within the first cluster.
 *
 * The file may come from a stranger: each number is checked against the file and against bounds before anybody uses it.
 */
export type Qcow2Problem =
  /** Not a qcow2 file at all. */
  | 'not-qcow2'
  /** It ends too early. */
  | 'truncated'
  /** It contradicts itself, or the format. */
  | 'damaged'
  /** It may be fine, but needs a feature that this reader does not have. */
  | 'unsupported';

export class Qcow2Error extends Error {
  readonly problem: Qcow2Problem;

  constructor(problem: Qcow2Problem, message: string) {
    super(message);
    this.name = 'Qcow2Error';
    this.problem = problem;
  }
}

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  /** The virtual size. */
  readonly sizeBytes: number;
  /** `name` is undefined when it lies beyond the bytes that were given to the parser. */
  readonly backingFile:
    | { readonly offsetBytes: number; readonly name: string | undefined; readonly format: string | undefined }
    | undefined;
  readonly encrypted: boolean;
  readonly hasExternalDataFile: boolean;
  readonly hasExtendedL2: boolean;
  /** Written to without a clean close: refcounts may be wrong, the mapping is not. */
  readonly isDirty: boolean;
  readonly isMarkedCorrupt: boolean;
  /** Numbers of the incompatible feature bits that this program does not know. */
  readonly unknownFeatures: readonly number[];
  readonly compression: 'zlib' | 'zstd';
  readonly snapshotCount: number;
  readonly l1: { readonly offsetBytes: number; readonly entryCount: number };
}

const magic = 0x514649fb;
const v2HeaderBytes = 72;
const v3HeaderBytesMin = 104;
const l1BytesMax = 32 * 1024 * 1024;
const backingNameBytesMax = 1023;
const snapshotCountMax = 65_536;
const featureBit = { dirty: 0, corrupt: 1, externalData: 2, compressionType: 3, extendedL2: 4 } as const;
const extensionType = { end: 0, backingFormat: 0xe2792aca, externalDataName: 0x44415441, luks: 0x0537be77 } as const;

/** The bytes that `parseQcow2Header` wants from the beginning of a file, if it has so many: enough for every header that QEMU writes. */
export const qcow2HeaderBytesWanted = 64 * 1024;

/** Parses and checks the header in the first bytes of a file. Throws `Qcow2Error` with the reason. */
export function parseQcow2Header(start: Uint8Array, fileSizeBytes: number): Qcow2Header {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength);
  if (bytes.length < 4 || bytes.readUInt32BE(0) !== magic)
    throw new Qcow2Error('not-qcow2', 'the file does not begin with the qcow2 magic');
  if (bytes.length < v2HeaderBytes) throw new Qcow2Error('truncated', 'the file ends inside the qcow2 header');
  const version = bytes.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw new Qcow2Error('unsupported', `qcow2 version ${version} is unknown`);
  const clusterBits = bytes.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw damaged(`a cluster size of 2^${clusterBits} is not allowed`);
  const clusterBytes = 2 ** clusterBits;

  const features = version === 3 ? readFeatures(bytes) : noFeatures;
  const headerBytes = version === 3 ? readHeaderLength(bytes, clusterBytes, fileSizeBytes) : v2HeaderBytes;
  const extensions = readExtensions(bytes, headerBytes, clusterBytes);
  const sizeBytes = readOffset(bytes, 24, 'virtual size');
  checkSizeOfRefcounts(bytes, version);
  const snapshotCount = bytes.readUInt32BE(60);
  if (snapshotCount > snapshotCountMax) throw damaged(`${snapshotCount} internal snapshots are too many`);

  return {
    version,
    clusterBits,
    clusterBytes,
    sizeBytes,
    backingFile: readBackingFile(bytes, clusterBytes, fileSizeBytes, extensions.backingFormat),
    encrypted: bytes.readUInt32BE(32) !== 0 || extensions.hasLuks,
    hasExternalDataFile: features.has(featureBit.externalData) || extensions.hasExternalDataName,
    hasExtendedL2: features.has(featureBit.extendedL2),
    isDirty: features.has(featureBit.dirty),
    isMarkedCorrupt: features.has(featureBit.corrupt),
    unknownFeatures: [...features].filter((bit) => bit > featureBit.extendedL2),
    compression: readCompression(bytes, features, headerBytes),
    snapshotCount,
    l1: readL1(bytes, { sizeBytes, clusterBytes, fileSizeBytes, entryBytes: features.has(featureBit.extendedL2) ? 16 : 8 }),
  };
}

const noFeatures: ReadonlySet<number> = new Set();

function readFeatures(bytes: Buffer): ReadonlySet<number> {
  if (bytes.length < v3HeaderBytesMin) throw new Qcow2Error('truncated', 'the file ends inside the qcow2 header');
  const mask = bytes.readBigUInt64BE(72);
  const bits = new Set<number>();
  for (let bit = 0; bit < 64; bit += 1) if ((mask >> BigInt(bit)) & 1n) bits.add(bit);
  return bits;
}

function readHeaderLength(bytes: Buffer, clusterBytes: number, fileSizeBytes: number): number {
  const length = bytes.readUInt32BE(100);
  if (length < v3HeaderBytesMin || length % 8 !== 0 || length > clusterBytes) throw damaged(`a header of ${length} bytes is not allowed`);
  if (length > fileSizeBytes || length > bytes.length) throw new Qcow2Error('truncated', 'the file ends inside the qcow2 header');
  return length;
}

interface Extensions {
  backingFormat: string | undefined;
  hasExternalDataName: boolean;
  hasLuks: boolean;
}

/** Stops quietly at the end of the given bytes: what a stranger hides behind them is no extension for QEMU's reader either, which stops at the first cluster's end. */
function readExtensions(bytes: Buffer, headerBytes: number, clusterBytes: number): Extensions {
  const found: Extensions = { backingFormat: undefined, hasExternalDataName: false, hasLuks: false };
  const nameOffset = Number(bytes.readBigUInt64BE(8));
  const end = Math.min(bytes.length, clusterBytes, nameOffset > headerBytes ? nameOffset : clusterBytes);
  for (let at = headerBytes; at + 8 <= end; ) {
    const type = bytes.readUInt32BE(at);
    const length = bytes.readUInt32BE(at + 4);
    if (type === extensionType.end) break;
    if (at + 8 + length > clusterBytes) throw damaged('a header extension ends outside the first cluster');
    if (type === extensionType.backingFormat) found.backingFormat = bytes.toString('latin1', at + 8, Math.min(end, at + 8 + length));
    if (type === extensionType.externalDataName) found.hasExternalDataName = true;
    if (type === extensionType.luks) found.hasLuks = true;
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function readBackingFile(
  bytes: Buffer,
  clusterBytes: number,
  fileSizeBytes: number,
  format: string | undefined,
): Qcow2Header['backingFile'] {
  const offsetBytes = readOffset(bytes, 8, 'backing name offset');
  if (offsetBytes === 0) return undefined;
  const length = bytes.readUInt32BE(16);
  if (length > backingNameBytesMax || offsetBytes + length > clusterBytes) throw damaged('the backing name lies outside the first cluster');
  if (offsetBytes + length > fileSizeBytes) throw new Qcow2Error('truncated', 'the file ends inside the backing name');
  const isGiven = offsetBytes + length <= bytes.length;
  return { offsetBytes, format, name: isGiven ? bytes.toString('utf8', offsetBytes, offsetBytes + length) : undefined };
}

function readL1(
  bytes: Buffer,
  of: { sizeBytes: number; clusterBytes: number; fileSizeBytes: number; entryBytes: number },
): { offsetBytes: number; entryCount: number } {
  const entryCount = bytes.readUInt32BE(36);
  const offsetBytes = readOffset(bytes, 40, 'L1 table offset');
  if (of.entryBytes === 16 && of.clusterBytes < 2 ** 14) throw damaged('clusters are too small for extended L2 entries');
  const bytesPerEntry = (of.clusterBytes / of.entryBytes) * of.clusterBytes;
  const wanted = Math.ceil(of.sizeBytes / bytesPerEntry);
  if (entryCount * 8 > l1BytesMax) throw damaged('the L1 table is too large');
  if (entryCount < wanted) throw damaged('the L1 table is too small for the disk');
  if (entryCount > 0 && (offsetBytes === 0 || offsetBytes % of.clusterBytes !== 0)) throw damaged('the L1 table is not aligned');
  if (entryCount > 0 && offsetBytes + entryCount * 8 > of.fileSizeBytes)
    throw new Qcow2Error('truncated', 'the file ends before or inside the L1 table');
  return { offsetBytes, entryCount };
}

function checkSizeOfRefcounts(bytes: Buffer, version: 2 | 3): void {
  if (version === 3 && bytes.readUInt32BE(96) > 6) throw damaged('the refcount width is not allowed');
}

function readCompression(bytes: Buffer, features: ReadonlySet<number>, headerBytes: number): 'zlib' | 'zstd' {
  const type = headerBytes > 104 ? bytes.readUInt8(104) : 0;
  if (features.has(featureBit.compressionType) !== (type !== 0)) throw damaged('the compression type contradicts the feature bits');
  if (type > 1) throw new Qcow2Error('unsupported', `compression type ${type} is unknown`);
  return type === 0 ? 'zlib' : 'zstd';
}

function readOffset(bytes: Buffer, at: number, what: string): number {
  const value = Number(bytes.readBigUInt64BE(at));
  if (!Number.isSafeInteger(value)) throw damaged(`the ${what} is beyond all bounds`);
  return value;
}

function damaged(reason: string): Qcow2Error {
  return new Qcow2Error('damaged', reason);
}
