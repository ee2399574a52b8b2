import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../../test/support/database.ts';
import { type Loopback, onLoopback, type Reply } from '../../../../test/support/loopback.ts';
import { createIdentityService, type IdentityService } from '../../../cloud/identity/service.ts';
import { systemClock } from '../../../lib/clock.ts';
import { builtInCatalog, serviceAt } from './catalog.ts';
import { identityFront } from './plugin.ts';

let test: TestDatabase;
let identity: IdentityService;
let server: Loopback;
let token: string;
let projectId: string;
let userId: string;

const adminPassword = 'secret';
const startAgain = () => identity.bootstrapIdentity({ adminPassword, catalog: builtInCatalog });

beforeAll(async () => {
  test = await testDatabase();
  identity = createIdentityService({ database: test.database, clock: systemClock, sealingKey: randomBytes(32) });
  await startAgain();
  server = await onLoopback((app) => {
    app.register(identityFront, { prefix: '/identity', identity, publicUrl: undefined });
  });
  const issued = await login();
  token = issued.headers.get('x-subject-token') ?? '';
  projectId = issued.json.token.project.id;
  userId = issued.json.token.user.id;
});
afterAll(async () => {
  await server.close();
  await test.drop();
});

function login(): Promise<Reply> {
  const user = { name: 'admin', domain: { id: 'default' }, password: adminPassword };
  const scope = { project: { name: 'admin', domain: { id: 'default' } } };
  return server.call('POST', '/identity/v3/auth/tokens', {
    body: { auth: { identity: { methods: ['password'], password: { user } }, scope } },
  });
}

const call = (method: string, path: string, body?: unknown): Promise<Reply> =>
  server.call(method, `/identity/v3${path}`, { token, ...(body === undefined ? {} : { body }) });

interface Entry {
  readonly type: string;
  readonly endpoints: readonly { readonly id: string; readonly url: string }[];
}
const catalog = async (): Promise<Entry[]> => (await call('GET', '/auth/catalog')).json.catalog;

describe('what operators add to the catalog', () => {
  it('is shown to tokens with its places filled in, and stays when the service starts again', async () => {
    const service = (await call('POST', '/services', { service: { type: 'object-store', name: 'swift', note: 'kept' } })).json.service;
    expect(service).toMatchObject({ type: 'object-store', name: 'swift', enabled: true, note: 'kept' });
    const url = 'https://swift.example.org/v1/AUTH_%(project_id)s/$(user_id)s';
    const endpoint = { service_id: service.id, interface: 'public', url, region: 'elsewhere' };
    const made = await call('POST', '/endpoints', { endpoint });
    expect(made).toMatchObject({ status: 201, json: { endpoint: { url, region: 'elsewhere', region_id: 'elsewhere', enabled: true } } });
    expect((await call('GET', '/regions/elsewhere')).status).toBe(200);
    const unknown = { service_id: service.id, interface: 'internal', url: 'https://swift.example.org/%(secret)s' };
    await call('POST', '/endpoints', { endpoint: unknown });

    await startAgain();
    const { endpoints } = (await catalog()).find(({ type }) => type === 'object-store') ?? { endpoints: [] };
    expect(endpoints.map((one) => one.url)).toEqual([`https://swift.example.org/v1/AUTH_${projectId}/${userId}`]);

    expect((await call('DELETE', '/regions/elsewhere')).status).toBe(403);
    expect((await call('PATCH', `/services/${service.id}`, { service: { enabled: false } })).status).toBe(200);
    expect((await catalog()).map(({ type }) => type)).not.toContain('object-store');
    expect((await call('DELETE', `/services/${service.id}`)).status).toBe(204);
    expect((await call('GET', `/endpoints/${made.json.endpoint.id}`)).status).toBe(404);
    expect((await call('DELETE', '/regions/elsewhere')).status).toBe(204);
  });

  it('is refused when it is not whole', async () => {
    const endpoint = { service_id: builtInCatalog.services[0]?.id, interface: 'public', url: 'https://x.example.org' };
    const codes = async (...bodies: unknown[]) => {
      const replies = await Promise.all(bodies.map((body) => call('POST', '/endpoints', { endpoint: body })));
      return replies.map(({ status }) => status);
    };
    expect(
      await codes(
        { ...endpoint, enabled: 'True' },
        { ...endpoint, url: '/relative' },
        { ...endpoint, interface: 'private' },
        { ...endpoint, service_id: 'no' },
        { ...endpoint, region_id: 'no' },
        {},
      ),
    ).toEqual([400, 400, 400, 400, 400, 400]);
    const region = (await call('POST', '/regions', { region: {} })).json.region.id;
    const below = (await call('POST', '/regions', { region: { parent_region_id: region } })).json.region.id;
    expect((await call('PATCH', `/regions/${region}`, { region: { parent_region_id: below } })).status).toBe(400);
    expect((await call('DELETE', `/regions/${region}`)).status).toBe(204);
    expect((await call('GET', `/regions/${below}`)).status).toBe(404);
  });
});

describe('what is built in', () => {
  it('cannot be changed, and is put right at each start', async () => {
    const [service, endpoint] = [builtInCatalog.services[0], builtInCatalog.endpoints[0]];
    expect((await call('PATCH', `/services/${service?.id}`, { service: { enabled: false } })).status).toBe(403);
    expect((await call('DELETE', `/services/${service?.id}`)).status).toBe(403);
    expect((await call('PATCH', `/endpoints/${endpoint?.id}`, { endpoint: { url: 'https://x.example.org' } })).status).toBe(403);
    expect((await call('DELETE', `/endpoints/${endpoint?.id}`)).status).toBe(403);
    expect((await call('DELETE', '/regions/RegionOne')).status).toBe(403);
    await test.database.sql.updateTable('endpoints').set({ url: '/wrong' }).where('built_in', '=', true).execute();
    await startAgain();
    const identityEntry = (await catalog()).find(({ type }) => type === 'identity');
    expect(identityEntry?.endpoints[0]?.url).toBe(`${server.url}/identity/v3`);
  });

  it('is told by the paths of this server', () => {
    expect(serviceAt('/volume/v3/p/volumes')).toEqual({ types: ['volumev3', 'block-storage'], path: '/v3/p/volumes' });
    expect(serviceAt('/image/v2/images')).toEqual({ types: ['image'], path: '/v2/images' });
    expect(serviceAt('/api/v1/status')).toEqual({ types: ['stillpoint'], path: '/v1/status' });
    expect(serviceAt('/imagery')).toBeUndefined();
  });
});

it('shows a project only the endpoints that were chosen for it, one by one or by what they have in common', async () => {
  const all = (await catalog()).map(({ type }) => type);
  const chosen = builtInCatalog.endpoints.find(({ url }) => url.startsWith('/image'));
  const path = `/OS-EP-FILTER/projects/${projectId}/endpoints/${chosen?.id}`;
  expect((await call('PUT', path)).status).toBe(204);
  expect((await call('HEAD', path)).status).toBe(204);
  expect((await catalog()).map(({ type }) => type)).toEqual(['image']);

  const filters = { service_id: builtInCatalog.services.find(({ type }) => type === 'compute')?.id };
  const group = (await call('POST', '/OS-EP-FILTER/endpoint_groups', { endpoint_group: { name: 'machines', filters } })).json
    .endpoint_group;
  const inProject = `/OS-EP-FILTER/endpoint_groups/${group.id}/projects/${projectId}`;
  expect((await call('PUT', inProject)).status).toBe(204);
  expect((await catalog()).map(({ type }) => type)).toEqual(['compute', 'image']);
  expect((await call('GET', `/OS-EP-FILTER/projects/${projectId}/endpoints`)).json.endpoints).toHaveLength(3);

  expect((await call('DELETE', inProject)).status).toBe(204);
  expect((await call('DELETE', path)).status).toBe(204);
  expect((await call('DELETE', path)).status).toBe(404);
  expect((await catalog()).map(({ type }) => type)).toEqual(all);
});

it('keeps an application credential to its rules', async () => {
  const rules = [{ service: 'identity', method: 'GET', path: '/v3/users/*' }];
  const body = { application_credential: { name: 'narrow', access_rules: rules } };
  const made = (await call('POST', `/users/${userId}/application_credentials`, body)).json.application_credential;
  expect(made.access_rules).toEqual([{ id: expect.any(String), ...rules[0] }]);
  const proof = { methods: ['application_credential'], application_credential: { id: made.id, secret: made.secret } };
  const issued = await server.call('POST', '/identity/v3/auth/tokens', { body: { auth: { identity: proof } } });
  expect(issued.json.token.application_credential.access_rules).toEqual(made.access_rules);
  const narrow = issued.headers.get('x-subject-token') ?? '';
  const status = async (method: string, path: string) => (await server.call(method, `/identity/v3${path}`, { token: narrow })).status;
  expect(await status('GET', `/users/${userId}`)).toBe(200);
  expect(await status('GET', '/users')).toBe(401);
  expect(await status('DELETE', `/users/${userId}`)).toBe(401);
  expect(await status('GET', `/users/${userId}/projects`)).toBe(401);

  const rulePath = `/users/${userId}/access_rules/${made.access_rules[0].id}`;
  expect((await call('DELETE', rulePath)).status).toBe(403);
  expect((await call('DELETE', `/users/${userId}/application_credentials/${made.id}`)).status).toBe(204);
  expect((await call('DELETE', rulePath)).status).toBe(204);
  const bad = { application_credential: { name: 'bad', access_rules: [{ service: 'identity', method: 'FETCH', path: '/v3' }] } };
  expect((await call('POST', `/users/${userId}/application_credentials`, bad)).status).toBe(400);
});

describe('limits', () => {
  const register = (limit: object) => call('POST', '/registered_limits', { registered_limits: [limit] });
  const limit = (asked: object) => call('POST', '/limits', { limits: [asked] });
  const service = async (): Promise<string> =>
    (await call('POST', '/services', { service: { type: 'compute', name: 'machines' } })).json.service.id;

  it('of a project depart from what is registered for everybody', async () => {
    const service_id = await service();
    const resource = { service_id, resource_name: 'cores' };
    const made = await register({ ...resource, default_limit: 20, description: 'of all' });
    expect(made.status).toBe(201);
    const [registered] = made.json.registered_limits;
    expect(registered).toMatchObject({ ...resource, region_id: null, default_limit: 20, description: 'of all', id: expect.any(String) });
    expect(registered.links.self).toMatch(`/v3/registered_limits/${registered.id}`);

    const own = await limit({ ...resource, project_id: projectId, resource_limit: 5 });
    expect(own.status).toBe(201);
    const [mine] = own.json.limits;
    expect(mine).toMatchObject({ ...resource, project_id: projectId, domain_id: null, resource_limit: 5, description: null });
    expect((await call('GET', `/limits?project_id=${projectId}&resource_name=cores`)).json.limits).toEqual([mine]);
    expect((await call('GET', `/limits/${mine.id}`)).json.limit).toEqual(mine);
    expect((await call('PATCH', `/limits/${mine.id}`, { limit: { resource_limit: -1 } })).json.limit).toEqual({
      ...mine,
      resource_limit: -1,
    });
    expect((await call('GET', '/limits/model')).json.model.name).toBe('flat');

    // What somebody departs from cannot change, or go.
    const referred = { status: 403, json: { error: { message: expect.stringContaining('there are project limits associated with it') } } };
    const change = { registered_limit: { default_limit: 1 } };
    expect(await call('PATCH', `/registered_limits/${registered.id}`, change)).toMatchObject(referred);
    expect(await call('DELETE', `/registered_limits/${registered.id}`)).toMatchObject(referred);
    expect((await call('DELETE', `/limits/${mine.id}`)).status).toBe(204);
    expect((await call('PATCH', `/registered_limits/${registered.id}`, change)).json.registered_limit.default_limit).toBe(1);
    expect((await call('DELETE', `/registered_limits/${registered.id}`)).status).toBe(204);
    expect(await call('GET', `/registered_limits/${registered.id}`)).toMatchObject({
      status: 404,
      json: { error: { message: `Could not find registered limit for ${registered.id}.` } },
    });
  });

  it('are made all together or not at all', async () => {
    const service_id = await service();
    const first = { service_id, resource_name: 'servers', default_limit: 1 };
    const both = await call('POST', '/registered_limits', { registered_limits: [first, { ...first, service_id: 'nobody' }] });
    expect([both.status, both.json.error.message]).toEqual([400, expect.stringContaining('Expecting to find service_id')]);
    expect((await call('GET', `/registered_limits?service_id=${service_id}`)).json.registered_limits).toEqual([]);
    const twice = await call('POST', '/registered_limits', { registered_limits: [first, first] });
    expect(twice.status).toBe(409);
    expect((await register(first)).status).toBe(201);
    expect((await register(first)).status).toBe(409);
  });

  it('have an owner, a resource that is registered, and a number', async () => {
    const service_id = await service();
    const resource = { service_id, resource_name: 'keys', resource_limit: 1 };
    const unregistered = await limit({ ...resource, project_id: projectId });
    expect([unregistered.status, unregistered.json.error.message]).toEqual([
      403,
      'Unable to create a limit that has no corresponding registered limit.',
    ]);
    expect((await register({ service_id, resource_name: 'keys', default_limit: 1 })).status).toBe(201);
    for (const wrong of [
      resource,
      { ...resource, project_id: projectId, domain_id: 'default' },
      { ...resource, project_id: 'nobody' },
      { ...resource, domain_id: 'nobody' },
      { ...resource, project_id: projectId, resource_limit: -2 },
      { ...resource, project_id: projectId, resource_limit: '1' },
      { ...resource, project_id: projectId, more: 1 },
    ]) {
      expect((await limit(wrong)).status, JSON.stringify(wrong)).toBe(400);
    }
    expect((await limit({ ...resource, domain_id: 'default' })).status).toBe(201);
    expect((await limit({ ...resource, domain_id: 'default' })).status).toBe(409);
    expect((await call('DELETE', `/services/${service_id}`)).status).toBe(204);
    expect((await call('GET', `/limits?service_id=${service_id}`)).json.limits).toEqual([]);
  });
});
