import { closeSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { createIdHasher, type IdHasher } from '../chunk-id.ts';
import { encodePackName, ID_BYTES } from '../format.ts';
import { addToFilter, filterWordsFor } from './filter.ts';
import {
  BLOCK_BYTES,
  BLOCK_RECORDS,
  compareIds,
  HEADER_BYTES,
  type IndexedPack,
  PACK_RECORD_BYTES,
  RECORD_BYTES,
  type RecordFields,
  SEGMENT_MAGIC,
  SEGMENT_VERSION,
  sealBlock,
  writeRecordFields,
} from './record.ts';

/**
 * Writes one segment from records in ascending order of ids. The file gets its name when it is whole. It is not flushed to the disk:
 * what a loss of power leaves of it fails its checksums and is made again.
 */
export class SegmentWriter {
  readonly #path: string;
  readonly #temporaryPath: string;
  readonly #hasher: IdHasher;
  readonly #fd: number;
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  readonly #last = Buffer.alloc(ID_BYTES);
  readonly #filter: Uint32Array;
  #fence = new Uint32Array(64);
  #blockCount = 0;
  #inBlock = 0;
  #recordCount = 0;

  /** `recordCountMax` sizes the filter: more records than that make it useless, fewer waste a little. */
  constructor(path: string, idKey: Buffer, recordCountMax: number) {
    this.#path = path;
    this.#temporaryPath = `${path}.part`;
    this.#hasher = createIdHasher(idKey);
    this.#filter = new Uint32Array(filterWordsFor(recordCountMax));
    this.#fd = openSync(this.#temporaryPath, 'w', 0o600);
  }

  /** An id that was just written is left out: one place for each chunk is enough. */
  add(ids: Buffer, at: number, fields: RecordFields): void {
    if (this.#recordCount > 0 && compareIds(this.#last, 0, ids, at) >= 0) {
      if (compareIds(this.#last, 0, ids, at) === 0) return;
      throw new Error('index records must come in ascending order');
    }
    ids.copy(this.#last, 0, at, at + ID_BYTES);
    if (this.#inBlock === 0) this.#fenceBlock(ids.readUInt32BE(at));
    const offset = this.#inBlock * RECORD_BYTES;
    ids.copy(this.#block, offset, at, at + ID_BYTES);
    writeRecordFields(this.#block, offset, fields);
    addToFilter(this.#filter, ids, at);
    this.#inBlock += 1;
    this.#recordCount += 1;
    if (this.#inBlock === BLOCK_RECORDS) this.#writeBlock();
  }

  /** `packs` in the order of the numbers that records gave them. */
  finish(packs: readonly IndexedPack[]): void {
    if (this.#inBlock > 0) this.#writeBlock();
    const fence = Buffer.from(this.#fence.buffer, 0, this.#blockCount * 4);
    const tables = Buffer.concat([encodePackTable(packs), fence]);
    const filter = Buffer.from(this.#filter.buffer);
    writeFully(this.#fd, tables, HEADER_BYTES + this.#blockCount * BLOCK_BYTES);
    writeFully(this.#fd, filter, HEADER_BYTES + this.#blockCount * BLOCK_BYTES + tables.length);
    writeFully(this.#fd, this.#header(packs.length, this.#hasher.idOf(tables)), 0);
    closeSync(this.#fd);
    renameSync(this.#temporaryPath, this.#path);
  }

  abort(): void {
    try {
      closeSync(this.#fd);
      unlinkSync(this.#temporaryPath);
    } catch {
      // It was finished, or is a leftover that the next start of the index removes.
    }
  }

  #fenceBlock(first: number): void {
    if (this.#blockCount === this.#fence.length) {
      const larger = new Uint32Array(this.#fence.length * 2);
      larger.set(this.#fence);
      this.#fence = larger;
    }
    this.#fence[this.#blockCount] = first;
  }

  #writeBlock(): void {
    this.#block.fill(0, this.#inBlock * RECORD_BYTES);
    sealBlock(this.#block, this.#inBlock, this.#blockCount, this.#hasher);
    writeFully(this.#fd, this.#block, HEADER_BYTES + this.#blockCount * BLOCK_BYTES);
    this.#blockCount += 1;
    this.#inBlock = 0;
  }

  #header(packCount: number, tableChecksum: Buffer): Buffer {
    const header = Buffer.alloc(HEADER_BYTES);
    header.write(SEGMENT_MAGIC, 'latin1');
    header[4] = SEGMENT_VERSION;
    header.writeUInt32LE(this.#recordCount, 8);
    header.writeUInt32LE(this.#blockCount, 12);
    header.writeUInt32LE(packCount, 16);
    header.writeUInt32LE(this.#filter.length, 20);
    tableChecksum.copy(header, 24);
    this.#hasher.write(header.subarray(0, HEADER_BYTES - ID_BYTES), header, HEADER_BYTES - ID_BYTES);
    return header;
  }
}

function encodePackTable(packs: readonly IndexedPack[]): Buffer {
  const table = Buffer.alloc(packs.length * PACK_RECORD_BYTES);
  packs.forEach((pack, index) => {
    encodePackName(pack.name).copy(table, index * PACK_RECORD_BYTES);
    table.writeBigUInt64LE(BigInt(pack.lengthBytes), index * PACK_RECORD_BYTES + 20);
  });
  return table;
}

function writeFully(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
