import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { computeParts } from '../../../../test/support/compute-wire.ts';
import { type TestDatabase, testDatabase } from '../../../../test/support/database.ts';
import { type Loopback, onLoopback } from '../../../../test/support/loopback.ts';
import { createIdentityService } from '../../../cloud/identity/service.ts';
import { callerOf } from '../../../cloud/identity/token.ts';
import { systemClock } from '../../../lib/clock.ts';
import { computeFront } from './plugin.ts';

let test: TestDatabase;
let server: Loopback;
let token: string;
let projectId: string;

beforeAll(async () => {
  test = await testDatabase();
  const identity = createIdentityService({ database: test.database, clock: systemClock });
  await identity.bootstrapIdentity({ adminPassword: 'secret' });
  server = await onLoopback((app) => {
    app.register(computeFront, { prefix: '/compute', identity, ...computeParts(test.database), publicUrl: undefined });
  });
  const scope = { kind: 'project', project: { name: 'admin', domain: { name: 'Default' } } } as const;
  const proof = { method: 'password', user: { name: 'admin', domain: { name: 'Default' } }, password: 'secret' } as const;
  const issued = await identity.authenticate([proof], scope);
  token = issued.secret;
  projectId = callerOf(issued.token, 'test').projectId ?? '';
});
afterAll(async () => {
  await server.close();
  await test.drop();
});

const older = 'x-openstack-nova-api-version';

describe('discovery', () => {
  it('asks for no token, whatever microversion is asked for', async () => {
    const { status, json } = await server.call('GET', '/compute/v2.1/', { headers: { [older]: '2.999' } });
    expect(status).toBe(200);
    expect(json.version).toMatchObject({ id: 'v2.1', status: 'CURRENT', version: '2.93', min_version: '2.1' });
    expect(json.version.links[0]).toEqual({ rel: 'self', href: `${server.url}/compute/v2.1/` });
  });

  it('lists both versions, and offers them to who asks for neither', async () => {
    const listed = await server.call('GET', '/compute/');
    expect([listed.status, listed.json.versions.map(({ id }: { id: string }) => id)]).toEqual([200, ['v2.0', 'v2.1']]);
    const choices = await server.call('GET', '/compute/v7');
    expect([choices.status, choices.json.choices.map(({ id }: { id: string }) => id)]).toEqual([300, ['v2.0', 'v2.1']]);
  });
});

describe('the frame of Compute', () => {
  it('answers nobody without a token', async () => {
    expect((await server.call('GET', '/compute/v2.1/servers')).status).toBe(401);
  });

  it('answers with both headers of the version, also when it refuses', async () => {
    for (const [path, status] of [
      ['/servers', 200],
      ['/nothing', 404],
      ['/os-quota-class-sets/default/x', 404],
    ] as const) {
      const reply = await server.call('GET', `/compute/v2.1${path}`, { token, headers: { [older]: '2.45' } });
      expect(reply.status).toBe(status);
      expect(reply.headers.get('openstack-api-version')).toBe('compute 2.45');
      expect(reply.headers.get(older)).toBe('2.45');
      expect(reply.headers.get('vary')).toBe('OpenStack-API-Version, X-OpenStack-Nova-API-Version');
    }
    const stranger = await server.call('GET', '/compute/v2.1/servers', { headers: { [older]: '2.45' } });
    expect([stranger.status, stranger.headers.get(older)]).toEqual([401, '2.45']);
  });

  it('refuses other versions', async () => {
    for (const [version, status] of [
      ['2.94', 406],
      ['1.1', 406],
      ['2', 400],
      ['zwei', 400],
    ] as const) {
      expect((await server.call('GET', '/compute/v2.1/servers', { token, headers: { [older]: version } })).status).toBe(status);
    }
  });

  it('takes paths with the project of the token, and with no other', async () => {
    const own = await server.call('GET', `/compute/v2.1/${projectId}/servers`, { token });
    expect([own.status, own.json]).toEqual([200, { servers: [] }]);
    const other = await server.call('GET', '/compute/v2.1/0123/servers', { token });
    expect([other.status, other.json.badRequest.message]).toEqual([
      400,
      `Malformed request URL: URL's project_id '0123' doesn't match Context's project_id '${projectId}'`,
    ]);
  });
});
