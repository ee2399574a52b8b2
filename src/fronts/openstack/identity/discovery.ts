import type { DiscoveryPage } from '../shared/service-root.ts';
import { identityPath } from './catalog.ts';

const version = (base: string) => ({
  id: 'v3.14',
  status: 'stable',
  updated: '2020-04-07T00:00:00Z',
  links: [{ rel: 'self', href: `${base}${identityPath}/v3/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
});

export const discoveryPages: readonly DiscoveryPage[] = [
  {
    path: '/',
    code: 300,
    document: (base) => ({ versions: { values: [version(base)] } }),
    location: (base) => `${base}${identityPath}/v3/`,
  },
  { path: '/v3', code: 200, document: (base) => ({ version: version(base) }) },
];
