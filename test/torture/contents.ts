/**
 * What a disk should hold: a sparse buffer of 64 KiB pages. A page is never changed once it is there, so that copies of a disk share them and
 * a snapshot of the model costs a map.
 */
export const pageBytes = 65_536;
export const sectorBytes = 512;
const zeroPage = Buffer.alloc(pageBytes);

export class Contents {
  readonly sizeBytes: number;
  readonly #pages: Map<number, Buffer>;

  constructor(sizeBytes: number, pages: ReadonlyMap<number, Buffer> = new Map()) {
    this.sizeBytes = sizeBytes;
    this.#pages = new Map(pages);
  }

  /** The numbers of the pages that hold something. */
  pageNumbers(): Iterable<number> {
    return this.#pages.keys();
  }

  page(number: number): Buffer {
    return this.#pages.get(number) ?? zeroPage;
  }

  sector(number: number): Buffer {
    const offset = number * sectorBytes;
    return this.page(Math.floor(offset / pageBytes)).subarray(offset % pageBytes, (offset % pageBytes) + sectorBytes);
  }

  /** The same disk with these bytes at `offset`. */
  with(offset: number, bytes: Buffer): Contents {
    return this.#changed(offset, bytes.length, (page, from, to, done) => void bytes.copy(page, from, done, done + to - from));
  }

  withZeroes(offset: number, length: number): Contents {
    return this.#changed(offset, length, (page, from, to) => void page.fill(0, from, to));
  }

  /** Growing shows zeroes. */
  resized(sizeBytes: number): Contents {
    if (sizeBytes >= this.sizeBytes) return new Contents(sizeBytes, this.#pages);
    const cut = this.withZeroes(sizeBytes, this.sizeBytes - sizeBytes);
    return new Contents(sizeBytes, cut.#pages);
  }

  /** The first sector at which two disks differ; undefined when they are equal. Bytes after the end count as zeroes. */
  firstDifference(other: Contents): number | undefined {
    let first: number | undefined;
    for (const sector of this.differences(other)) if (first === undefined || sector < first) first = sector;
    return first;
  }

  equals(other: Contents): boolean {
    for (const _ of this.differences(other)) return false;
    return true;
  }

  /** The sectors at which two disks differ, in no order. */
  *differences(other: Contents): Generator<number, void, undefined> {
    const numbers = new Set([...this.#pages.keys(), ...other.#pages.keys()]);
    for (const number of numbers) {
      const [mine, theirs] = [this.page(number), other.page(number)];
      if (mine === theirs || mine.equals(theirs)) continue;
      for (let at = 0; at < pageBytes; at += sectorBytes) {
        if (mine.compare(theirs, at, at + sectorBytes, at, at + sectorBytes) !== 0) yield (number * pageBytes + at) / sectorBytes;
      }
    }
  }

  #changed(offset: number, length: number, change: (page: Buffer, from: number, to: number, done: number) => void): Contents {
    if (offset < 0 || offset + length > this.sizeBytes) throw new RangeError(`[${offset}, ${offset + length}) is not on the disk`);
    const next = new Contents(this.sizeBytes, this.#pages);
    for (let done = 0; done < length; ) {
      const number = Math.floor((offset + done) / pageBytes);
      const from = (offset + done) % pageBytes;
      const to = Math.min(pageBytes, from + length - done);
      const page = Buffer.from(this.page(number));
      change(page, from, to, done);
      if (page.equals(zeroPage)) next.#pages.delete(number);
      else next.#pages.set(number, page);
      done += to - from;
    }
    return next;
  }
}

/** Collects what was read from somewhere; zero pages are left out. */
export class ContentsBuilder {
  readonly #sizeBytes: number;
  readonly #pages = new Map<number, Buffer>();

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** `offset` is the beginning of a page. The bytes are kept, not copied. */
  add(offset: number, bytes: Buffer): void {
    if (offset % pageBytes !== 0) throw new RangeError(`${offset} is not the beginning of a page`);
    for (let at = 0; at < bytes.length; at += pageBytes) {
      const part = bytes.subarray(at, Math.min(at + pageBytes, bytes.length));
      if (part.equals(zeroPage.subarray(0, part.length))) continue;
      const page = part.length === pageBytes ? part : Buffer.concat([part, Buffer.alloc(pageBytes - part.length)]);
      this.#pages.set((offset + at) / pageBytes, page);
    }
  }

  build(): Contents {
    return new Contents(this.#sizeBytes, this.#pages);
  }
}

/**
 * The bytes that one write of a history puts on a disk. Each sector says which write it is of and where it belongs, so that a wrong sector
 * tells what it is instead.
 */
export function stamped(writeNumber: number, offset: number, length: number): Buffer {
  const first = Math.floor(offset / sectorBytes);
  const last = Math.ceil((offset + length) / sectorBytes);
  const bytes = Buffer.alloc((last - first) * sectorBytes, 1 + (writeNumber % 251));
  for (let sector = first; sector < last; sector += 1) {
    const at = (sector - first) * sectorBytes;
    bytes.writeUInt32LE(writeNumber, at);
    bytes.writeUInt32LE(sector, at + 4);
  }
  const skipped = offset - first * sectorBytes;
  return bytes.subarray(skipped, skipped + length);
}

export function describeSector(sector: Buffer): string {
  if (sector.every((byte) => byte === 0)) return 'zeroes';
  return `write ${sector.readUInt32LE(0)} of sector ${sector.readUInt32LE(4)}`;
}
