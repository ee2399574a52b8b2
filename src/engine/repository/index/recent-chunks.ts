/**
 * The chunks that a running session has just stored, shared by its worker threads, so that content which repeats within one disk is stored
 * once. A table of fixed size in shared memory where a newer chunk replaces an older one: what was forgotten is stored again, no more.
 *
 * Each slot has a lock word. Nobody waits for it: a slot that is busy counts as empty.
 */
import { isSameId } from '../chunk-id.ts';
import { ID_BYTES } from '../format.ts';

const ENTRY_BYTES = 32;
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
  return { entries: new SharedArrayBuffer(count * ENTRY_BYTES), locks: new SharedArrayBuffer(count * 4) };
}

export class RecentChunks {
  readonly #entries: Buffer;
  readonly #locks: Int32Array;

  constructor(handle: RecentChunksHandle) {
    this.#entries = Buffer.from(handle.entries);
    this.#locks = new Int32Array(handle.locks);
  }

  find(id: Buffer, at: number): RecentPlace | undefined {
    const slot = this.#slotOf(id, at);
    if (!this.#lock(slot)) return undefined;
    const entry = slot * ENTRY_BYTES;
    const lengthBytes = this.#entries.readUInt32LE(entry + 28);
    const place =
      lengthBytes > 0 && isSameId(this.#entries, entry, id, at)
        ? {
            sequence: this.#entries.readUInt32LE(entry + 16),
            frame: this.#entries.readUInt16LE(entry + 20),
            slot: this.#entries.readUInt16LE(entry + 22),
            offsetBytes: this.#entries.readUInt32LE(entry + 24),
            lengthBytes,
          }
        : undefined;
    this.#unlock(slot);
    return place;
  }

  add(id: Buffer, at: number, place: RecentPlace): void {
    const slot = this.#slotOf(id, at);
    if (!this.#lock(slot)) return;
    const entry = slot * ENTRY_BYTES;
    id.copy(this.#entries, entry, at, at + ID_BYTES);
    this.#entries.writeUInt32LE(place.sequence, entry + 16);
    this.#entries.writeUInt16LE(place.frame, entry + 20);
    this.#entries.writeUInt16LE(place.slot, entry + 22);
    this.#entries.writeUInt32LE(place.offsetBytes, entry + 24);
    this.#entries.writeUInt32LE(place.lengthBytes, entry + 28);
    this.#unlock(slot);
  }

  #slotOf(id: Buffer, at: number): number {
    return id.readUInt32LE(at) % this.#locks.length;
  }

  #lock(slot: number): boolean {
    return Atomics.compareExchange(this.#locks, slot, 0, 1) === 0;
  }

  #unlock(slot: number): void {
    Atomics.store(this.#locks, slot, 0);
  }
}
