/**
 * An object store under a repository: names to bytes, where every object is written once and never changed.
 *
 * Guarantees that every driver gives, and that the contract suite checks:
 *
 * - **Create once.** Of all writers of one name exactly one creates it; the others learn `exists` and change nothing. A writer whose
 *   own success was not acknowledged, and which tries again with the same bytes, learns `created`: callers put a random token into
 *   their bytes, so equal bytes mean the same writer.
 * - **All or nothing.** A reader sees no object or the whole object, whatever dies meanwhile. A crash leaves at most a leftover
 *   outside of the name space, which a later start of the driver removes.
 * - **Durable.** What `put` and `commit` reported as done survives a loss of power.
 * - **Errors.** `StoreError` only. `missing` and `short` say something about an object; `full` about room; `transport` says nothing
 *   about any object. A failed write leaves the name free, or taken by exactly these bytes.
 *
 * The hot path is synchronous where the store is: a local file system answers `append`, `read` and `length` at once, a remote one
 * with a promise. Callers wait only for what is a promise.
 */
export type MaybePromise<T> = T | Promise<T>;

export interface StoreCapabilities {
  /** Of racing creators of one name exactly one wins, whatever the network does. */
  readonly linearizableCreate: boolean;
  /** A list shows every object whose creation was acknowledged before it began. */
  readonly freshList: boolean;
}

export type CreateResult = 'created' | 'exists';

export interface StoredObject {
  readonly name: string;
  readonly lengthBytes: number;
}

/** A large object on its way. Nothing is visible before `commit`. */
export interface ObjectWriter {
  /** Adds bytes. Once it returned (or its promise resolved) the store has its own copy, and the parts may be used again. */
  append(parts: readonly Uint8Array[]): MaybePromise<void>;
  /** Makes the object visible and durable under its name. No other call may follow, except `abort` after a failure. */
  commit(): Promise<CreateResult>;
  /** Gives up, and removes what was written. Repeatable; does nothing after a successful `commit`. */
  abort(): Promise<void>;
}

export interface ObjectStore {
  readonly capabilities: StoreCapabilities;
  /** Creates a small object. */
  put(name: string, bytes: Uint8Array): Promise<CreateResult>;
  /** Begins a large object. */
  create(name: string): MaybePromise<ObjectWriter>;
  /** Fills `target` with the bytes from `offsetBytes`. `missing`: no such object. `short`: it ends before. */
  read(name: string, offsetBytes: number, target: Uint8Array): MaybePromise<void>;
  /** The length of an object, or undefined when there is none. */
  length(name: string): MaybePromise<number | undefined>;
  /** All objects whose names begin with `prefix` (whole folders, then the beginning of a file name), in ascending order of names. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Removes an object. One that does not exist is no error. */
  delete(name: string): Promise<void>;
  /** Lets go of open files and connections. */
  close(): void;
}

export type StoreErrorKind = 'missing' | 'short' | 'full' | 'transport' | 'unsupported';

export class StoreError extends Error {
  readonly kind: StoreErrorKind;

  constructor(kind: StoreErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StoreError';
    this.kind = kind;
  }
}

/** No room left. */
export class StoreFullError extends StoreError {
  constructor(message: string, cause?: unknown) {
    super('full', message, cause);
    this.name = 'StoreFullError';
  }
}

/** Folders of lower-case names; nothing that a path could misread. */
const namePattern = /^[a-z0-9][a-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)*$/;

export function checkObjectName(name: string): void {
  if (!namePattern.test(name) || name.length > 200) throw new StoreError('unsupported', `not an object name: ${JSON.stringify(name)}`);
}
