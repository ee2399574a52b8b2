import type { TokenValidator } from '../shared/authentication.ts';

/** What the routes of Compute work with. */
export interface ComputeFront {
  readonly identity: TokenValidator;
  readonly publicUrl: string | undefined;
}
