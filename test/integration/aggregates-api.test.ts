/** Host aggregates over their wire, and the zone that they put the host into. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ComputeWire, faultOf, startComputeWire } from '../support/compute-wire.ts';
import type { Person } from '../support/people.ts';

let wire: ComputeWire;
let ada: Person;

beforeAll(async () => {
  wire = await startComputeWire();
  ada = await wire.person('ada');
});
afterAll(() => wire.stop());

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
const operator = (method: Method, path: string, body?: unknown, version?: string) =>
  wire.send(wire.admin, method, `/os-aggregates${path}`, body, version);
const create = async (facts: object) => (await operator('POST', '', { aggregate: facts })).body.aggregate;
const action = (id: number, body: object) => operator('POST', `/${id}/action`, body);
const zonesOf = async () =>
  (await wire.send(ada, 'GET', '/os-availability-zone')).body.availabilityZoneInfo.map(({ zoneName }: { zoneName: string }) => zoneName);
const host = 'stillpoint';

it('is made, changed, shown and deleted', async () => {
  const made = await create({ name: ' shelf ' });
  expect(made).toEqual({
    id: expect.any(Number),
    name: 'shelf',
    availability_zone: null,
    created_at: expect.any(String),
    updated_at: null,
    deleted: false,
    deleted_at: null,
  });
  const { id } = made;
  const shown = await operator('GET', `/${id}`, undefined, '2.41');
  expect(shown.body.aggregate).toMatchObject({ ...made, hosts: [], metadata: {}, uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) });
  expect((await operator('PUT', `/${id}`, { aggregate: { name: 'rack', availability_zone: 'cellar' } })).body.aggregate).toMatchObject({
    name: 'rack',
    availability_zone: 'cellar',
    metadata: { availability_zone: 'cellar' },
  });
  expect(faultOf(await operator('POST', '', { aggregate: { name: 'rack' } }))).toEqual([409, 'Aggregate rack already exists.']);
  expect((await operator('GET', '')).body.aggregates.map(({ name }: { name: string }) => name)).toEqual(['rack']);
  expect((await operator('DELETE', `/${id}`)).status).toBe(200);
  expect(faultOf(await operator('DELETE', `/${id}`))).toEqual([404, `Aggregate ${id} could not be found.`]);
});

it('takes the host, and puts it into its zone', async () => {
  const { id } = await create({ name: 'zone', availability_zone: 'attic' });
  expect(faultOf(await action(id, { add_host: { host: 'other' } }))).toEqual([404, 'Compute host other could not be found.']);
  expect((await action(id, { add_host: { host } })).body.aggregate.hosts).toEqual([host]);
  expect(await zonesOf()).toEqual(['attic']);
  expect(faultOf(await action(id, { add_host: { host } }))).toEqual([409, `Aggregate ${id} already has host ${host}.`]);
  expect((await operator('DELETE', `/${id}`)).status).toBe(400);
  const other = await create({ name: 'other zone', availability_zone: 'cellar' });
  expect((await action(other.id, { add_host: { host } })).status).toBe(409);
  expect((await operator('PUT', `/${other.id}`, { aggregate: { availability_zone: null } })).status).toBe(200);
  expect((await action(other.id, { add_host: { host } })).status).toBe(200);
  expect((await operator('PUT', `/${other.id}`, { aggregate: { availability_zone: 'cellar' } })).status).toBe(409);
  expect((await action(other.id, { set_metadata: { metadata: { availability_zone: 'cellar' } } })).status).toBe(409);
  for (const one of [id, other.id]) {
    expect((await action(one, { remove_host: { host } })).body.aggregate.hosts).toEqual([]);
    expect((await action(one, { remove_host: { host } })).status).toBe(404);
    await operator('DELETE', `/${one}`);
  }
  expect(await zonesOf()).toEqual(['nova']);
});

it('has metadata, of which the zone is a part', async () => {
  const { id } = await create({ name: 'noted' });
  const set = async (metadata: object) => (await action(id, { set_metadata: { metadata } })).body.aggregate;
  expect(await set({ a: '1', b: '2', availability_zone: 'attic' })).toMatchObject({
    availability_zone: 'attic',
    metadata: { a: '1', b: '2', availability_zone: 'attic' },
  });
  expect((await set({ a: null, availability_zone: null })).metadata).toEqual({ b: '2' });
});

it.each([
  ['no name', {}],
  ['an empty name', { name: ' ' }],
  ['a name that is too long', { name: 'x'.repeat(256) }],
  ['an empty zone', { name: 'x', availability_zone: '' }],
  ['something unknown', { name: 'x', colour: 'red' }],
])('refuses %s', async (_what, facts) => {
  expect((await operator('POST', '', { aggregate: facts })).status).toBe(400);
});

it('refuses what it does not understand, and everybody but operators', async () => {
  const { id } = await create({ name: 'strict' });
  for (const body of [{}, { add_host: {} }, { fly: {} }, { set_metadata: { metadata: { a: 1 } } }]) {
    expect((await action(id, body)).status, JSON.stringify(body)).toBe(400);
  }
  expect((await operator('PUT', `/${id}`, { aggregate: {} })).status).toBe(400);
  expect((await operator('GET', '/-1')).status).toBe(404);
  for (const odd of ['x', '99999999999', '1.5']) expect((await operator('GET', `/${odd}`)).status, odd).toBe(400);
  expect((await wire.send(ada, 'GET', '/os-aggregates')).status).toBe(403);
  expect((await wire.send(ada, 'DELETE', `/os-aggregates/${id}`)).status).toBe(403);
});
