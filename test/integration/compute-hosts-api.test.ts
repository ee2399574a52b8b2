/** Compute's services, zones and hypervisor over their wire. */
import { hostname } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
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
const operator = (method: Method, path: string, body?: unknown, version?: string) => wire.send(wire.admin, method, path, body, version);
const host = 'stillpoint';
const compute = { host, binary: 'nova-compute' };
const computeAt = async (version: string) =>
  (await operator('GET', '/os-services?binary=nova-compute', undefined, version)).body.services[0];
const zoneIsOpen = async () => (await wire.send(ada, 'GET', '/os-availability-zone')).body.availabilityZoneInfo[0].zoneState.available;

describe('a service', () => {
  afterEach(async () => {
    await operator('PUT', '/os-services/enable', compute);
    await operator('PUT', '/os-services/force-down', { ...compute, forced_down: false }, '2.11');
  });

  it('is one of three, with a number, and an id since 2.53', async () => {
    const { services } = (await operator('GET', '/os-services')).body;
    expect(services.map(({ binary, zone }: Record<string, string>) => [binary, zone])).toEqual([
      ['nova-conductor', 'internal'],
      ['nova-scheduler', 'internal'],
      ['nova-compute', 'nova'],
    ]);
    expect(await computeAt('2.1')).toEqual({
      id: 3,
      ...compute,
      zone: 'nova',
      status: 'enabled',
      state: 'up',
      updated_at: expect.any(String),
      disabled_reason: null,
    });
    expect(await computeAt('2.53')).toMatchObject({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), forced_down: false });
    expect((await operator('GET', `/os-services?host=${host}`)).body.services).toHaveLength(3);
    expect((await operator('GET', `/os-services?host=${host}&binary=x`)).body.services).toEqual([]);
    expect((await wire.send(ada, 'GET', '/os-services')).status).toBe(403);
  });

  it('is disabled and enabled by its name until 2.52', async () => {
    expect((await operator('PUT', '/os-services/disable', compute)).body).toEqual({ service: { ...compute, status: 'disabled' } });
    expect(await zoneIsOpen()).toBe(false);
    expect((await operator('PUT', '/os-services/enable', compute)).body).toEqual({ service: { ...compute, status: 'enabled' } });
    expect(await zoneIsOpen()).toBe(true);
    const reason = { disabled_reason: 'maintenance' };
    expect((await operator('PUT', '/os-services/disable-log-reason', { ...compute, ...reason })).body).toEqual({
      service: { ...compute, status: 'disabled', ...reason },
    });
    expect(await computeAt('2.1')).toMatchObject({ status: 'disabled', ...reason });
    const down = { ...compute, forced_down: true };
    expect((await operator('PUT', '/os-services/force-down', down)).status).toBe(404);
    expect((await operator('PUT', '/os-services/force-down', down, '2.11')).body).toEqual({ service: down });
    expect(await computeAt('2.11')).toMatchObject({ state: 'down', forced_down: true, status: 'disabled' });
  });

  it('is changed by its id since 2.53', async () => {
    const { id } = await computeAt('2.53');
    const change = (body: object, path = `/os-services/${id}`) => operator('PUT', path, body, '2.53');
    const disabled = await change({ status: 'disabled', disabled_reason: 'rest', forced_down: true });
    expect(disabled.body.service).toMatchObject({ id, status: 'disabled', disabled_reason: 'rest', forced_down: true, state: 'down' });
    expect((await change({ status: 'enabled', forced_down: 'false' })).body.service).toMatchObject({
      status: 'enabled',
      disabled_reason: null,
      state: 'up',
    });
    for (const body of [
      {},
      { status: 'asleep' },
      { status: 'enabled', disabled_reason: 'x' },
      { disabled_reason: 'x' },
      { forced_down: 7 },
    ]) {
      expect((await change(body)).status, JSON.stringify(body)).toBe(400);
    }
    expect((await change({ status: 'enabled' }, '/os-services/3')).status).toBe(400);
    expect((await change({ status: 'enabled' }, '/os-services/00000000-0000-4000-8000-000000000000')).status).toBe(404);
    const { services } = (await operator('GET', '/os-services', undefined, '2.53')).body;
    expect(faultOf(await change({ status: 'disabled' }, `/os-services/${services[0].id}`))).toEqual([
      400,
      'Updating a nova-conductor service is not supported. Only nova-compute services can be updated.',
    ]);
    expect((await wire.send(ada, 'PUT', `/os-services/${id}`, { status: 'disabled' }, '2.53')).status).toBe(403);
  });

  it('is refused where there is none, and cannot be deleted', async () => {
    expect(faultOf(await operator('PUT', '/os-services/disable', { host: 'other', binary: 'nova-compute' }))).toEqual([
      404,
      'Could not find binary nova-compute on host other.',
    ]);
    expect((await operator('PUT', '/os-services/stop', compute)).status).toBe(404);
    expect((await operator('PUT', '/os-services/disable', { host })).status).toBe(400);
    expect((await operator('PUT', '/os-services/disable-log-reason', compute)).status).toBe(400);
    expect((await operator('DELETE', '/os-services/3')).status).toBe(409);
    expect((await operator('DELETE', '/os-services/9')).status).toBe(404);
    expect((await operator('DELETE', '/os-services/x')).status).toBe(400);
    expect((await wire.send(ada, 'DELETE', '/os-services/3')).status).toBe(403);
  });
});

describe('zones', () => {
  it('are told in detail to operators', async () => {
    const { availabilityZoneInfo: zones } = (await operator('GET', '/os-availability-zone/detail')).body;
    expect(zones.map(({ zoneName, zoneState }: Record<string, unknown>) => [zoneName, zoneState])).toEqual([
      ['internal', { available: true }],
      ['nova', { available: true }],
    ]);
    expect(zones[1].hosts).toEqual({ [host]: { 'nova-compute': { active: true, available: true, updated_at: expect.any(String) } } });
    expect((await wire.send(ada, 'GET', '/os-availability-zone')).body.availabilityZoneInfo[0]).toMatchObject({
      zoneName: 'nova',
      hosts: null,
    });
    expect((await wire.send(ada, 'GET', '/os-availability-zone/detail')).status).toBe(403);
  });
});

describe('the hypervisor', () => {
  const shown = async (version: string) => (await operator('GET', '/os-hypervisors/detail', undefined, version)).body.hypervisors[0];

  it('is this machine, with a number until 2.52', async () => {
    expect((await operator('GET', '/os-hypervisors')).body.hypervisors).toEqual([
      { id: 1, hypervisor_hostname: hostname(), state: 'up', status: 'enabled' },
    ]);
    const whole = await shown('2.1');
    expect(whole).toMatchObject({ id: 1, hypervisor_type: 'QEMU', host_ip: '127.0.0.1', running_vms: 0, service: { id: 3, host } });
    expect(JSON.parse(whole.cpu_info)).toMatchObject({ topology: { threads: 1 } });
    expect(whole.vcpus).toBeGreaterThan(0);
    expect(whole.free_disk_gb).toBeLessThanOrEqual(whole.local_gb);
    expect(whole.hypervisor_version).toBeGreaterThan(5_000_000);
    expect((await shown('2.28')).cpu_info).toMatchObject({ topology: { sockets: 1 } });
    expect((await operator('GET', '/os-hypervisors/1')).body.hypervisor).toEqual(whole);
    expect((await operator('GET', '/os-hypervisors/1', undefined, '2.53')).status).toBe(404);
  });

  it('has an id since 2.53, and fewer figures since 2.88', async () => {
    const { id } = await shown('2.53');
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect((await operator('GET', `/os-hypervisors/${id}`)).status).toBe(404);
    const { hypervisor } = (await operator('GET', `/os-hypervisors/${id}`, undefined, '2.88')).body;
    expect(Object.keys(hypervisor).sort()).toEqual([
      'host_ip',
      'hypervisor_hostname',
      'hypervisor_type',
      'hypervisor_version',
      'id',
      'service',
      'state',
      'status',
      'uptime',
    ]);
    expect((await operator('GET', `/os-hypervisors/${id}/uptime`, undefined, '2.87')).body.hypervisor.uptime).toContain('load average');
    expect((await operator('GET', `/os-hypervisors/${id}/uptime`, undefined, '2.88')).status).toBe(404);
    const statistics = await operator('GET', '/os-hypervisors/statistics', undefined, '2.87');
    expect(statistics.body.hypervisor_statistics).toMatchObject({ count: 1, running_vms: 0, vcpus: expect.any(Number) });
    expect((await operator('GET', '/os-hypervisors/statistics', undefined, '2.88')).status).toBe(404);
  });

  it('is found by a part of its name, and listed in pages', async () => {
    const part = hostname().slice(0, 2);
    expect((await operator('GET', `/os-hypervisors/${part}/search`)).body.hypervisors).toHaveLength(1);
    expect((await operator('GET', `/os-hypervisors/${part}/servers`)).body.hypervisors).toHaveLength(1);
    expect(faultOf(await operator('GET', '/os-hypervisors/~~/search'))).toEqual([404, "No hypervisor matching '~~' could be found."]);
    expect((await operator('GET', `/os-hypervisors/${part}/search`, undefined, '2.53')).status).toBe(404);
    const listed = (query: string) => operator('GET', `/os-hypervisors?${query}`, undefined, '2.53');
    expect((await listed(`hypervisor_hostname_pattern=${part}`)).body.hypervisors).toHaveLength(1);
    expect((await listed('hypervisor_hostname_pattern=~~')).status).toBe(404);
    expect((await listed('limit=1')).body.hypervisors).toHaveLength(1);
    expect((await listed('limit=0')).body.hypervisors).toEqual([]);
    expect((await listed('marker=x')).status).toBe(400);
    const { id } = await shown('2.53');
    expect((await listed(`marker=${id}`)).body.hypervisors).toEqual([]);
  });

  it('is for operators, and the only one', async () => {
    for (const path of ['', '/detail', '/statistics', '/1', '/1/uptime', '/x/search', '/x/servers']) {
      expect((await wire.send(ada, 'GET', `/os-hypervisors${path}`)).status, path).toBe(403);
    }
    for (const path of ['/9', '/x', '/9/uptime']) expect((await operator('GET', `/os-hypervisors${path}`)).status, path).toBe(404);
  });
});

it('names what there is beyond servers', async () => {
  const { extensions } = (await wire.send(ada, 'GET', '/extensions')).body;
  expect(extensions.map(({ alias }: { alias: string }) => alias)).toContain('os-keypairs');
  expect((await wire.send(ada, 'GET', '/extensions/os-keypairs')).body.extension.name).toBe('Keypairs');
  expect((await wire.send(ada, 'GET', '/extensions/os-magic')).status).toBe(404);
});

describe('hosts, until 2.42', () => {
  const hosts = (path = '', version?: string) => operator('GET', `/os-hosts${path}`, undefined, version);

  it('are the services, and the machine', async () => {
    expect((await hosts()).body.hosts).toContainEqual({ host_name: host, service: 'compute', zone: 'nova' });
    expect((await hosts('?zone=')).body.hosts).toHaveLength(3);
    expect((await hosts('?zone=internal')).body.hosts).toHaveLength(2);
    expect((await hosts('?zone=x')).body.hosts).toEqual([]);
    const lines = (await hosts(`/${host}`)).body.host.map(({ resource }: { resource: object }) => resource);
    expect(lines[0]).toMatchObject({ host, project: '(total)', cpu: expect.any(Number), disk_gb: 100 });
    expect(lines[1]).toMatchObject({ project: '(used_now)', cpu: 0, memory_mb: 0, disk_gb: 40 });
    expect((await hosts('', '2.43')).status).toBe(404);
  });

  it('are closed and opened, and nothing else', async () => {
    const change = (body: object, path = `/${host}`) => operator('PUT', `/os-hosts${path}`, body);
    expect((await change({ status: 'disable' })).body).toEqual({ host, status: 'disabled' });
    expect(await zoneIsOpen()).toBe(false);
    expect((await change({ status: 'Enable' })).body).toEqual({ host, status: 'enabled' });
    expect(await zoneIsOpen()).toBe(true);
    for (const body of [{}, { status: 'x' }, { maintenance_mode: 'x' }, { maintenance_mode: 'enable' }, { colour: 'red' }]) {
      expect((await change(body)).status, JSON.stringify(body)).toBe(400);
    }
    expect((await change({ status: 'enable' }, '/other')).status).toBe(404);
    for (const power of ['startup', 'shutdown', 'reboot']) {
      expect((await hosts(`/${host}/${power}`)).status).toBe(400);
      expect((await hosts(`/other/${power}`)).status).toBe(404);
      expect((await wire.send(ada, 'GET', `/os-hosts/${host}/${power}`)).status).toBe(403);
    }
    for (const path of ['', `/${host}`]) expect((await wire.send(ada, 'GET', `/os-hosts${path}`)).status).toBe(403);
    expect((await wire.send(ada, 'PUT', `/os-hosts/${host}`, { status: 'disable' })).status).toBe(403);
  });
});
