import type { FlavorsService } from '../../../cloud/flavors/service.ts';
import type { TokenValidator } from '../shared/authentication.ts';

/** What the routes of Compute work with. */
export interface ComputeFront {
  readonly identity: TokenValidator;
  readonly flavors: FlavorsService;
  readonly publicUrl: string | undefined;
}
