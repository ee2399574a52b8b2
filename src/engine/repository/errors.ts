/**
 * What can be wrong with a repository, as one error type whose kind decides what a caller does about it.
 *
 * Only bytes that were read, and are not what was written, are `corrupted`. A store that does not answer is `transport`, whatever it
 * was asked: nobody may conclude from it that data is lost.
 */
export type RepositoryErrorKind =
  /** Stored bytes are not what was written. `objectName` and `ranges` say which, as far as they are known. */
  | 'corrupted'
  /** An object that a live backup needs is not there. */
  | 'missing'
  /** There is no such repository, or no such live backup in it. */
  | 'not-found'
  /** The key does not belong to this repository, or is absent. */
  | 'locked-out'
  /** The store, or the disk that is restored to, has no room left. */
  | 'full'
  /** The store did not answer, or answered with an error. */
  | 'transport'
  /** The name of the commit is taken: this session was given up by somebody else, or ended long ago. */
  | 'conflict'
  /** Written by a program that this one does not understand, or on a store that cannot hold a repository. */
  | 'unsupported'
  /** The caller's signal ended the work. */
  | 'aborted'
  /** The process that did the work died. */
  | 'interrupted';

/** A range of a backed-up disk in bytes. */
export interface DiskRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface RepositoryErrorDetails {
  /** The object in the store: `p/1f/…`. */
  readonly objectName?: string;
  /** Which bytes of the disk cannot be read, ascending. At most `DAMAGED_RANGES_MAX` of them. */
  readonly ranges?: readonly DiskRange[];
  readonly cause?: unknown;
}

/** More damage than this is not listed one by one. */
export const DAMAGED_RANGES_MAX = 256;

export class RepositoryError extends Error {
  readonly kind: RepositoryErrorKind;
  readonly objectName: string | undefined;
  readonly ranges: readonly DiskRange[];

  constructor(kind: RepositoryErrorKind, message: string, details: RepositoryErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'RepositoryError';
    this.kind = kind;
    this.objectName = details.objectName;
    this.ranges = details.ranges ?? [];
  }
}

export function isRepositoryError(error: unknown, kind?: RepositoryErrorKind): error is RepositoryError {
  return error instanceof RepositoryError && (kind === undefined || error.kind === kind);
}

/** Whether an error tells of lost or damaged stored data, and not of the way to it. */
export function isDamage(error: unknown): error is RepositoryError {
  return isRepositoryError(error, 'corrupted') || isRepositoryError(error, 'missing');
}

/** An error as plain data, to cross to another thread or process. */
export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  readonly repository?: { readonly kind: RepositoryErrorKind; readonly objectName?: string; readonly ranges: readonly DiskRange[] };
}

export function plainErrorOf(error: unknown): PlainError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const plain = { name: error.name, message: error.message, ...(error.stack === undefined ? {} : { stack: error.stack }) };
  if (!(error instanceof RepositoryError)) return plain;
  const { kind, objectName, ranges } = error;
  return { ...plain, repository: { kind, ranges, ...(objectName === undefined ? {} : { objectName }) } };
}

export function errorFromPlain(plain: PlainError): Error {
  const { repository } = plain;
  const error = repository === undefined ? new Error(plain.message) : new RepositoryError(repository.kind, plain.message, repository);
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}
