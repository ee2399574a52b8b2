/**
 * The services that this server offers. All of them are parts of the same process, so the catalog follows from the public URL and
 * needs no table. Ids are derived from what they name and therefore stay the same.
 */
import { createHash } from 'node:crypto';
import type { Scope } from '../../../cloud/identity/token.ts';

export const identityPath = '/identity';
export const regionId = 'RegionOne';

type Interface = 'public' | 'internal' | 'admin';

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

export interface CatalogService {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly description: string;
}

export interface CatalogEndpoint {
  readonly id: string;
  readonly serviceId: string;
  readonly interface: Interface;
  /** With `$(project_id)s` where the project goes, as Identity's own listing shows it. */
  readonly url: string;
}

export const catalogServices: readonly CatalogService[] = offers.map(({ type, name, description }) => ({
  id: idOf('service', type),
  type,
  name,
  description,
}));

export function catalogEndpoints(publicBase: string): CatalogEndpoint[] {
  return offers.flatMap((offer) => endpointsOf(offer, publicBase, '$(project_id)s'));
}

/** The catalog of a token. */
export function catalogFor(scope: Scope, publicBase: string): object[] {
  const projectId = scope.kind === 'project' ? scope.project.id : undefined;
  return offers
    .filter((offer) => !offer.perProject || projectId !== undefined)
    .map((offer) => ({
      id: idOf('service', offer.type),
      type: offer.type,
      name: offer.name,
      endpoints: endpointsOf(offer, publicBase, projectId ?? '').map((endpoint) => ({
        id: endpoint.id,
        interface: endpoint.interface,
        region: regionId,
        region_id: regionId,
        url: endpoint.url,
      })),
    }));
}

function endpointsOf(offer: Offer, publicBase: string, project: string): CatalogEndpoint[] {
  return offer.interfaces.map((name) => ({
    id: idOf('endpoint', offer.type, name),
    serviceId: idOf('service', offer.type),
    interface: name,
    url: `${publicBase}${offer.path}${offer.perProject ? `/${project}` : ''}`,
  }));
}
