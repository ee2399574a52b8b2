/**
 * Work on the bounds of sets of ranges (start, end, start, end, … strictly ascending) in steps: for sets so large that it takes tens of milliseconds.
 */
import type { Steps } from '../../lib/steps.ts';

/** Ranges that one step handles: a fraction of a millisecond. */
const STEP_RANGES = 8192;

/** Both as one. */
export function* uniteBounds(a: Float64Array, b: Float64Array): Steps<Float64Array> {
  const bounds = new Float64Array(a.length + b.length);
  let length = 0;
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    for (const stop = i + j + STEP_RANGES * 2; i + j < stop && (i < a.length || j < b.length); ) {
      const isFromA = j >= b.length || (i < a.length && at(a, i) <= at(b, j));
      length = isFromA ? appendRange(bounds, length, at(a, i), at(a, i + 1)) : appendRange(bounds, length, at(b, j), at(b, j + 1));
      if (isFromA) i += 2;
      else j += 2;
    }
    yield;
  }
  return trimmed(bounds, length);
}

export function* alignBounds(from: Float64Array, grainBytes: number): Steps<Float64Array> {
  const bounds = new Float64Array(from.length);
  let length = 0;
  for (let i = 0; i < from.length; ) {
    for (const stop = Math.min(from.length, i + STEP_RANGES * 2); i < stop; i += 2) {
      const start = Math.floor(at(from, i) / grainBytes) * grainBytes;
      const end = Math.ceil(at(from, i + 1) / grainBytes) * grainBytes;
      if (end > Number.MAX_SAFE_INTEGER) throw new RangeError(`bad range [${start}, ${end})`);
      length = appendRange(bounds, length, start, end);
    }
    yield;
  }
  return trimmed(bounds, length);
}

/** A range that begins where the last one begins, or later. Returns the new length. */
function appendRange(bounds: Float64Array, length: number, start: number, end: number): number {
  if (length > 0 && start <= at(bounds, length - 1)) {
    if (end > at(bounds, length - 1)) bounds[length - 1] = end;
    return length;
  }
  bounds[length] = start;
  bounds[length + 1] = end;
  return length + 2;
}

/** A copy takes time, and room for both; what is left unused of a view takes room only. */
function trimmed(bounds: Float64Array, length: number): Float64Array {
  return length * 2 > bounds.length ? bounds.subarray(0, length) : bounds.slice(0, length);
}

/** For indices that are inside by construction. */
function at(array: Float64Array, index: number): number {
  return array[index] as number;
}
