/** What a test asks of the process behind its disk. */
export type Order =
  | { readonly kind: 'mark'; readonly text: string }
  | { readonly kind: 'length' }
  | { readonly kind: 'off' }
  | { readonly kind: 'on'; readonly seed: number }
  | { readonly kind: 'marks' }
  | { readonly kind: 'write out'; readonly count: number; readonly seed: number; readonly folder: string }
  | { readonly kind: 'stop' };

/** A note of the test in the log: `count` operations lie before its end. */
export interface Mark {
  readonly text: string;
  readonly count: number;
}

export interface Reply {
  /** Of the order; 0 when the disk is mounted. */
  readonly id: number;
  readonly value: number | readonly Mark[];
  readonly error?: string;
}
