/**
 * The chunks that a running session has just stored, shared by its worker threads, so that content which repeats within one disk is stored
 * once. A table of fixed size in shared memory where a newer chunk replaces an older one: what was forgotten is stored again, no more.
 * An id may lie in any of the few entries of its bucket: with one place each, two chunks that share it would push each other out for ever.
 *
 * Each bucket has a lock word. Nobody waits for it: a bucket that is busy counts as empty.
 */
import { isSameId } from '../chunk-id.ts';
import { ID_BYTES } from '../format.ts';

const ENTRY_BYTES = 32;
const BUCKET_ENTRIES = 4;
const ENTRIES_MIN = 1024;
/** 4.5 MiB. */
const ENTRIES_MAX = 128 * 1024;

export interface RecentChunksHandle {
  readonly entries: SharedArrayBuffer;
  readonly locks: SharedArrayBuffer;
}

/** A chunk of the session's own: the pack by its sequence number. */
export interface RecentPlace {
  readonly sequence: number;
  readonly frame: number;
  readonly slot: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export function createRecentChunks(chunkCount: number): RecentChunksHandle {
  let count = ENTRIES_MIN;
  while (count < chunkCount * 2 && count < ENTRIES_MAX) count *= 2;
  return { entries: new SharedArrayBuffer(count * ENTRY_BYTES), locks: new SharedArrayBuffer((count / BUCKET_ENTRIES) * 4) };
}

export class RecentChunks {
  readonly #entries: Buffer;
  readonly #locks: Int32Array;

  constructor(handle: RecentChunksHandle) {
    this.#entries = Buffer.from(handle.entries);
    this.#locks = new Int32Array(handle.locks);
  }

  find(id: Buffer, at: number): RecentPlace | undefined {
    const bucket = this.#bucketOf(id, at);
    if (!this.#lock(bucket)) return undefined;
    const entry = this.#entryOf(bucket, id, at);
    const place =
      entry === undefined
        ? undefined
        : {
            sequence: this.#entries.readUInt32LE(entry + 16),
            frame: this.#entries.readUInt16LE(entry + 20),
            slot: this.#entries.readUInt16LE(entry + 22),
            offsetBytes: this.#entries.readUInt32LE(entry + 24),
            lengthBytes: this.#entries.readUInt32LE(entry + 28),
          };
    this.#unlock(bucket);
    return place;
  }

  add(id: Buffer, at: number, place: RecentPlace): void {
    const bucket = this.#bucketOf(id, at);
    if (!this.#lock(bucket)) return;
    const entry = this.#entryOf(bucket, id, at) ?? this.#freeEntry(bucket, id, at);
    id.copy(this.#entries, entry, at, at + ID_BYTES);
    this.#entries.writeUInt32LE(place.sequence, entry + 16);
    this.#entries.writeUInt16LE(place.frame, entry + 20);
    this.#entries.writeUInt16LE(place.slot, entry + 22);
    this.#entries.writeUInt32LE(place.offsetBytes, entry + 24);
    this.#entries.writeUInt32LE(place.lengthBytes, entry + 28);
    this.#unlock(bucket);
  }

  /** Where an id lies in its bucket. */
  #entryOf(bucket: number, id: Buffer, at: number): number | undefined {
    for (let i = 0; i < BUCKET_ENTRIES; i += 1) {
      const entry = (bucket * BUCKET_ENTRIES + i) * ENTRY_BYTES;
      if (this.#isTaken(entry) && isSameId(this.#entries, entry, id, at)) return entry;
    }
    return undefined;
  }

  /** An empty entry of the bucket, else one that the id itself chooses. */
  #freeEntry(bucket: number, id: Buffer, at: number): number {
    for (let i = 0; i < BUCKET_ENTRIES; i += 1) {
      const entry = (bucket * BUCKET_ENTRIES + i) * ENTRY_BYTES;
      if (!this.#isTaken(entry)) return entry;
    }
    return (bucket * BUCKET_ENTRIES + (id.readUInt8(at + 4) % BUCKET_ENTRIES)) * ENTRY_BYTES;
  }

  #isTaken(entry: number): boolean {
    return this.#entries.readUInt32LE(entry + 28) > 0;
  }

  #bucketOf(id: Buffer, at: number): number {
    return id.readUInt32LE(at) % this.#locks.length;
  }

  #lock(bucket: number): boolean {
    return Atomics.compareExchange(this.#locks, bucket, 0, 1) === 0;
  }

  #unlock(bucket: number): void {
    Atomics.store(this.#locks, bucket, 0);
  }
}
