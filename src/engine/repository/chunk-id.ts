/**
 * Ids: the first 128 bits of BLAKE3, keyed with the domain's id key.
 *
 * Chunks are exactly `CHUNK_BYTES` long, the records of map nodes and roots never are, so one key serves all without a chunk that could
 * pass for a node. The all-zero id stands for a chunk of zeroes, and for a node without any other chunk; it is never computed.
 */
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { ID_BYTES } from './format.ts';

export interface IdHasher {
  /** Writes the id of `bytes` to `target` at `offset`. */
  write(bytes: Uint8Array, target: Uint8Array, offset: number): void;
  idOf(bytes: Uint8Array): Buffer;
}

export function createIdHasher(idKey: Buffer): IdHasher {
  const hasher = Blake3Hasher.newKeyed(idKey);
  const idOf = (bytes: Uint8Array): Buffer => {
    hasher.reset();
    hasher.update(bytes);
    return hasher.digestBuffer().subarray(0, ID_BYTES);
  };
  return {
    idOf,
    write(bytes, target, offset) {
      target.set(idOf(bytes), offset);
    },
  };
}

/** Whether the 16 bytes at `offset` are the id of nothing but zeroes. */
export function isHoleId(ids: Uint8Array, offset = 0): boolean {
  for (let i = offset; i < offset + ID_BYTES; i += 1) {
    if (ids[i] !== 0) return false;
  }
  return true;
}

export function isSameId(a: Uint8Array, aOffset: number, b: Uint8Array, bOffset: number): boolean {
  for (let i = 0; i < ID_BYTES; i += 1) {
    if (a[aOffset + i] !== b[bOffset + i]) return false;
  }
  return true;
}
