/** Flavors over their wire: who sees which, what operators change, and how they look at each microversion. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeWire, faultOf, startComputeWire } from '../support/compute-wire.ts';
import type { Person } from '../support/people.ts';

let wire: ComputeWire;
let ada: Person;
let bob: Person;

beforeAll(async () => {
  wire = await startComputeWire();
  [ada, bob] = [await wire.person('ada'), await wire.person('bob', 'reader')];
});
afterAll(() => wire.stop());

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
const operator = (method: Method, path: string, body?: unknown, version?: string) => wire.send(wire.admin, method, path, body, version);
const user = (method: Method, path: string, body?: unknown, version?: string) => wire.send(ada, method, path, body, version);

let count = 0;
const newFlavor = (facts: object = {}) => {
  count += 1;
  return { name: `flavor-${count}`, ram: 64, vcpus: 1, disk: 1, ...facts };
};
async function makeFlavor(facts: object = {}): Promise<{ id: string; name: string }> {
  const { status, body } = await operator('POST', '/flavors', { flavor: newFlavor(facts) });
  expect(status, JSON.stringify(body)).toBe(200);
  return body.flavor;
}
const idsOf = ({ body }: { body: { flavors: { id: string }[] } }): string[] => body.flavors.map(({ id }) => id);

describe('the flavors of a new cloud', () => {
  it('are the classic ones, with small ones for tests', async () => {
    const { body } = await user('GET', '/flavors/detail');
    expect(
      Object.fromEntries(body.flavors.map(({ name, ram, disk, vcpus }: Record<string, unknown>) => [name, [ram, disk, vcpus]])),
    ).toEqual({
      'm1.nano': [128, 1, 1],
      'm1.micro': [192, 1, 1],
      'm1.tiny': [512, 1, 1],
      'm1.small': [2048, 20, 1],
      'm1.medium': [4096, 40, 2],
      'm1.large': [8192, 80, 4],
      'm1.xlarge': [16_384, 160, 8],
    });
  });

  it('look as each version has them', async () => {
    const { body, headers } = await user('GET', '/flavors/42');
    const base = { id: '42', name: 'm1.nano', ram: 128, disk: 1, vcpus: 1, rxtx_factor: 1 };
    const marks = { 'OS-FLV-EXT-DATA:ephemeral': 0, 'OS-FLV-DISABLED:disabled': false, 'os-flavor-access:is_public': true };
    expect(body.flavor).toEqual({ ...base, ...marks, swap: '', links: body.flavor.links });
    expect(body.flavor.links.map(({ rel, href }: { rel: string; href: string }) => [rel, new URL(href).pathname])).toEqual([
      ['self', '/compute/v2.1/flavors/42'],
      ['bookmark', '/compute/flavors/42'],
    ]);
    expect(headers['x-openstack-nova-api-version']).toBe('2.1');
    const newer = (await user('GET', '/flavors/42', undefined, '2.93')).body.flavor;
    expect(newer).toEqual({ ...base, ...marks, swap: 0, description: null, extra_specs: {}, links: body.flavor.links });
    expect(Object.keys((await user('GET', '/flavors/42', undefined, '2.60')).body.flavor)).not.toContain('extra_specs');
    const { flavors } = (await user('GET', '/flavors', undefined, '2.55')).body;
    expect(Object.keys(flavors[0]).sort()).toEqual(['description', 'id', 'links', 'name']);
  });

  it('have links with the project where the request has it', async () => {
    const { body } = await user('GET', `/${ada.projectId}/flavors/1`);
    expect(body.flavor.links[0].href).toMatch(new RegExp(`/compute/v2\\.1/${ada.projectId}/flavors/1$`));
  });
});

describe('a list', () => {
  it('has pages and an order', async () => {
    const sorted = idsOf(await user('GET', '/flavors?sort_key=memory_mb&sort_dir=desc'));
    expect(sorted).toEqual(['5', '4', '3', '2', '1', '84', '42']);
    const first = await user('GET', '/flavors?sort_key=memory_mb&limit=2');
    expect(idsOf(first)).toEqual(['42', '84']);
    const next = new URL(first.body.flavors_links[0].href);
    expect(idsOf(await user('GET', `${next.pathname.replace('/compute/v2.1', '')}${next.search}`))).toEqual(['1', '2']);
    expect((await user('GET', '/flavors?marker=5&sort_key=memory_mb')).body).toEqual({ flavors: [] });
    expect(idsOf(await user('GET', '/flavors?limit=0'))).toEqual([]);
  });

  it('holds what is large enough', async () => {
    expect(idsOf(await user('GET', '/flavors?minRam=8192&sort_key=memory_mb'))).toEqual(['4', '5']);
    expect(idsOf(await user('GET', '/flavors?minDisk=80&minRam=8193'))).toEqual(['5']);
    expect(idsOf(await user('GET', '/flavors?minDisk=999999999999'))).toEqual([]);
  });

  it.each([
    ['limit=-1'],
    ['limit=x'],
    ['marker=nothing'],
    ['sort_key=colour'],
    ['sort_key=constructor'],
    ['sort_dir=up'],
    ['minRam=much'],
    ['minDisk=1.5'],
  ])('is refused with %s', async (query) => {
    expect((await user('GET', `/flavors?${query}`)).status).toBe(400);
  });
});

describe('making one', () => {
  it('takes numbers as text, and an id of any kind', async () => {
    const { body } = await operator('POST', '/flavors', {
      flavor: newFlavor({ id: 4711, ram: '96', swap: '512', 'OS-FLV-EXT-DATA:ephemeral': 2, rxtx_factor: '1.5', name: ' big ' }),
    });
    expect(body.flavor).toMatchObject({ id: '4711', name: 'big', ram: 96, swap: 512, rxtx_factor: 1.5, 'OS-FLV-EXT-DATA:ephemeral': 2 });
    expect((await makeFlavor({ id: null })).id).toMatch(/^[0-9a-f-]{36}$/);
    expect((await user('GET', '/flavors/4711')).body.flavor).toEqual(body.flavor);
  });

  it('is for operators', async () => {
    for (const person of [ada, bob]) {
      expect((await wire.send(person, 'POST', '/flavors', { flavor: newFlavor() })).status).toBe(403);
      expect((await wire.send(person, 'DELETE', '/flavors/1')).status).toBe(403);
    }
    expect((await user('GET', '/flavors/1')).status).toBe(200);
  });

  it('refuses an id and a name that are taken', async () => {
    const { id, name } = await makeFlavor();
    expect(faultOf(await operator('POST', '/flavors', { flavor: newFlavor({ id }) }))).toEqual([
      409,
      `Flavor with ID ${id} already exists.`,
    ]);
    expect(faultOf(await operator('POST', '/flavors', { flavor: newFlavor({ name }) }))).toEqual([
      409,
      `Flavor with name ${name} already exists.`,
    ]);
  });

  it.each([
    ['no name', { name: undefined }],
    ['an empty name', { name: '  ' }],
    ['no memory', { ram: 0 }],
    ['half a processor', { vcpus: 0.5 }],
    ['a disk below nothing', { disk: -1 }],
    ['a size beyond 32 bits', { ram: 2 ** 31 }],
    ['words for numbers', { ram: 'much' }],
    ['an id with a slash', { id: 'a/b' }],
    ['an id with a space at its end', { id: 'a ' }],
    ['a list as an id', { id: ['a'] }],
    ['a number of 308 digits as an id', { id: 1e308 }],
    ['no bandwidth', { rxtx_factor: 0 }],
    ['something unknown', { colour: 'red' }],
    ['a description before its time', { description: 'x' }],
  ])('refuses %s', async (_what, facts) => {
    expect((await operator('POST', '/flavors', { flavor: newFlavor(facts) })).status).toBe(400);
  });

  it('describes it from 2.55 on', async () => {
    const { status, body } = await operator('POST', '/flavors', { flavor: newFlavor({ description: 'small' }) }, '2.55');
    expect([status, body.flavor.description]).toEqual([200, 'small']);
    const { id } = body.flavor;
    expect((await operator('PUT', `/flavors/${id}`, { flavor: { description: 'tiny' } }, '2.54')).status).toBe(404);
    expect((await operator('PUT', `/flavors/${id}`, { flavor: { description: 'tiny' } }, '2.55')).body.flavor.description).toBe('tiny');
    expect((await operator('PUT', `/flavors/${id}`, { flavor: { name: 'other' } }, '2.55')).status).toBe(400);
    expect((await operator('PUT', `/flavors/${id}`, { flavor: { description: null } }, '2.55')).body.flavor.description).toBeNull();
  });

  it('can be taken back, once', async () => {
    const { id } = await makeFlavor();
    expect((await operator('DELETE', `/flavors/${id}`)).status).toBe(202);
    expect(faultOf(await operator('DELETE', `/flavors/${id}`))).toEqual([404, `Flavor ${id} could not be found.`]);
    expect((await user('GET', `/flavors/${id}`)).status).toBe(404);
  });
});

describe('extra specs', () => {
  it('are set, seen and taken away', async () => {
    const { id } = await makeFlavor();
    const path = `/flavors/${id}/os-extra_specs`;
    expect((await operator('POST', path, { extra_specs: { 'hw:cpu_policy': 'shared', number: 7 } })).body).toEqual({
      extra_specs: { 'hw:cpu_policy': 'shared', number: '7' },
    });
    expect((await operator('PUT', `${path}/number`, { number: '8' })).body).toEqual({ number: '8' });
    expect((await user('GET', path)).body).toEqual({ extra_specs: { 'hw:cpu_policy': 'shared', number: '8' } });
    expect((await user('GET', `${path}/number`)).body).toEqual({ number: '8' });
    expect((await operator('DELETE', `${path}/number`)).status).toBe(200);
    expect(faultOf(await operator('DELETE', `${path}/number`))).toEqual([404, `Flavor ${id} has no extra specs with key number.`]);
    expect((await user('GET', `${path}/number`)).status).toBe(404);
    expect((await user('GET', `/flavors/${id}`, undefined, '2.61')).body.flavor.extra_specs).toEqual({ 'hw:cpu_policy': 'shared' });
  });

  it('are refused when they are not what they say', async () => {
    const { id } = await makeFlavor();
    const path = `/flavors/${id}/os-extra_specs`;
    expect((await user('POST', path, { extra_specs: { a: 'b' } })).status).toBe(403);
    expect((await operator('PUT', `${path}/a`, { b: 'c' })).status).toBe(400);
    expect((await operator('PUT', `${path}/a`, { a: 'b', c: 'd' })).status).toBe(400);
    for (const specs of [{ 'a/b': 'c' }, { a: {} }, { a: null }, { a: 'x'.repeat(256) }, [], 'x']) {
      expect((await operator('POST', path, { extra_specs: specs })).status, JSON.stringify(specs)).toBe(400);
    }
    expect((await user('GET', path)).body).toEqual({ extra_specs: {} });
    expect((await operator('POST', '/flavors/none/os-extra_specs', { extra_specs: {} })).status).toBe(404);
  });
});

describe('a flavor that is not public', () => {
  const action = (id: string, name: string, tenant: string, version?: string) =>
    operator('POST', `/flavors/${id}/action`, { [name]: { tenant } }, version);

  it('is there for projects that were given access, and for operators who ask', async () => {
    const { id } = await makeFlavor({ 'os-flavor-access:is_public': 'False' });
    expect((await user('GET', `/flavors/${id}`)).status).toBe(404);
    expect((await user('GET', `/flavors?marker=${id}`)).status).toBe(400);
    expect(idsOf(await operator('GET', '/flavors'))).not.toContain(id);
    expect(idsOf(await operator('GET', '/flavors?is_public=None'))).toContain(id);
    expect(idsOf(await operator('GET', '/flavors?is_public=false'))).toContain(id);
    expect(idsOf(await user('GET', '/flavors?is_public=None'))).not.toContain(id);
    expect((await operator('GET', '/flavors?is_public=perhaps')).status).toBe(400);

    const granted = [{ flavor_id: id, tenant_id: ada.projectId }];
    expect((await action(id, 'addTenantAccess', ada.projectId)).body).toEqual({ flavor_access: granted });
    expect((await operator('GET', `/flavors/${id}/os-flavor-access`)).body).toEqual({ flavor_access: granted });
    expect((await user('GET', `/flavors/${id}`)).status).toBe(200);
    expect(idsOf(await user('GET', '/flavors'))).toContain(id);
    expect((await wire.send(bob, 'GET', `/flavors/${id}`)).status).toBe(404);
    expect(faultOf(await action(id, 'addTenantAccess', ada.projectId))).toEqual([
      409,
      `Flavor access already exists for flavor ${id} and project ${ada.projectId} combination.`,
    ]);
    expect((await action(id, 'removeTenantAccess', ada.projectId)).body).toEqual({ flavor_access: [] });
    expect((await action(id, 'removeTenantAccess', ada.projectId)).status).toBe(404);
    expect((await user('GET', `/flavors/${id}`)).status).toBe(404);
  });

  it('is given by operators, to projects that there are', async () => {
    const { id } = await makeFlavor({ 'os-flavor-access:is_public': false });
    expect(faultOf(await action(id, 'addTenantAccess', 'nobody'))).toEqual([400, 'Project ID nobody is not a valid project.']);
    for (const body of [{ addTenantAccess: {} }, { addTenantAccess: null }, { other: {} }, {}, { addTenantAccess: { tenant: '' } }]) {
      expect((await operator('POST', `/flavors/${id}/action`, body)).status).toBe(400);
    }
    expect((await user('POST', `/flavors/${id}/action`, { addTenantAccess: { tenant: ada.projectId } })).status).toBe(403);
    expect((await user('GET', `/flavors/${id}/os-flavor-access`)).status).toBe(403);
    expect((await action('none', 'addTenantAccess', ada.projectId)).status).toBe(404);
  });

  it('is the only kind with a list of who may use it', async () => {
    expect((await operator('GET', '/flavors/1/os-flavor-access')).status).toBe(404);
    expect(faultOf(await action('1', 'addTenantAccess', ada.projectId, '2.7'))).toEqual([409, 'Can not add access to a public flavor.']);
    const { id } = await makeFlavor();
    expect((await action(id, 'addTenantAccess', ada.projectId, '2.6')).status).toBe(200);
  });
});
