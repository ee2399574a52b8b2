/**
 * What all qcow2 files that we write have in common: version 3, clusters of 64 KiB with 32 subclusters of 2 KiB each, refcounts of 16 bits.
 */
export interface Qcow2Image {
  readonly sizeBytes: number;
  /** The name that tools show, relative to the folder of the file. We open chains by explicit paths. */
  readonly backing: { readonly name: string; readonly format: 'raw' | 'qcow2' } | undefined;
}

const clusterBits = 16;
export const qcow2ClusterBytes = 2 ** clusterBits;
export const l2EntryBytes = 16;
/** The part of a disk that one L2 table describes. */
export const guestBytesPerTable = (qcow2ClusterBytes / l2EntryBytes) * qcow2ClusterBytes;
/** On every cluster that one entry refers to: it may be written to in its place. */
export const refcountIsOneBit = 1n << 63n;
const refcountOrder = 4;
const headerBytes = 112;
const extendedL2Bit = 1n << 4n;
const backingFormatExtension = 0xe2792aca;
const backingNameBytesMax = 1023;
/** For an empty file: what one refcount block covers, header included; the L1 tables of all sizes that we allow fit in. */
const sizeBytesMax = 2 ** 46;

export function checkQcow2Size(sizeBytes: number): void {
  if (!(Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % 512 === 0 && sizeBytes <= sizeBytesMax)) {
    throw new RangeError(`a disk cannot have ${sizeBytes} bytes`);
  }
}

export function l1EntryCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / guestBytesPerTable);
}

/** Where the tables begin in the file. */
export interface Qcow2Tables {
  readonly l1OffsetBytes: number;
  readonly refcountTableOffsetBytes: number;
  readonly refcountTableClusters: number;
}

export function makeQcow2Header(image: Qcow2Image, tables: Qcow2Tables): Buffer {
  const name = Buffer.from(image.backing?.name ?? '', 'utf8');
  if (name.length > backingNameBytesMax) throw new RangeError('the backing name is too long');
  const extensions = makeExtensions(image.backing?.format);
  const header = Buffer.alloc(headerBytes);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  if (name.length > 0) {
    header.writeBigUInt64BE(BigInt(headerBytes + extensions.length), 8);
    header.writeUInt32BE(name.length, 16);
  }
  header.writeUInt32BE(clusterBits, 20);
  header.writeBigUInt64BE(BigInt(image.sizeBytes), 24);
  header.writeUInt32BE(l1EntryCountOf(image.sizeBytes), 36);
  header.writeBigUInt64BE(BigInt(tables.l1OffsetBytes), 40);
  header.writeBigUInt64BE(BigInt(tables.refcountTableOffsetBytes), 48);
  header.writeUInt32BE(tables.refcountTableClusters, 56);
  header.writeBigUInt64BE(extendedL2Bit, 72);
  header.writeUInt32BE(refcountOrder, 96);
  header.writeUInt32BE(headerBytes, 100);
  return Buffer.concat([header, extensions, name]);
}

function makeExtensions(backingFormat: string | undefined): Buffer {
  const end = Buffer.alloc(8);
  if (backingFormat === undefined) return end;
  const format = Buffer.alloc(16);
  format.writeUInt32BE(backingFormatExtension, 0);
  format.writeUInt32BE(backingFormat.length, 4);
  format.write(backingFormat, 8, 'latin1');
  return Buffer.concat([format, end]);
}
