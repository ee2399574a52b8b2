/** How a volume type looks on the wire. What its extra specs tell of the backends is for administrators, but for a few that users choose by. */
import type { VolumeType } from '../../../cloud/volume-types/service.ts';

export const openSpecs: readonly string[] = ['RESKEY:availability_zones', 'multiattach', 'replication_enabled'];

export const visibleSpecs = ({ extraSpecs }: VolumeType, isAdmin: boolean): Record<string, string> =>
  Object.fromEntries(Object.entries(extraSpecs).filter(([key]) => isAdmin || openSpecs.includes(key)));

/** `created` and `updated` = in the replies to those requests, which show less. */
export function typeView(type: VolumeType, isAdmin: boolean, where: 'created' | 'updated' | 'shown' = 'shown'): object {
  return {
    id: type.id,
    name: type.name,
    is_public: type.isPublic,
    description: type.description,
    extra_specs: visibleSpecs(type, isAdmin),
    ...(where !== 'updated' && { 'os-volume-type-access:is_public': type.isPublic }),
    ...(where === 'shown' && isAdmin && { qos_specs_id: type.qosSpecsId }),
  };
}
