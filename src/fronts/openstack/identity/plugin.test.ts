import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../../test/support/database.ts';
import { type CallOptions, type Loopback, onLoopback, type Reply } from '../../../../test/support/loopback.ts';
import { createIdentityService } from '../../../cloud/identity/service.ts';
import { systemClock } from '../../../lib/clock.ts';
import { builtInCatalog } from './catalog.ts';
import { identityFront } from './plugin.ts';

let test: TestDatabase;
let server: Loopback;
let base: string;
let token: string;
let adminId: string;

beforeAll(async () => {
  test = await testDatabase();
  const identity = createIdentityService({ database: test.database, clock: systemClock, sealingKey: randomBytes(32) });
  await identity.bootstrapIdentity({ adminPassword: 'secret', catalog: builtInCatalog });
  server = await onLoopback((app) => {
    app.register(identityFront, { prefix: '/identity', identity, publicUrl: undefined });
  });
  base = `${server.url}/identity/v3`;
  const issued = await login('admin', 'secret', { project: { name: 'admin', domain: { id: 'default' } } });
  token = issued.headers.get('x-subject-token') ?? '';
  adminId = issued.json.token.user.id;
});
afterAll(async () => {
  await server.close();
  await test.drop();
});

const call = (method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<Reply> =>
  server.call(method, `/identity/v3${path}`, { token, ...(body === undefined ? {} : { body }), ...options });

function login(name: string, password: string, scope?: unknown): Promise<Reply> {
  const identity = { methods: ['password'], password: { user: { name, domain: { name: 'Default' }, password } } };
  const body = { auth: { identity, ...(scope === undefined ? {} : { scope }) } };
  return server.call('POST', '/identity/v3/auth/tokens', { body });
}

async function idOf(collection: string, name: string): Promise<string> {
  return (await call('GET', `/${collection}?name=${name}`)).json[collection][0].id;
}

describe('discovery', () => {
  it('needs no token, with and without a slash at the end', async () => {
    for (const path of ['/identity', '/identity/']) {
      const { status, json, headers } = await server.call('GET', path);
      expect(status).toBe(300);
      expect(headers.get('location')).toBe(`${base}/`);
      expect(json.versions.values[0]).toMatchObject({ id: 'v3.14', status: 'stable', links: [{ rel: 'self', href: `${base}/` }] });
    }
    for (const path of ['/identity/v3', '/identity/v3/']) {
      const { status, json } = await server.call('GET', path);
      expect(status).toBe(200);
      expect(json.version.id).toBe('v3.14');
    }
  });

  it('offers a JSON home document', async () => {
    const { json } = await server.call('GET', '/identity/v3', { headers: { accept: 'application/json-home' } });
    expect(json.resources['https://docs.openstack.org/api/openstack-identity/3/rel/project']).toEqual({
      'href-template': '/projects/{project_id}',
      'href-vars': { project_id: 'https://docs.openstack.org/api/openstack-identity/3/param/project_id' },
    });
  });
});

describe('a login', () => {
  it('answers with the token in a header and all about it in the body', async () => {
    const { status, headers, json } = await login('admin', 'secret', { project: { name: 'admin', domain: { name: 'Default' } } });
    expect(status).toBe(201);
    expect(headers.get('x-subject-token')).toMatch(/^spt_[\w-]{43}$/);
    expect(headers.get('vary')).toBe('X-Auth-Token');
    const domain = { id: 'default', name: 'Default' };
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect(json.token).toMatchObject({
      methods: ['password'],
      user: { id: adminId, name: 'admin', domain, password_expires_at: null },
      project: { name: 'admin', domain },
      is_domain: false,
      issued_at: time,
      expires_at: time,
    });
    expect(json.token.roles.map((role: { name: string }) => role.name)).toEqual(['admin', 'member', 'reader']);
    expect(Date.parse(json.token.expires_at) - Date.parse(json.token.issued_at)).toBe(3_600_000);
  });

  it('carries a catalog that follows the scope', async () => {
    const { json } = await login('admin', 'secret', { project: { name: 'admin', domain: { name: 'Default' } } });
    const urls = Object.fromEntries(
      json.token.catalog.map((entry: { type: string; endpoints: { url: string }[] }) => [entry.type, entry.endpoints[0]?.url]),
    );
    expect(urls).toEqual({
      identity: base,
      volumev3: `${server.url}/volume/v3/${json.token.project.id}`,
      'block-storage': `${server.url}/volume/v3/${json.token.project.id}`,
      image: `${server.url}/image`,
      compute: `${server.url}/compute/v2.1`,
      stillpoint: `${server.url}/api/v1`,
    });
    const system = (await login('admin', 'secret', { system: { all: true } })).json.token;
    expect(system.system).toEqual({ all: true });
    expect(system.catalog.map((entry: { type: string }) => entry.type)).toEqual(['identity', 'compute', 'image', 'stillpoint']);
    const unscoped = (await login('admin', 'secret', 'unscoped')).json.token;
    for (const key of ['catalog', 'roles', 'project', 'system']) expect(unscoped).not.toHaveProperty(key);
  });

  it('is refused with a challenge', async () => {
    const { status, headers, json } = await login('admin', 'wrong');
    expect(status).toBe(401);
    expect(headers.get('www-authenticate')).toBe(`Keystone uri="${base}"`);
    expect(json.error).toEqual({ code: 401, message: 'The request you have made requires authentication.', title: 'Unauthorized' });
  });

  it('is a bad request when its form is wrong', async () => {
    const bodies = [
      undefined,
      {},
      { auth: { identity: { methods: [] } } },
      { auth: { identity: { methods: ['password'] } } },
      { auth: { identity: { methods: ['password'], password: { user: { name: 'admin', password: 'x' } } } } },
      { auth: { identity: { methods: ['password'], password: { user: { id: 'x', password: 5 } } } } },
      { auth: { identity: { methods: ['token'], token: { id: 'x' } }, scope: { project: { name: 'x' } } } },
      { auth: { identity: { methods: ['token'], token: { id: 'x' } }, scope: { project: { id: 'x' }, system: { all: true } } } },
      { auth: { identity: { methods: ['application_credential'], application_credential: { id: 'x', secret: 'y' } }, scope: 'unscoped' } },
    ];
    for (const body of bodies) {
      const { status, json } = await server.call('POST', '/identity/v3/auth/tokens', body === undefined ? {} : { body });
      expect(status, JSON.stringify(body)).toBe(400);
      expect(json.error.title).toBe('Bad Request');
    }
    const unknown = { auth: { identity: { methods: ['totp'] } } };
    expect((await server.call('POST', '/identity/v3/auth/tokens', { body: unknown })).status).toBe(401);
  });
});

describe('a token', () => {
  it('is described, looked for and revoked', async () => {
    const subject = (await login('admin', 'secret', 'unscoped')).headers.get('x-subject-token') ?? '';
    const headers = { 'x-subject-token': subject };
    const { json, headers: answered } = await call('GET', '/auth/tokens', undefined, { headers });
    expect(json.token.user.id).toBe(adminId);
    expect(answered.get('x-subject-token')).toBe(subject);
    expect(await call('HEAD', '/auth/tokens', undefined, { headers })).toMatchObject({ status: 200, text: '' });
    expect((await call('DELETE', '/auth/tokens', undefined, { headers })).status).toBe(204);
    expect((await call('GET', '/auth/tokens', undefined, { headers })).status).toBe(404);
    expect((await call('GET', '/users', undefined, { token: subject })).status).toBe(401);
    expect((await call('GET', '/auth/tokens')).status).toBe(400);
  });

  it('is needed for everything but discovery and login', async () => {
    const paths = [
      '/auth/catalog',
      '/users',
      '/projects',
      '/domains',
      '/roles',
      '/role_assignments',
      '/services',
      '/endpoints',
      '/regions',
    ];
    for (const path of paths) {
      const { status, headers } = await server.call('GET', `/identity/v3${path}`);
      expect(status).toBe(401);
      expect(headers.get('www-authenticate')).toContain('/identity/v3');
    }
  });

  it('opens what its holder has', async () => {
    expect((await call('GET', '/auth/projects')).json.projects.map((project: { name: string }) => project.name)).toEqual(['admin']);
    expect((await call('GET', '/auth/domains')).json.domains).toEqual([]);
    expect((await call('GET', '/auth/system')).json.system).toEqual([{ all: true }]);
    expect((await call('GET', '/auth/catalog')).json.catalog).toHaveLength(6);
  });
});

describe('projects', () => {
  it('are made, shown, changed and deleted', async () => {
    const input = { name: 'demo', description: 'a demo', tags: ['red'], colour: 'blue' };
    const created = await call('POST', '/projects', { project: input });
    expect(created.status).toBe(201);
    const { id } = created.json.project;
    expect(created.json.project).toEqual({
      ...input,
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
      domain_id: 'default',
      enabled: true,
      parent_id: 'default',
      is_domain: false,
      options: {},
      links: { self: `${base}/projects/${id}` },
    });
    expect((await call('GET', `/projects/${id}`)).json).toEqual(created.json);
    const changed = await call('PATCH', `/projects/${id}`, { project: { description: 'new', shape: 'round' } });
    expect(changed.json.project).toMatchObject({ name: 'demo', description: 'new', colour: 'blue', shape: 'round', tags: ['red'] });
    expect((await call('DELETE', `/projects/${id}`)).status).toBe(204);
    expect((await call('GET', `/projects/${id}`)).json.error.message).toBe(`Could not find project: ${id}.`);
  });

  it('are listed in the usual envelope, by exact name or part of it', async () => {
    const { json } = await call('GET', '/projects?name=admin');
    expect(json.links).toEqual({ next: null, previous: null, self: `${base}/projects?name=admin` });
    expect(json.projects).toHaveLength(1);
    expect((await call('GET', '/projects?name=adm')).json.projects).toEqual([]);
    expect((await call('GET', '/projects?name__icontains=DMI')).json.projects).toHaveLength(1);
    expect((await call('GET', '/projects?enabled=false')).json.projects).toEqual([]);
    expect((await call('GET', '/projects?tags=red')).json.projects).toEqual([]);
  });

  it('are refused without a good name', async () => {
    for (const project of [
      {},
      { name: '' },
      { name: 'x'.repeat(65) },
      { name: 5 },
      { name: 'x', enabled: 'yes' },
      { name: 'x', is_domain: true, domain_id: 'default' },
      { name: '  ' },
    ]) {
      const { status, json } = await call('POST', '/projects', { project });
      expect(status).toBe(400);
      expect(json.error.code).toBe(400);
    }
    const again = await call('POST', '/projects', { project: { name: 'admin' } });
    expect(again.status).toBe(409);
    expect(again.json.error.title).toBe('Conflict');
  });
});

describe('users', () => {
  it('are made without ever showing a password', async () => {
    const created = await call('POST', '/users', { user: { name: 'bob', password: 'pw', email: 'b@x', description: null } });
    expect(created.status).toBe(201);
    const { id } = created.json.user;
    expect(created.json.user).toEqual({
      id,
      name: 'bob',
      domain_id: 'default',
      enabled: true,
      password_expires_at: null,
      email: 'b@x',
      description: null,
      options: {},
      links: { self: `${base}/users/${id}` },
    });
    const listed = await call('GET', '/users');
    expect(listed.text).not.toMatch(/password_hash|scrypt|"password"/);
  });

  it('change their own password, and are logged out by that', async () => {
    const { id } = (await call('POST', '/users', { user: { name: 'carol', password: 'old' } })).json.user;
    const own = (await login('carol', 'old')).headers.get('x-subject-token') ?? '';
    const change = (original_password: string) =>
      call('POST', `/users/${id}/password`, { user: { original_password, password: 'new' } }, { token: own });
    expect((await change('wrong')).status).toBe(401);
    expect((await change('old')).status).toBe(204);
    expect((await call('GET', `/users/${id}`, undefined, { token: own })).status).toBe(401);
    expect((await login('carol', 'old')).status).toBe(401);
    expect((await login('carol', 'new')).status).toBe(201);
  });

  it('see themselves and nobody else', async () => {
    const { id } = (await call('POST', '/users', { user: { name: 'dave', password: 'pw' } })).json.user;
    const own = (await login('dave', 'pw')).headers.get('x-subject-token') ?? '';
    expect((await call('GET', `/users/${id}`, undefined, { token: own })).json.user.name).toBe('dave');
    expect((await call('GET', `/users/${id}/projects`, undefined, { token: own })).json.projects).toEqual([]);
    const refused = await call('GET', '/users', undefined, { token: own });
    expect(refused.status).toBe(403);
    expect(refused.json.error.message).toBe('You are not authorized to perform the requested action: identity:list_users.');
  });
});

describe('roles', () => {
  it('are granted, found and taken away', async () => {
    const project = (await call('POST', '/projects', { project: { name: 'granted' } })).json.project.id;
    const user = (await call('POST', '/users', { user: { name: 'erin', password: 'pw' } })).json.user.id;
    const member = await idOf('roles', 'member');
    const grant = `/projects/${project}/users/${user}/roles/${member}`;
    expect((await call('HEAD', grant)).status).toBe(404);
    expect((await call('PUT', grant)).status).toBe(204);
    expect((await call('PUT', grant)).status).toBe(204);
    expect((await call('HEAD', grant)).status).toBe(204);
    expect((await call('GET', `/projects/${project}/users/${user}/roles`)).json.roles.map((role: { id: string }) => role.id)).toEqual([
      member,
    ]);

    const plain = await call('GET', `/role_assignments?user.id=${user}`);
    expect(plain.json.role_assignments).toEqual([
      { scope: { project: { id: project } }, user: { id: user }, role: { id: member }, links: { assignment: `${base}${grant}` } },
    ]);
    const named = await call('GET', `/role_assignments?user.id=${user}&include_names&effective`);
    expect(named.json.role_assignments.map((item: { role: { name: string } }) => item.role.name)).toEqual(['member', 'reader']);
    expect(named.json.role_assignments[1].links.prior_role).toContain(`/prior_role/${member}/implies/`);
    expect((await call('GET', `/role_assignments?scope.project.id=${project}&role.id=${member}`)).json.role_assignments).toHaveLength(1);
    expect((await call('GET', '/role_assignments?scope.system=all')).json.role_assignments).toHaveLength(1);
    expect((await call('GET', '/role_assignments?user.id=a&group.id=b')).status).toBe(400);

    expect((await call('DELETE', grant)).status).toBe(204);
    expect((await call('DELETE', grant)).status).toBe(404);
    expect((await call('PUT', `/projects/${project}/users/nobody/roles/${member}`)).json.error.message).toBe(
      'Could not find user: nobody.',
    );
  });

  it('are made beside the ones that are built in', async () => {
    const created = await call('POST', '/roles', { role: { name: 'auditor' } });
    expect(created.status).toBe(201);
    const { id } = created.json.role;
    expect(created.json.role).toEqual({
      id,
      name: 'auditor',
      domain_id: null,
      description: null,
      options: {},
      links: { self: `${base}/roles/${id}` },
    });
    expect((await call('POST', '/roles', { role: { name: 'member' } })).status).toBe(409);
    expect((await call('DELETE', `/roles/${id}`)).status).toBe(204);
    expect((await call('DELETE', `/roles/${await idOf('roles', 'member')}`)).status).toBe(403);
  });

  it('imply others', async () => {
    const [admin, member] = [await idOf('roles', 'admin'), await idOf('roles', 'member')];
    const { json } = await call('GET', '/role_inferences');
    expect(json.role_inferences).toHaveLength(2);
    expect((await call('GET', `/roles/${admin}/implies`)).json.role_inference.implies).toMatchObject([{ id: member }]);
    expect((await call('HEAD', `/roles/${admin}/implies/${member}`)).status).toBe(204);
    expect((await call('HEAD', `/roles/${member}/implies/${admin}`)).status).toBe(404);
  });
});

describe('domains', () => {
  it('are deleted once they are disabled', async () => {
    const created = await call('POST', '/domains', { domain: { name: 'elsewhere' } });
    const { id } = created.json.domain;
    expect(created.json.domain).toMatchObject({
      name: 'elsewhere',
      description: '',
      enabled: true,
      links: { self: `${base}/domains/${id}` },
    });
    expect((await call('DELETE', `/domains/${id}`)).status).toBe(403);
    expect((await call('PATCH', `/domains/${id}`, { domain: { enabled: false } })).json.domain.enabled).toBe(false);
    expect((await call('DELETE', `/domains/${id}`)).status).toBe(204);
    expect((await call('DELETE', '/domains/default')).status).toBe(403);
  });
});

describe('application credentials', () => {
  const path = () => `/users/${adminId}/application_credentials`;

  it('show their secret once', async () => {
    const expires_at = '2999-01-31T12:00:00';
    const created = await call('POST', path(), { application_credential: { name: 'ci', roles: [{ name: 'reader' }], expires_at } });
    expect(created.status).toBe(201);
    const { secret, ...shown } = created.json.application_credential;
    expect(shown).toMatchObject({ name: 'ci', unrestricted: false, expires_at: `${expires_at}.000000`, roles: [{ name: 'reader' }] });
    expect((await call('GET', `${path()}/${shown.id}`)).json.application_credential).toEqual(shown);
    expect((await call('GET', `${path()}?name=ci`)).json.application_credentials).toEqual([shown]);

    const identity = { methods: ['application_credential'], application_credential: { id: shown.id, secret } };
    const used = await server.call('POST', '/identity/v3/auth/tokens', { body: { auth: { identity } } });
    expect(used.status).toBe(201);
    expect(used.json.token.application_credential).toEqual({ id: shown.id, name: 'ci', restricted: true });

    expect((await call('POST', path(), { application_credential: { name: 'ci' } })).status).toBe(409);
    expect((await call('DELETE', `${path()}/${shown.id}`)).status).toBe(204);
    expect((await call('GET', `${path()}/${shown.id}`)).status).toBe(404);
  });

  it('are not made with limits that would not be kept', async () => {
    const limited = { name: 'x', access_rules: [{ path: '/v2.1/servers', method: 'GET', service: 'compute', query: 'x' }] };
    expect((await call('POST', path(), { application_credential: limited })).status).toBe(400);
    expect((await call('POST', path(), { application_credential: { name: 'x', expires_at: 'soon' } })).status).toBe(400);
  });
});

describe('the catalog', () => {
  it('can be read piece by piece', async () => {
    const { services } = (await call('GET', '/services?type=image')).json;
    expect(services).toMatchObject([{ type: 'image', name: 'glance', enabled: true }]);
    const { endpoints } = (await call('GET', `/endpoints?service_id=${services[0].id}&interface=public`)).json;
    expect(endpoints).toMatchObject([{ url: `${server.url}/image`, region_id: 'RegionOne' }]);
    expect((await call('GET', `/endpoints/${endpoints[0].id}`)).json.endpoint).toEqual(endpoints[0]);
    expect((await call('GET', '/regions/RegionOne')).json.region.parent_region_id).toBeNull();
    expect((await call('GET', '/services/none')).json.error.message).toBe('Could not find service: none.');
  });
});

it('tells an unknown path from a wrong method', async () => {
  expect((await call('GET', '/nothing')).headers.get('content-type')).toContain('text/html');
  expect((await call('POST', '/auth/catalog')).status).toBe(405);
});
