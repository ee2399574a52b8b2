import type { onRequestAsyncHookHandler } from 'fastify';
import { notAcceptable } from '../../../lib/errors.ts';

const onlyVersion = '2.1';

/** `serviceUrl` ends before the version: `http://host/compute`. */
export function versionEntry(serviceUrl: string): object {
  return {
    id: 'v2.1',
    status: 'CURRENT',
    version: onlyVersion,
    min_version: onlyVersion,
    updated: '2013-07-23T11:33:21Z',
    links: [{ rel: 'self', href: `${serviceUrl}/v2.1/` }],
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.compute+json;version=2.1' }],
  };
}

/** Compute is asked for a microversion by either of two headers, and answers with both. */
export const onlyMicroversion: onRequestAsyncHookHandler = async (request, reply) => {
  reply.header('vary', 'OpenStack-API-Version, X-OpenStack-Nova-API-Version');
  const named = /(?:^|,)\s*compute\s+(\S+)/.exec([request.headers['openstack-api-version'] ?? ''].flat().join(','))?.[1];
  const asked = named ?? request.headers['x-openstack-nova-api-version'] ?? onlyVersion;
  if (asked !== onlyVersion && asked !== 'latest') {
    throw notAcceptable(`Version ${String(asked)} is not supported by the API. Minimum is ${onlyVersion} and maximum is ${onlyVersion}.`);
  }
  reply.header('openstack-api-version', `compute ${onlyVersion}`);
  reply.header('x-openstack-nova-api-version', onlyVersion);
};
