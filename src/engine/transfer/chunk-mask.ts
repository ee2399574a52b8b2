import { FAN_OUT } from '../repository/format.ts';

/** A set of the 128 chunks of a leaf, one bit each, as bytes that cross to another thread. */
export type ChunkMask = Uint8Array;

export function emptyMask(): ChunkMask {
  return new Uint8Array(FAN_OUT / 8);
}

export function hasChunk(mask: ChunkMask, index: number): boolean {
  return (((mask[index >> 3] as number) >> (index & 7)) & 1) === 1;
}

export function addChunks(mask: ChunkMask, from: number, to: number): void {
  for (let index = from; index < to; index += 1) mask[index >> 3] = (mask[index >> 3] as number) | (1 << (index & 7));
}

export function countChunks(mask: ChunkMask): number {
  let count = 0;
  for (let index = 0; index < FAN_OUT; index += 1) if (hasChunk(mask, index)) count += 1;
  return count;
}

/** Stretches of neighbouring chunks, none of which crosses a multiple of `stretchMax`: `[from, to)`. */
export function* stretchesOf(mask: ChunkMask, stretchMax: number): Generator<readonly [from: number, to: number], void, undefined> {
  for (let index = 0; index < FAN_OUT; ) {
    if (!hasChunk(mask, index)) {
      index += 1;
      continue;
    }
    const end = Math.min(FAN_OUT, (Math.floor(index / stretchMax) + 1) * stretchMax);
    const from = index;
    while (index < end && hasChunk(mask, index)) index += 1;
    yield [from, index];
  }
}
