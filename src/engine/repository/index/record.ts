/**
 * Index segments: immutable sorted files in a local cache folder that lead from chunk ids to stored chunks. Derived from the directories
 * of packs, never needed to read a backup, and never trusted: every block carries a keyed checksum, because a record that was
 * wrong would lead a new backup to bytes that are not its own.
 *
 *     header (64 bytes) · blocks of 4 KiB · pack table · fence · filter
 *
 * A block has up to 127 records of 32 bytes, ascending by id. The fence holds the first four bytes of each block's first id, so a lookup
 * reads one block. The filter answers most lookups without any read.
 */
import { type IdHasher, isSameId } from '../chunk-id.ts';
import { ID_BYTES, type PackName } from '../format.ts';

export const SEGMENT_MAGIC = 'SPIX';
export const SEGMENT_VERSION = 0;
export const HEADER_BYTES = 64;
export const BLOCK_BYTES = 4096;
export const RECORD_BYTES = 32;
export const BLOCK_RECORDS = 127;
/** 20 bytes of name, 8 of length. */
export const PACK_RECORD_BYTES = 28;

const COUNT_OFFSET = BLOCK_RECORDS * RECORD_BYTES;
const NUMBER_OFFSET = COUNT_OFFSET + 4;
const CHECKSUM_OFFSET = BLOCK_BYTES - ID_BYTES;

/** A stored chunk as the index knows it. */
export interface ChunkPlace {
  readonly pack: PackName;
  readonly packLengthBytes: number;
  readonly frame: number;
  readonly slot: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface IndexedPack {
  readonly name: PackName;
  readonly lengthBytes: number;
}

export interface RecordFields {
  readonly pack: number;
  readonly frame: number;
  readonly slot: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export function writeRecordFields(target: Buffer, at: number, fields: RecordFields): void {
  target.writeUInt32LE(fields.pack, at + 16);
  target.writeUInt16LE(fields.frame, at + 20);
  target.writeUInt16LE(fields.slot, at + 22);
  target.writeUInt32LE(fields.offsetBytes, at + 24);
  target.writeUInt32LE(fields.lengthBytes, at + 28);
}

export function readRecordFields(source: Buffer, at: number): RecordFields {
  return {
    pack: source.readUInt32LE(at + 16),
    frame: source.readUInt16LE(at + 20),
    slot: source.readUInt16LE(at + 22),
    offsetBytes: source.readUInt32LE(at + 24),
    lengthBytes: source.readUInt32LE(at + 28),
  };
}

export function sealBlock(block: Buffer, count: number, number: number, hasher: IdHasher): void {
  block.writeUInt32LE(count, COUNT_OFFSET);
  block.writeUInt32LE(number, NUMBER_OFFSET);
  hasher.write(block.subarray(0, CHECKSUM_OFFSET), block, CHECKSUM_OFFSET);
}

/** The number of records of a block; undefined when the block is not what was written. */
export function checkBlock(block: Buffer, number: number, hasher: IdHasher): number | undefined {
  if (!isSameId(hasher.idOf(block.subarray(0, CHECKSUM_OFFSET)), 0, block, CHECKSUM_OFFSET)) return undefined;
  const count = block.readUInt32LE(COUNT_OFFSET);
  return block.readUInt32LE(NUMBER_OFFSET) === number && count <= BLOCK_RECORDS ? count : undefined;
}

/** The order of records. */
export function compareIds(a: Buffer, aOffset: number, b: Buffer, bOffset: number): number {
  return a.compare(b, bOffset, bOffset + ID_BYTES, aOffset, aOffset + ID_BYTES);
}
