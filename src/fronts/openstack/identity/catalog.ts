/**
 * The services that this server offers: the part of the catalog that is built in. All of them are parts of the same process, so their
 * URLs follow from the one that clients call it by. Ids are derived from what they name and therefore stay the same.
 */
import { createHash } from 'node:crypto';
import type { BuiltInCatalog, Interface } from '../../../cloud/identity/catalog-entities.ts';

export const identityPath = '/identity';
export const regionId = 'RegionOne';

interface Offer {
  readonly type: string;
  readonly name: string;
  readonly description: string;
  readonly interfaces: readonly Interface[];
  readonly path: string;
  /** The URL ends with the project's id; without a project there is none. */
  readonly perProject: boolean;
}

const everyone: readonly Interface[] = ['public', 'internal'];

const offers: readonly Offer[] = [
  {
    type: 'identity',
    name: 'keystone',
    description: 'Identity',
    // Some clients look for the admin interface when they manage users.
    interfaces: ['public', 'internal', 'admin'],
    path: `${identityPath}/v3`,
    perProject: false,
  },
  { type: 'volumev3', name: 'cinderv3', description: 'Block Storage', interfaces: everyone, path: '/volume/v3', perProject: true },
  { type: 'block-storage', name: 'cinder', description: 'Block Storage', interfaces: everyone, path: '/volume/v3', perProject: true },
  { type: 'compute', name: 'nova', description: 'Compute', interfaces: everyone, path: '/compute/v2.1', perProject: false },
  { type: 'image', name: 'glance', description: 'Image', interfaces: everyone, path: '/image', perProject: false },
  { type: 'stillpoint', name: 'stillpoint', description: 'Stillpoint', interfaces: everyone, path: '/api/v1', perProject: false },
];

const idOf = (...names: string[]): string => createHash('sha256').update(names.join('\n')).digest('hex').slice(0, 32);

/** The rows of Identity's catalog that stand for this server itself. */
export const builtInCatalog: BuiltInCatalog = {
  regions: [{ id: regionId, description: '', parentRegionId: null, builtIn: true, extra: {} }],
  services: offers.map(({ type, name, description }) => ({
    id: idOf('service', type),
    type,
    name,
    description,
    enabled: true,
    builtIn: true,
    extra: {},
  })),
  endpoints: offers.flatMap(({ type, interfaces, path, perProject }) =>
    interfaces.map((name) => ({
      id: idOf('endpoint', type, name),
      serviceId: idOf('service', type),
      interface: name,
      regionId,
      url: `${path}${perProject ? '/$(project_id)s' : ''}`,
      enabled: true,
      builtIn: true,
      extra: {},
    })),
  ),
};

/** Services of this server in the order that clients know; those of operators come after them. */
export const orderOf = (type: string): number => offers.findIndex((offer) => offer.type === type);

const prefixOf = ({ path }: Offer): string => path.replace(/\/v\d.*$/, '');

/** Which services a path of this server belongs to: their types, and the path as the service itself sees it. */
export function serviceAt(path: string): { readonly types: readonly string[]; readonly path: string } | undefined {
  const prefixes = new Map(offers.map((offer) => [prefixOf(offer), offers.filter((other) => prefixOf(other) === prefixOf(offer))]));
  for (const [prefix, found] of prefixes) {
    if (path.startsWith(`${prefix}/`)) return { types: found.map(({ type }) => type), path: path.slice(prefix.length) };
  }
  return undefined;
}
