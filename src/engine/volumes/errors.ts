/** What volume backends throw, beside `SpaceError` and errors of the operating system. Callers above turn them into their own refusals. */
export type VolumeErrorKind =
  /** A layer that must be there is not. */
  | 'missing-layer'
  /** Somebody has the disk open. */
  | 'busy'
  /** Files, or a running export, are not what the caller says they are. */
  | 'mismatch'
  /** The server of a disk has ended. */
  | 'gone'
  /** A running export did not answer, or a tool failed. */
  | 'failed';

export class VolumeBackendError extends Error {
  readonly kind: VolumeErrorKind;

  constructor(kind: VolumeErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'VolumeBackendError';
    this.kind = kind;
  }
}
