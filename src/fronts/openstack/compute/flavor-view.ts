import type { Flavor } from '../../../cloud/flavors/service.ts';
import type { Viewer } from './viewer.ts';

export const flavorSummary = ({ id, name, description }: Flavor, { since, linksTo }: Viewer): object => ({
  id,
  name,
  ...(since(55) && { description }),
  links: linksTo('flavors', id),
});

export function flavorView(flavor: Flavor, viewer: Viewer): object {
  const { since } = viewer;
  return {
    ...flavorSummary(flavor, viewer),
    ram: flavor.ramMib,
    disk: flavor.diskGib,
    vcpus: flavor.vcpus,
    // Nothing was written as an empty text for a long time.
    swap: flavor.swapMib === 0 && !since(75) ? '' : flavor.swapMib,
    'OS-FLV-EXT-DATA:ephemeral': flavor.ephemeralGib,
    'OS-FLV-DISABLED:disabled': false,
    'os-flavor-access:is_public': flavor.isPublic,
    rxtx_factor: flavor.rxtxFactor,
    ...(since(61) && { extra_specs: flavor.extraSpecs }),
  };
}
