import type { FastifyInstance } from 'fastify';
import { notFound } from '../../../lib/errors.ts';

/** Alias and name of what is here beyond servers. Clients look for some of them before they ask. */
const extensions: readonly (readonly [alias: string, name: string])[] = [
  ['os-aggregates', 'Aggregates'],
  ['os-availability-zone', 'AvailabilityZone'],
  ['os-flavor-access', 'FlavorAccess'],
  ['os-flavor-extra-specs', 'FlavorExtraSpecs'],
  ['os-flavor-manage', 'FlavorManage'],
  ['os-flavor-rxtx', 'FlavorRxtx'],
  ['flavors', 'Flavors'],
  ['os-flavor-extra-data', 'FlavorExtraData'],
  ['os-hosts', 'Hosts'],
  ['os-hypervisors', 'Hypervisors'],
  ['os-keypairs', 'Keypairs'],
  ['limits', 'Limits'],
  ['os-quota-class-sets', 'QuotaClasses'],
  ['os-quota-sets', 'Quotas'],
  ['os-server-groups', 'ServerGroups'],
  ['os-services', 'Services'],
  ['os-used-limits', 'UsedLimits'],
  ['os-user-quotas', 'UserQuotas'],
  ['versions', 'Versions'],
];

const views = extensions.map(([alias, name]) => ({
  name,
  alias,
  description: '',
  updated: '2014-12-03T00:00:00Z',
  namespace: 'http://docs.openstack.org/compute/ext/fake_xml',
  links: [],
}));

export function registerExtensionRoutes(app: FastifyInstance): void {
  app.get('/extensions', async () => ({ extensions: views }));
  app.get<{ Params: { alias: string } }>('/extensions/:alias', async ({ params }) => {
    const extension = views.find(({ alias }) => alias === params.alias);
    if (extension === undefined) throw notFound('The resource could not be found.');
    return { extension };
  });
}
