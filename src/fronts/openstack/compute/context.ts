import type { FlavorsService } from '../../../cloud/flavors/service.ts';
import type { ComputeQuotas } from '../../../cloud/quotas/compute-quotas.ts';
import type { ServersService } from '../../../cloud/servers/service.ts';
import type { TokenValidator } from '../shared/authentication.ts';

/** What the routes of Compute work with. */
export interface ComputeFront {
  readonly servers: ServersService;
  readonly identity: TokenValidator;
  readonly computeQuotas: ComputeQuotas;
  readonly flavors: FlavorsService;
  readonly publicUrl: string | undefined;
}
