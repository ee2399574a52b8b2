import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../../test/support/database.ts';
import { type Loopback, onLoopback } from '../../../../test/support/loopback.ts';
import { createIdentityService } from '../../../cloud/identity/service.ts';
import { systemClock } from '../../../lib/clock.ts';
import { computeFront } from './plugin.ts';

let test: TestDatabase;
let server: Loopback;
let token: string;

beforeAll(async () => {
  test = await testDatabase();
  const identity = createIdentityService({ database: test.database, clock: systemClock });
  await identity.bootstrapIdentity({ adminPassword: 'secret' });
  server = await onLoopback((app) => {
    app.register(computeFront, { prefix: '/compute', identity, publicUrl: undefined });
  });
  const scope = { kind: 'project', project: { name: 'admin', domain: { name: 'Default' } } } as const;
  const proof = { method: 'password', user: { name: 'admin', domain: { name: 'Default' } }, password: 'secret' } as const;
  ({ secret: token } = await identity.authenticate([proof], scope));
});
afterAll(async () => {
  await server.close();
  await test.drop();
});

describe('compute in a cloud without machines', () => {
  it('is discovered without a token, at its only microversion', async () => {
    const { status, json } = await server.call('GET', '/compute/v2.1/');
    expect(status).toBe(200);
    expect(json.version).toMatchObject({ id: 'v2.1', version: '2.1', links: [{ href: `${server.url}/compute/v2.1/` }] });
  });

  it('has no servers, and quotas of zero', async () => {
    const get = async (path: string) => (await server.call('GET', `/compute/v2.1${path}`, { token })).json;
    expect(await get('/servers/detail')).toEqual({ servers: [] });
    expect((await get('/os-quota-sets/some-project')).quota_set).toMatchObject({ id: 'some-project', instances: 0, cores: 0 });
    expect((await get('/limits')).limits.absolute).toMatchObject({ maxTotalInstances: 0, totalInstancesUsed: 0 });
  });

  it('refuses quotas for machines, newer microversions and strangers', async () => {
    const put = await server.call('PUT', '/compute/v2.1/os-quota-sets/p', { token, body: { quota_set: { cores: 4 } } });
    expect(put.status).toBe(403);
    const newer = await server.call('GET', '/compute/v2.1/servers', { token, headers: { 'x-openstack-nova-api-version': '2.45' } });
    expect(newer.status).toBe(406);
    expect((await server.call('GET', '/compute/v2.1/servers')).status).toBe(401);
  });
});
