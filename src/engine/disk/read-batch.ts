/**
 * The pieces that one read of a disk needs from its files.
 *
 * Through the page cache a piece is fetched at once, right into its place: a call costs less than copying a neighbour along. Past the cache
 * each call is a turn of the device, so pieces that lie close together in a file wait for each other and are fetched as one range.
 */
import { type DiskFile, windowBytes } from './disk-file.ts';

/** A device that does a gigabyte a second brings so much more in the time of one turn. */
const gapBytesMax = 64 * 1024;

interface Piece {
  readonly position: number;
  readonly lengthBytes: number;
  readonly targetOffset: number;
}

interface Range {
  readonly start: number;
  end: number;
  readonly pieces: Piece[];
}

export class ReadBatch {
  readonly #target: Uint8Array;
  /** One range of each file grows at a time: the pieces of a file mostly lie in the order of the disk. */
  readonly #ranges = new Map<DiskFile, Range>();

  constructor(target: Uint8Array) {
    this.#target = target;
  }

  /** Fetches the piece now, or notes it for `finish`. */
  add(file: DiskFile, position: number, lengthBytes: number, targetOffset: number): void {
    if (!file.isDirect || lengthBytes > windowBytes) {
      file.readSync(this.#target, targetOffset, lengthBytes, position);
      return;
    }
    const piece = { position, lengthBytes, targetOffset };
    const end = position + lengthBytes;
    const range = this.#ranges.get(file);
    if (range !== undefined && position >= range.end && position - range.end <= gapBytesMax && end - range.start <= windowBytes) {
      range.pieces.push(piece);
      range.end = end;
      return;
    }
    if (range !== undefined) this.#fetch(file, range);
    this.#ranges.set(file, { start: position, end, pieces: [piece] });
  }

  /** From here on the target holds everything. */
  finish(): void {
    for (const [file, range] of this.#ranges) this.#fetch(file, range);
    this.#ranges.clear();
  }

  #fetch(file: DiskFile, { start, end, pieces }: Range): void {
    const bytes = file.readAround(start, end - start);
    for (const { position, lengthBytes, targetOffset } of pieces) {
      this.#target.set(bytes.subarray(position - start, position - start + lengthBytes), targetOffset);
    }
  }
}
