/**
 * An immutable set of byte ranges [start, end): sorted, disjoint, and coalesced (ranges that touch are one).
 *
 * Offsets are whole numbers up to 2^53. Bounds lie in one typed array, start and end by turns, so that a set of several 100,000
 * ranges costs 16 bytes a range and no object each.
 *
 * A million ranges take tens of milliseconds to unite or to encode. A process that answers requests uses the forms in steps (`inTurns`).
 */
import { finish, type Steps } from '../../lib/steps.ts';
import { alignBounds, uniteBounds } from './extent-bounds.ts';
import { decodeBounds, encodeBounds } from './extent-encoding.ts';

export type ByteRange = readonly [startBytes: number, endBytes: number];

export class ExtentSet {
  static readonly empty: ExtentSet = new ExtentSet(new Float64Array(0));

  /** start, end, start, end, … strictly ascending. Never written to after construction. */
  readonly #bounds: Float64Array;

  private constructor(bounds: Float64Array) {
    this.#bounds = bounds;
  }

  /** Ranges in any order; they may overlap, empty ones are left out. */
  static of(ranges: Iterable<ByteRange>): ExtentSet {
    const builder = ExtentSet.builder();
    for (const [start, end] of ranges) builder.add(start, end);
    return builder.build();
  }

  static builder(): ExtentSetBuilder {
    return new ExtentSetBuilder((bounds) => (bounds.length === 0 ? ExtentSet.empty : new ExtentSet(bounds)));
  }

  /** Throws `ExtentSetFormatError`. */
  static decode(encoded: Uint8Array): ExtentSet {
    return finish(ExtentSet.decodeSteps(encoded));
  }

  static *decodeSteps(encoded: Uint8Array): Steps<ExtentSet> {
    return new ExtentSet(yield* decodeBounds(encoded));
  }

  get isEmpty(): boolean {
    return this.#bounds.length === 0;
  }

  get rangeCount(): number {
    return this.#bounds.length / 2;
  }

  get totalBytes(): number {
    let total = 0;
    for (let i = 0; i < this.#bounds.length; i += 2) total += at(this.#bounds, i + 1) - at(this.#bounds, i);
    return total;
  }

  *ranges(): Generator<ByteRange, void, undefined> {
    for (let i = 0; i < this.#bounds.length; i += 2) yield [at(this.#bounds, i), at(this.#bounds, i + 1)];
  }

  /** What lies within [start, end), cut off there. */
  *within(startBytes: number, endBytes: number): Generator<ByteRange, void, undefined> {
    for (let i = this.#firstEndingAfter(startBytes); i < this.#bounds.length && at(this.#bounds, i) < endBytes; i += 2) {
      yield [Math.max(startBytes, at(this.#bounds, i)), Math.min(endBytes, at(this.#bounds, i + 1))];
    }
  }

  /** Whether every byte of [start, end) is in the set. */
  covers(startBytes: number, endBytes: number): boolean {
    if (endBytes <= startBytes) return true;
    const i = this.#firstEndingAfter(startBytes);
    return i < this.#bounds.length && at(this.#bounds, i) <= startBytes && at(this.#bounds, i + 1) >= endBytes;
  }

  /** Whether any byte of [start, end) is in the set. */
  overlaps(startBytes: number, endBytes: number): boolean {
    if (endBytes <= startBytes) return false;
    const i = this.#firstEndingAfter(startBytes);
    return i < this.#bounds.length && at(this.#bounds, i) < endBytes;
  }

  equals(other: ExtentSet): boolean {
    if (other.#bounds.length !== this.#bounds.length) return false;
    return this.#bounds.every((bound, i) => bound === other.#bounds[i]);
  }

  union(other: ExtentSet): ExtentSet {
    return finish(this.unionSteps(other));
  }

  *unionSteps(other: ExtentSet): Steps<ExtentSet> {
    if (this.isEmpty) return other;
    if (other.isEmpty) return this;
    return new ExtentSet(yield* uniteBounds(this.#bounds, other.#bounds));
  }

  intersect(other: ExtentSet): ExtentSet {
    const [a, b] = [this.#bounds, other.#bounds];
    const builder = ExtentSet.builder();
    let i = 0;
    let j = 0;
    while (i < a.length && j < b.length) {
      builder.add(Math.max(at(a, i), at(b, j)), Math.min(at(a, i + 1), at(b, j + 1)));
      if (at(a, i + 1) < at(b, j + 1)) i += 2;
      else j += 2;
    }
    return builder.build();
  }

  /** What is in this set and not in `other`. */
  subtract(other: ExtentSet): ExtentSet {
    const [a, b] = [this.#bounds, other.#bounds];
    const builder = ExtentSet.builder();
    let j = 0;
    for (let i = 0; i < a.length; i += 2) {
      let start = at(a, i);
      const end = at(a, i + 1);
      while (j < b.length && at(b, j + 1) <= start) j += 2;
      for (let k = j; k < b.length && at(b, k) < end; k += 2) {
        builder.add(start, at(b, k));
        start = at(b, k + 1);
      }
      builder.add(start, end);
    }
    return builder.build();
  }

  /** Cuts off everything from `sizeBytes` on. */
  clamp(sizeBytes: number): ExtentSet {
    const length = this.#bounds.length;
    if (length === 0 || at(this.#bounds, length - 1) <= sizeBytes) return this;
    return sizeBytes <= 0 ? ExtentSet.empty : this.intersect(ExtentSet.of([[0, sizeBytes]]));
  }

  /** Grows every range outward to whole grains. The result may end after the size of a disk: clamp it afterwards. */
  alignTo(grainBytes: number): ExtentSet {
    return finish(this.alignSteps(grainBytes));
  }

  *alignSteps(grainBytes: number): Steps<ExtentSet> {
    if (!Number.isSafeInteger(grainBytes) || grainBytes < 1) throw new RangeError(`bad grain ${grainBytes}`);
    return new ExtentSet(yield* alignBounds(this.#bounds, grainBytes));
  }

  encode(): Buffer {
    return finish(this.encodeSteps());
  }

  encodeSteps(): Steps<Buffer> {
    return encodeBounds(this.#bounds);
  }

  /** The index of the first range that ends after `offset`, by bisection. */
  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#bounds.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (at(this.#bounds, middle * 2 + 1) > offset) high = middle;
      else low = middle + 1;
    }
    return low * 2;
  }
}

/** Collects ranges. In ascending order it is fastest; any order is right. */
export class ExtentSetBuilder {
  readonly #wrap: (bounds: Float64Array) => ExtentSet;
  #bounds = new Float64Array(16);
  #length = 0;
  #sorted = true;

  constructor(wrap: (bounds: Float64Array) => ExtentSet) {
    this.#wrap = wrap;
  }

  add(startBytes: number, endBytes: number): this {
    if (!(Number.isSafeInteger(startBytes) && Number.isSafeInteger(endBytes) && startBytes >= 0)) {
      throw new RangeError(`bad range [${startBytes}, ${endBytes})`);
    }
    if (endBytes <= startBytes) return this;
    const last = this.#length - 2;
    if (last >= 0 && startBytes >= at(this.#bounds, last) && startBytes <= at(this.#bounds, last + 1)) {
      if (endBytes > at(this.#bounds, last + 1)) this.#bounds[last + 1] = endBytes;
      return this;
    }
    if (last >= 0 && startBytes < at(this.#bounds, last)) this.#sorted = false;
    if (this.#length === this.#bounds.length) this.#grow();
    this.#bounds[this.#length++] = startBytes;
    this.#bounds[this.#length++] = endBytes;
    return this;
  }

  build(): ExtentSet {
    if (!this.#sorted) this.#sort();
    return this.#wrap(this.#bounds.slice(0, this.#length));
  }

  #grow(): void {
    const larger = new Float64Array(this.#bounds.length * 2);
    larger.set(this.#bounds);
    this.#bounds = larger;
  }

  #sort(): void {
    const unsorted = this.#bounds;
    const order = Uint32Array.from({ length: this.#length / 2 }, (_, i) => i * 2).sort((a, b) => at(unsorted, a) - at(unsorted, b));
    this.#bounds = new Float64Array(this.#length);
    this.#length = 0;
    this.#sorted = true;
    for (const i of order) this.add(at(unsorted, i), at(unsorted, i + 1));
  }
}

/** For indices that are inside by construction. */
function at(array: Float64Array, index: number): number {
  return array[index] as number;
}
