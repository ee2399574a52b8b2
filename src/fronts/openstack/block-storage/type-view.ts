/** How a volume type looks on the wire. What its extra specs tell of the backends is for administrators, but for a few that users choose by. */
import type { Caller } from '../../../cloud/identity/caller.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import type { VolumeType } from '../../../cloud/volume-types/service.ts';

export const openSpecs: readonly string[] = ['RESKEY:availability_zones', 'multiattach', 'replication_enabled'];

export const seesAllOf = (caller: Caller): boolean => isAllowed(caller, 'volume_type:see_all', { projectId: null });

export const visibleSpecs = ({ extraSpecs }: VolumeType, seesAll: boolean): Record<string, string> =>
  Object.fromEntries(Object.entries(extraSpecs).filter(([key]) => seesAll || openSpecs.includes(key)));

/** `created` and `updated` = in the replies to those requests, which show less. */
export function typeView(type: VolumeType, seesAll: boolean, where: 'created' | 'updated' | 'shown' = 'shown'): object {
  return {
    id: type.id,
    name: type.name,
    is_public: type.isPublic,
    description: type.description,
    extra_specs: visibleSpecs(type, seesAll),
    ...(where !== 'updated' && { 'os-volume-type-access:is_public': type.isPublic }),
    ...(where === 'shown' && seesAll && { qos_specs_id: type.qosSpecsId }),
  };
}
