/**
 * Writes empty qcow2 overlays: version 3, clusters of 64 KiB with 32 subclusters of 2 KiB each.
 *
 * `qemu-img create` does the same, but starting it in its cage takes longer than the rest of a snapshot. The layout is the one of
 * QEMU: header, refcount table, one refcount block, L1 table, each on whole clusters; nothing else exists yet.
 */
import { replaceFileDurably } from '../../lib/durable-files.ts';

export interface EmptyQcow2 {
  readonly sizeBytes: number;
  /** The name that tools show, relative to the folder of the file. We open chains by explicit paths. */
  readonly backing: { readonly name: string; readonly format: 'raw' | 'qcow2' } | undefined;
}

const clusterBits = 16;
const clusterBytes = 2 ** clusterBits;
const l2EntryBytes = 16;
const guestBytesPerTable = (clusterBytes / l2EntryBytes) * clusterBytes;
const refcountOrder = 4;
const headerBytes = 112;
const extendedL2Bit = 1n << 4n;
const backingFormatExtension = 0xe2792aca;
const backingNameBytesMax = 1023;
/** What one refcount block of 16-bit counts covers, header included; the L1 tables of all sizes that we allow fit in. */
const sizeBytesMax = 2 ** 46;

/** Puts the file in place durably, and anew when there was one. */
export async function writeEmptyQcow2(path: string, image: EmptyQcow2): Promise<void> {
  if (!(Number.isSafeInteger(image.sizeBytes) && image.sizeBytes > 0 && image.sizeBytes % 512 === 0 && image.sizeBytes <= sizeBytesMax)) {
    throw new RangeError(`a disk cannot have ${image.sizeBytes} bytes`);
  }
  const l1EntryCount = Math.ceil(image.sizeBytes / guestBytesPerTable);
  const clusterCount = 3 + Math.ceil((l1EntryCount * 8) / clusterBytes);
  const refcountTable = Buffer.alloc(8);
  refcountTable.writeBigUInt64BE(BigInt(2 * clusterBytes));
  const refcounts = Buffer.alloc(clusterCount * 2);
  for (let i = 0; i < clusterCount; i += 1) refcounts.writeUInt16BE(1, i * 2);
  await replaceFileDurably(
    path,
    [
      { atBytes: 0, bytes: makeHeader(image, l1EntryCount) },
      { atBytes: clusterBytes, bytes: refcountTable },
      { atBytes: 2 * clusterBytes, bytes: refcounts },
    ],
    clusterCount * clusterBytes,
  );
}

function makeHeader(image: EmptyQcow2, l1EntryCount: number): Buffer {
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
  header.writeUInt32BE(l1EntryCount, 36);
  header.writeBigUInt64BE(BigInt(3 * clusterBytes), 40);
  header.writeBigUInt64BE(BigInt(clusterBytes), 48);
  header.writeUInt32BE(1, 56);
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
