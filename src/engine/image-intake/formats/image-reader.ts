/** Reading tables of an uploaded file whose every number may be a lie. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Why an image is not taken, in words for its sender. */
export class ImageRefusal extends Error {}

export interface ImageReader {
  readonly sizeBytes: number;
  /** Throws an `ImageRefusal` when the file does not hold all of it. */
  read(offset: number, lengthBytes: number): Buffer;
  /** The first bytes, or fewer when there are no more. */
  start(lengthBytes: number): Buffer;
  close(): void;
}

/** What our own parsers find out about a disk inside a file. */
export interface DiskFacts {
  /** The size of the disk inside. */
  readonly virtualBytes: number;
  /** At most so much of it is data. */
  readonly dataBytesMax: number;
}

export function openImage(path: string): ImageReader {
  const file = openSync(path, 'r');
  const sizeBytes = fstatSync(file).size;

  function fill(target: Buffer, offset: number): number {
    let done = 0;
    while (done < target.length) {
      const length = readSync(file, target, done, target.length - done, offset + done);
      if (length === 0) break;
      done += length;
    }
    return done;
  }

  return {
    sizeBytes,
    read(offset, lengthBytes) {
      if (!Number.isSafeInteger(offset) || offset < 0 || offset + lengthBytes > sizeBytes) throw new ImageRefusal('the file is cut short');
      const bytes = Buffer.alloc(lengthBytes);
      if (fill(bytes, offset) < lengthBytes) throw new ImageRefusal('the file is cut short');
      return bytes;
    },
    start(lengthBytes) {
      const bytes = Buffer.alloc(Math.min(lengthBytes, sizeBytes));
      return bytes.subarray(0, fill(bytes, 0));
    },
    close: () => closeSync(file),
  };
}

/** An unsigned number of eight bytes; what cannot be exact refuses the file. */
export function number64(bytes: Buffer, at: number, order: 'little' | 'big'): number {
  const value = Number(order === 'little' ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
  if (!Number.isSafeInteger(value)) throw new ImageRefusal('a number in it is beyond all bounds');
  return value;
}

export function refuseUnless(condition: boolean, reason: string): asserts condition {
  if (!condition) throw new ImageRefusal(reason);
}

/** Asked before the tables are read: a lie about the size of the disk makes them large. */
export function refuseLarger(virtualBytes: number, virtualBytesMax: number): void {
  refuseUnless(virtualBytes <= virtualBytesMax, `the disk of ${virtualBytes} bytes is larger than ${virtualBytesMax} bytes`);
}

/** Of files whose end is told by their length: QEMU rounds that up to whole sectors, and would find another end than we do. */
export function refuseOddLength(file: ImageReader): void {
  refuseUnless(file.sizeBytes % 512 === 0, 'its length is no multiple of 512 bytes: the file is cut short');
}

export const isPowerOfTwo = (value: number): boolean => value > 0 && Number.isInteger(Math.log2(value));

const tablePieceBytes = 1024 * 1024;

/** Hands out a table piece by piece, so that a large one takes no memory. `visit` gets the bytes and where in them the entry begins. */
export function eachEntry(
  file: ImageReader,
  table: { readonly offset: number; readonly entryCount: number; readonly entryBytes: number },
  visit: (bytes: Buffer, at: number, index: number) => void,
): void {
  const entriesPerPiece = tablePieceBytes / table.entryBytes;
  for (let first = 0; first < table.entryCount; first += entriesPerPiece) {
    const count = Math.min(entriesPerPiece, table.entryCount - first);
    const bytes = file.read(table.offset + first * table.entryBytes, count * table.entryBytes);
    for (let index = 0; index < count; index += 1) visit(bytes, index * table.entryBytes, first + index);
  }
}
