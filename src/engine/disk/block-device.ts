/**
 * A disk that this process itself can read and, unless it is read-only, write: what an NBD server serves.
 *
 * All offsets and lengths are bytes; every range lies within the size, and is not empty. Calls may overlap in time. Ones whose ranges
 * overlap too may take effect in any order; what a call did is seen by every call that begins after its end.
 * A call that fails says why in `code`, as the operating system does: `ENOSPC` is told to clients, anything else is an I/O error to them.
 */
export interface BlockDevice {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Fills `target` with the bytes from `offsetBytes`. */
  read(offsetBytes: number, target: Buffer): Promise<void>;
  /** Has its own copy of `bytes` when it returns. */
  write(offsetBytes: number, bytes: Buffer): Promise<void>;
  /** The range reads as zeroes afterwards. With `keepSpace`, writing to it later needs no more space than it takes now, where the device can promise that. */
  zero(offsetBytes: number, lengthBytes: number, options: { readonly keepSpace: boolean }): Promise<void>;
  /** The client does not need these bytes any more: they may be given back, and read as zeroes or as they were. */
  trim(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Makes durable whatever calls that have ended did. */
  flush(): Promise<void>;
  /** What is known about a range: pieces in order and without gaps, that begin at `offsetBytes`, and end where the range does or before. */
  describe(offsetBytes: number, lengthBytes: number): Promise<readonly DevicePiece[]>;
}

export interface DevicePiece {
  readonly lengthBytes: number;
  /** Takes no space of its own. */
  readonly hole: boolean;
  /** Reads as zeroes. */
  readonly zero: boolean;
}
