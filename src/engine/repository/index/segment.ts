import { closeSync, openSync, readSync } from 'node:fs';
import type { IdHasher } from '../chunk-id.ts';
import { isSameId } from '../chunk-id.ts';
import { decodePackName, ID_BYTES, type PackName } from '../format.ts';
import { mayContain } from './filter.ts';
import {
  BLOCK_BYTES,
  type ChunkPlace,
  checkBlock,
  compareIds,
  HEADER_BYTES,
  type IndexedPack,
  PACK_RECORD_BYTES,
  RECORD_BYTES,
  readRecordFields,
  SEGMENT_MAGIC,
  SEGMENT_VERSION,
} from './record.ts';

/** A segment as data that threads share: its tables lie in shared memory, each thread opens the file for itself. */
export interface SegmentHandle {
  readonly path: string;
  readonly recordCount: number;
  readonly blockCount: number;
  readonly packs: SharedArrayBuffer;
  /** One byte for each pack: not 0 when nothing may refer to it any more. */
  readonly retired: SharedArrayBuffer;
  readonly fence: SharedArrayBuffer;
  readonly filter: SharedArrayBuffer;
}

/** Loads the tables of a segment. Undefined when the file is not a whole segment made under this key. */
export function loadSegment(path: string, hasher: IdHasher): SegmentHandle | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (!readFully(fd, header, 0) || header.toString('latin1', 0, 4) !== SEGMENT_MAGIC || header[4] !== SEGMENT_VERSION) return undefined;
    const checked = HEADER_BYTES - ID_BYTES;
    if (!isSameId(hasher.idOf(header.subarray(0, checked)), 0, header, checked)) return undefined;
    const blockCount = header.readUInt32LE(12);
    const packBytes = header.readUInt32LE(16) * PACK_RECORD_BYTES;
    const tables = Buffer.alloc(packBytes + blockCount * 4);
    const filter = new SharedArrayBuffer(header.readUInt32LE(20) * 4);
    const tablesAt = HEADER_BYTES + blockCount * BLOCK_BYTES;
    if (!readFully(fd, tables, tablesAt) || !isSameId(hasher.idOf(tables), 0, header, 24)) return undefined;
    if (!readFully(fd, Buffer.from(filter), tablesAt + tables.length)) return undefined;
    return {
      path,
      recordCount: header.readUInt32LE(8),
      blockCount,
      packs: sharedCopy(tables.subarray(0, packBytes)),
      retired: new SharedArrayBuffer(packBytes / PACK_RECORD_BYTES),
      fence: sharedCopy(tables.subarray(packBytes)),
      filter,
    };
  } finally {
    closeSync(fd);
  }
}

export function packOf(handle: SegmentHandle, index: number): IndexedPack {
  const table = Buffer.from(handle.packs);
  const at = index * PACK_RECORD_BYTES;
  return { name: decodePackName(table, at), lengthBytes: Number(table.readBigUInt64LE(at + 20)) };
}

/** Looks ids up in one segment. Used by one thread. */
export class Segment {
  readonly handle: SegmentHandle;
  readonly #hasher: IdHasher;
  readonly #fd: number;
  readonly #filter: Uint32Array;
  readonly #fence: Uint32Array;
  readonly #retired: Uint8Array;
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  readonly #packs = new Map<number, IndexedPack>();
  #blockNumber = -1;
  #blockRecords = 0;

  constructor(handle: SegmentHandle, hasher: IdHasher) {
    this.handle = handle;
    this.#hasher = hasher;
    this.#fd = openSync(handle.path, 'r');
    this.#filter = new Uint32Array(handle.filter);
    this.#fence = new Uint32Array(handle.fence);
    this.#retired = new Uint8Array(handle.retired);
  }

  find(id: Buffer, at: number): ChunkPlace | undefined {
    if (this.handle.recordCount === 0 || !mayContain(this.#filter, id, at)) return undefined;
    // Ids with equal first four bytes may begin in the block before the one whose fence equals them.
    const first = id.readUInt32BE(at);
    for (let number = this.#lastBlockBefore(first); number < this.handle.blockCount; number += 1) {
      if (number > 0 && (this.#fence[number] as number) > first) return undefined;
      const position = this.#load(number) ? this.#search(id, at) : -1;
      if (position >= 0) return this.#placeAt(position * RECORD_BYTES);
    }
    return undefined;
  }

  /** The records of a block, in order: for merging. Undefined when it is damaged. */
  readBlock(number: number): { readonly bytes: Buffer; readonly count: number } | undefined {
    return this.#load(number) ? { bytes: Buffer.from(this.#block), count: this.#blockRecords } : undefined;
  }

  isRetired(pack: number): boolean {
    return this.#retired[pack] !== 0;
  }

  pack(index: number): IndexedPack {
    const known = this.#packs.get(index);
    if (known !== undefined) return known;
    const pack = packOf(this.handle, index);
    this.#packs.set(index, pack);
    return pack;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #placeAt(at: number): ChunkPlace | undefined {
    const { pack: index, ...place } = readRecordFields(this.#block, at);
    if (index >= this.#retired.length || this.isRetired(index)) return undefined;
    const pack = this.pack(index);
    return { pack: pack.name, packLengthBytes: pack.lengthBytes, ...place };
  }

  /** The last block whose first id begins with less than `first`; 0 when there is none. */
  #lastBlockBefore(first: number): number {
    let low = 0;
    let high = this.handle.blockCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#fence[middle] as number) < first) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  #load(number: number): boolean {
    if (this.#blockNumber === number) return true;
    this.#blockNumber = -1;
    if (!readFully(this.#fd, this.#block, HEADER_BYTES + number * BLOCK_BYTES)) return false;
    const count = checkBlock(this.#block, number, this.#hasher);
    if (count === undefined) return false;
    this.#blockNumber = number;
    this.#blockRecords = count;
    return true;
  }

  #search(id: Buffer, at: number): number {
    let low = 0;
    let high = this.#blockRecords;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareIds(this.#block, middle * RECORD_BYTES, id, at);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -1;
  }
}

function readFully(fd: number, target: Uint8Array, position: number): boolean {
  for (let done = 0; done < target.byteLength; ) {
    const count = readSync(fd, target, done, target.byteLength - done, position + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}

function sharedCopy(bytes: Buffer): SharedArrayBuffer {
  const shared = new SharedArrayBuffer(bytes.length);
  Buffer.from(shared).set(bytes);
  return shared;
}

/** The session that wrote a pack. */
export function sessionOf(pack: PackName): string {
  return pack.slice(0, 32);
}
