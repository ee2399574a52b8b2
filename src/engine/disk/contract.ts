import type { ExtentSet } from './extent-set.ts';

/** One file of a disk. `path` is absolute; `sizeBytes` is the virtual size of this layer (a raw file may be shorter than it). */
export interface DiskLayer {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly sizeBytes: number;
}

/**
 * A readable disk as plain data, so that it can cross to another process: frozen layers from the bottom to the top.
 * An upper layer hides the lower ones where it has data or zeroes; a layer smaller than the disk reads as zeroes past its end.
 */
export interface DiskSource {
  readonly layers: readonly DiskLayer[];
  readonly sizeBytes: number;
}

/**
 * Reads the bytes of a frozen disk.
 *
 * All files are opened when the reader is made: later unlinks do no harm. Their tables are read when a part of the disk is asked for, so that
 * nobody may write to a file meanwhile, by a merge say: whoever makes a reader holds the point that it reads.
 * Calls are synchronous, because they run in worker threads that do nothing else. A reader is used by one thread.
 */
export interface DiskReader {
  readonly sizeBytes: number;
  /**
   * The ranges that may hold something other than zeroes: sorted, disjoint, coalesced, within the size. Grown to whole grains while they are
   * collected, when that is enough: the set of a large fragmented disk is then so much smaller.
   */
  allocated(grainBytes?: number): ExtentSet;
  /** Fills `target` with the bytes from `offsetBytes`. The range lies within the size. Throws on a short or failed read. */
  readSync(target: Uint8Array, offsetBytes: number): void;
  close(): void;
}

/**
 * Where the writer of a new layer puts its bytes, as plain data that crosses to another process. The file is not there until the writer makes
 * it: a `raw` one is sparse; a `qcow2` one is made whole, header last, and names `backing` (relative to its folder) as what it stands on.
 */
export interface LayerTarget {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly sizeBytes: number;
  readonly backing?: { readonly name: string; readonly format: 'raw' | 'qcow2' };
}
