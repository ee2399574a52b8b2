import { ProductError } from '../../lib/errors.ts';

/** What of a file system is taken, promised, kept back and free. All in bytes. */
export interface SpaceFigures {
  readonly capacityBytes: number;
  /** What programs without privileges may still write, as the file system says. */
  readonly freeBytes: number;
  /** Promised to work that is under way, and not written yet. */
  readonly reservedBytes: number;
  /** New data never takes the last so many. */
  readonly keptBytes: number;
  /** What is left for new data: never negative. */
  readonly availableBytes: number;
}

export interface SpaceRequest {
  /** The file that is going to be written. It, and folders above it, need not exist. What it holds already counts as written. */
  readonly path: string;
  readonly bytes: number;
  /** For whoever reads the refusal: `the restore`. */
  readonly purpose?: string;
  /** The work gives back more than it takes (a merge), so that it may go into what is kept back, though not to its end. */
  readonly mayUseKept?: boolean;
}

export interface Reservation {
  /** From now on `bytes` are reserved beyond what the file holds at this moment. Refused as `reserve` is; then the old reservation stands. */
  extend(bytes: number): Promise<void>;
  /** What is not written by now is free for others. Repeatable. */
  release(): void;
}

/**
 * The account of the space on the file systems that this process writes to.
 *
 * A reservation is made before the first byte is written. What of it is written is measured at the file, not reported, so that nothing is
 * counted twice, and nothing is forgotten when a writer begins anew or lies. Work that was interrupted reserves again when it goes on.
 *
 * It knows this process and its helpers only. That is enough: one service works on a state directory.
 */
export interface SpaceAccount {
  /** Of the file system that `path` lies on, or would lie on. */
  figures(path: string): Promise<SpaceFigures>;
  /** Throws a `SpaceError` when the bytes do not fit beside what others reserved and what is kept back. */
  reserve(request: SpaceRequest): Promise<Reservation>;
}

/** There is no space for what was asked. */
export class SpaceError extends ProductError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('no-space', message, options);
    this.name = 'SpaceError';
  }
}
