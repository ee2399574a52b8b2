/** What a volume type says of the volumes themselves, by extra specs that Block Storage names. */
import { badRequest } from '../../lib/errors.ts';
import type { VolumeType } from '../volume-types/service.ts';

const smallest = 'provisioning:min_vol_size';
const largest = 'provisioning:max_vol_size';
const zones = 'RESKEY:availability_zones';

type TypeFacts = Pick<VolumeType, 'name' | 'extraSpecs'>;

export function checkAgainstType(type: TypeFacts, sizeGib: number, zone: string): void {
  checkZoneOfType(type, zone);
  checkSizeOfType(type, sizeGib);
}

export function checkSizeOfType({ name, extraSpecs }: TypeFacts, sizeGib: number): void {
  const [min, max] = [extraSpecs[smallest], extraSpecs[largest]];
  if (min !== undefined && sizeGib < Number(min)) {
    throw badRequest(
      `Invalid input received: Specified volume size of '${sizeGib}' is less than the minimum required size of '${min}' for volume type '${name}'.`,
    );
  }
  if (max !== undefined && sizeGib > Number(max)) {
    throw badRequest(
      `Invalid input received: Specified volume size of '${sizeGib}' is greater than the maximum allowable size of '${max}' for volume type '${name}'.`,
    );
  }
}

function checkZoneOfType({ extraSpecs }: TypeFacts, zone: string): void {
  const wanted = extraSpecs[zones]
    ?.split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (wanted !== undefined && wanted.length > 0 && !wanted.includes(zone)) {
    throw badRequest(`Volume type is only supported in these availability zones: ${wanted.join(', ')}`);
  }
}
