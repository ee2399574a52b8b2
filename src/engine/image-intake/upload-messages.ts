/** What the two halves of an upload say to each other. The blocks themselves travel through shared memory. */

/** Zeroes are left out of the file, and data is recorded, in steps of this size. */
export const grainBytes = 64 * 1024;
/** A multiple of the grain, so that every block but the last begins and ends on one. */
export const blockBytes = 1024 * 1024;
/** How far the network may run ahead of the disk. */
export const blockCount = 4;

export interface UploadOrder {
  readonly path: string;
  readonly extentsPath: string;
  /** `blockCount` blocks of `blockBytes`. */
  readonly ring: SharedArrayBuffer;
}

export type ToWorker =
  | { readonly kind: 'block'; readonly index: number; readonly lengthBytes: number }
  | { readonly kind: 'finish' }
  | { readonly kind: 'abort' };

export type FromWorker =
  | { readonly kind: 'free'; readonly index: number }
  | { readonly kind: 'done'; readonly sizeBytes: number; readonly md5: string; readonly sha512: string }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'failed'; readonly code: string | undefined; readonly message: string };
