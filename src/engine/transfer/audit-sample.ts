/** Which chunks an audit looks at: chosen at random, each with the same chance, in an order that is random, too. */
import type { ExtentSet } from '../disk/extent-set.ts';
import { CHUNK_BYTES } from '../repository/format.ts';

/** What an audit must know of the disk, all in whole chunks. */
export interface AuditRanges {
  /** Where the disk may hold something other than zeroes. */
  readonly allocated: ExtentSet;
  /** What may differ from the base: it is read anyway. */
  readonly changed: ExtentSet;
}

/** So many are drawn for each that is wanted: those that turn out to be changed, or not empty, are left out. */
const drawnForEach = 4;

/** At most `count` offsets of chunks that may hold data and count as unchanged. */
export function chooseAllocated(random: () => number, { allocated, changed }: AuditRanges, count: number): number[] {
  const drawn = drawNumbers(random, allocated.totalBytes / CHUNK_BYTES, count);
  return offsetsIn(allocated, drawn)
    .filter((offset) => !changed.overlaps(offset, offset + CHUNK_BYTES))
    .slice(0, count);
}

/** At most `count` offsets of whole chunks below `endBytes` of which the disk says that they are empty, and that count as unchanged. */
export function chooseEmpty(random: () => number, { allocated, changed }: AuditRanges, endBytes: number, count: number): number[] {
  return drawNumbers(random, Math.floor(endBytes / CHUNK_BYTES), count)
    .map((number) => number * CHUNK_BYTES)
    .filter((offset) => !allocated.overlaps(offset, offset + CHUNK_BYTES) && !changed.overlaps(offset, offset + CHUNK_BYTES))
    .slice(0, count);
}

/** At most `count` of them, each with the same chance. */
export function chooseFew<T>(random: () => number, from: readonly T[], count: number): T[] {
  const left = [...from];
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(Math.floor(random() * left.length), 1)[0] as T);
}

/** Different whole numbers below `total`, several for each that is wanted; all of them when there are not more. */
function drawNumbers(random: () => number, total: number, wanted: number): number[] {
  const count = wanted * drawnForEach;
  if (total <= count) {
    const all = Array.from({ length: total }, (_, number) => number);
    return chooseFew(random, all, total);
  }
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(Math.floor(random() * total));
  return [...drawn];
}

/** Where the chunks with these numbers, counted through the set from its beginning, lie; in the order of the numbers. */
function offsetsIn(set: ExtentSet, numbers: readonly number[]): number[] {
  const ascending = numbers.map((number, place) => ({ number, place })).sort((a, b) => a.number - b.number);
  const offsets: number[] = [];
  let next = 0;
  let before = 0;
  for (const [start, end] of set.ranges()) {
    const after = before + (end - start) / CHUNK_BYTES;
    for (; next < ascending.length; next += 1) {
      const { number, place } = ascending[next] as { number: number; place: number };
      if (number >= after) break;
      offsets[place] = start + (number - before) * CHUNK_BYTES;
    }
    if (next === ascending.length) break;
    before = after;
  }
  return offsets;
}
