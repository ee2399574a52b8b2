import type { FlavorsService } from '../../../cloud/flavors/service.ts';
import type { Aggregates } from '../../../cloud/hosts/aggregates.ts';
import type { ComputeHosts } from '../../../cloud/hosts/compute-hosts.ts';
import type { KeypairsService } from '../../../cloud/keypairs/service.ts';
import type { ComputeQuotas } from '../../../cloud/quotas/contract.ts';
import type { ServerGroupsService } from '../../../cloud/server-groups/service.ts';
import type { ServersService } from '../../../cloud/servers/service.ts';
import type { TokenValidator } from '../shared/authentication.ts';

/** What the routes of Compute work with. */
export interface ComputeFront {
  readonly servers: ServersService;
  readonly identity: TokenValidator;
  readonly computeQuotas: ComputeQuotas;
  readonly computeHosts: ComputeHosts;
  readonly aggregates: Aggregates;
  readonly flavors: FlavorsService;
  readonly keypairs: KeypairsService;
  readonly serverGroups: ServerGroupsService;
  readonly publicUrl: string | undefined;
}
