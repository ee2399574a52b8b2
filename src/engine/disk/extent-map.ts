/**
 * Where the bytes of a part of a disk lie: sorted, disjoint extents, each in one file at one offset, or known to be zero. Gaps are unknown to
 * this map: what lies below shows through.
 *
 * Columns instead of objects: 32 bytes an extent, the hundredth part of a scattered write of 4 KiB.
 */
export const ZERO = -1;

export interface Extent {
  readonly start: number;
  readonly end: number;
  /** The index of the file; ZERO: no file. */
  readonly file: number;
  /** Where `start` lies in the file; for compressed extents: where the compressed cluster begins. */
  readonly host: number;
  /** The length of the compressed cluster, 0 for plain data. A compressed extent lies within one cluster of the guest. */
  readonly packed: number;
}

export class ExtentMap {
  /** Where the part of the disk begins that the map is about. */
  readonly startBytes: number;
  /** Where it ends. What lies below ends here too: a layer hides everything past its own end. */
  readonly limitBytes: number;
  /** start, end, host by turns. */
  #places: Float64Array;
  /** file, packed by turns. */
  #kinds: Int32Array;
  #length = 0;

  /** `capacity`: room for so many extents at first. */
  constructor(startBytes: number, limitBytes: number, capacity = 128) {
    this.startBytes = startBytes;
    this.limitBytes = limitBytes;
    this.#places = new Float64Array(capacity * 3);
    this.#kinds = new Int32Array(capacity * 2);
  }

  get length(): number {
    return this.#length;
  }

  start(index: number): number {
    return this.#places[index * 3] as number;
  }

  end(index: number): number {
    return this.#places[index * 3 + 1] as number;
  }

  host(index: number): number {
    return this.#places[index * 3 + 2] as number;
  }

  file(index: number): number {
    return this.#kinds[index * 2] as number;
  }

  packed(index: number): number {
    return this.#kinds[index * 2 + 1] as number;
  }

  /** Appends in ascending order. Neighbours that continue each other become one extent. */
  append(start: number, end: number, file: number, host: number, packed = 0): void {
    const limitedEnd = Math.min(end, this.limitBytes);
    if (limitedEnd <= start) return;
    const last = this.#length - 1;
    if (last >= 0 && this.end(last) > start) throw new Error('extents must be appended in order');
    if (last >= 0 && this.end(last) === start && packed === 0 && this.#continues(last, file, host)) {
      this.#places[last * 3 + 1] = limitedEnd;
      return;
    }
    if (this.#length * 3 === this.#places.length) this.#grow();
    const place = this.#length * 3;
    this.#places[place] = start;
    this.#places[place + 1] = limitedEnd;
    this.#places[place + 2] = host;
    this.#kinds[this.#length * 2] = file;
    this.#kinds[this.#length * 2 + 1] = packed;
    this.#length += 1;
  }

  /** The index of the first extent that ends after `offset`; `length` when there is none. */
  firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.end(middle) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #continues(last: number, file: number, host: number): boolean {
    if (this.file(last) !== file || this.packed(last) !== 0) return false;
    return file === ZERO || this.host(last) + this.end(last) - this.start(last) === host;
  }

  #grow(): void {
    const places = new Float64Array(this.#places.length * 2);
    const kinds = new Int32Array(this.#kinds.length * 2);
    places.set(this.#places);
    kinds.set(this.#kinds);
    this.#places = places;
    this.#kinds = kinds;
  }
}

/**
 * What is seen from above: `upper` where it knows something, else `lower`, and nothing past the end of `upper`. Where `lower` ends
 * earlier there are zeroes, said outright: otherwise what lies below both would show through.
 */
export function overlay(upper: ExtentMap, lower: ExtentMap): ExtentMap {
  // An upper extent hides a part of a lower one, splits it, or lies beside it.
  const seen = new ExtentMap(upper.startBytes, upper.limitBytes, lower.length + 2 * upper.length + 1);
  let below = 0;
  const showLower = (from: number, to: number): void => {
    while (below < lower.length && lower.end(below) <= from) below += 1;
    for (let i = below; i < lower.length && lower.start(i) < to; i += 1) {
      copyPart(lower, i, Math.max(from, lower.start(i)), Math.min(to, lower.end(i)), seen);
    }
    seen.append(Math.max(from, lower.limitBytes), to, ZERO, 0);
  };
  let position = upper.startBytes;
  for (let i = 0; i < upper.length; i += 1) {
    showLower(position, upper.start(i));
    seen.append(upper.start(i), upper.end(i), upper.file(i), upper.host(i), upper.packed(i));
    position = upper.end(i);
  }
  showLower(position, upper.limitBytes);
  return seen;
}

/** Flattens one layer or more, bottom first. In halves, because each extent is then copied log(layers) times instead of once a layer. */
export function flatten(layers: readonly ExtentMap[]): ExtentMap {
  const [first] = layers;
  if (first === undefined) throw new RangeError('nothing to flatten');
  if (layers.length === 1) return first;
  const middle = layers.length >>> 1;
  return overlay(flatten(layers.slice(middle)), flatten(layers.slice(0, middle)));
}

function copyPart(from: ExtentMap, index: number, start: number, end: number, to: ExtentMap): void {
  const packed = from.packed(index);
  const host = packed === 0 ? from.host(index) + start - from.start(index) : from.host(index);
  to.append(start, end, from.file(index), host, packed);
}
