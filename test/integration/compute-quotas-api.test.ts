/** Quotas and limits of Compute over their wire, and what servers reserve of them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createComputeQuotas } from '../../src/cloud/quotas/compute-quotas.ts';
import type { MachineUsage } from '../../src/cloud/quotas/contract.ts';
import { type ComputeWire, faultOf, startComputeWire } from '../support/compute-wire.ts';
import type { Person } from '../support/people.ts';

let wire: ComputeWire;
let ada: Person;
let bob: Person;
/** By project, or by project and user: what servers would have. */
const used = new Map<string, MachineUsage>();
const machines = {
  usageOf: async (_db: unknown, { projectId, userId }: { projectId: string; userId?: string | undefined }) =>
    used.get(userId === undefined ? projectId : `${projectId}:${userId}`) ?? { instances: 0, cores: 0, ram: 0 },
};

beforeAll(async () => {
  wire = await startComputeWire({ machines });
  [ada, bob] = [await wire.person('ada'), await wire.person('bob', 'reader')];
});
afterAll(() => wire.stop());

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
const operator = (method: Method, path: string, body?: unknown, version?: string) => wire.send(wire.admin, method, path, body, version);
const setOf = (person: Person, rest = ''): string => `/os-quota-sets/${person.projectId}${rest}`;
const change = (path: string, limits: object, version?: string) => operator('PUT', path, { quota_set: limits }, version);

const newest = {
  instances: 10,
  cores: 20,
  ram: 51_200,
  metadata_items: 128,
  key_pairs: 100,
  server_groups: 10,
  server_group_members: 10,
};
const untilFiles = { injected_files: 5, injected_file_content_bytes: 10_240, injected_file_path_bytes: 255 };
const untilNetworks = { fixed_ips: -1, floating_ips: -1, security_groups: -1, security_group_rules: -1 };

describe('a quota set', () => {
  it('has the defaults of the original, and the keys of each version', async () => {
    const own = async (version: string, rest = '') => (await wire.send(bob, 'GET', setOf(bob, rest), undefined, version)).body.quota_set;
    const id = bob.projectId;
    expect(await own('2.1')).toEqual({ id, ...newest, ...untilFiles, ...untilNetworks });
    expect(await own('2.36')).toEqual({ id, ...newest, ...untilFiles });
    expect(await own('2.57')).toEqual({ id, ...newest });
    expect(await own('2.93', '/defaults')).toEqual({ id, ...newest });
    expect((await own('2.93', '/detail')).cores).toEqual({ limit: 20, in_use: 0, reserved: 0 });
  });

  it('is changed by operators, as a whole or not at all, and reset', async () => {
    expect((await change(setOf(ada), { cores: '8', ram: -1, floating_ips: 3 })).body.quota_set).toMatchObject({
      cores: 8,
      ram: -1,
      floating_ips: 3,
    });
    expect((await wire.send(ada, 'GET', setOf(ada))).body.quota_set).toMatchObject({ cores: 8, ram: -1, instances: 10 });
    expect((await change(setOf(ada), { cores: 9, floating_ips: 1 }, '2.36')).status).toBe(400);
    expect((await wire.send(ada, 'GET', setOf(ada))).body.quota_set.cores).toBe(8);
    expect((await operator('DELETE', setOf(ada))).status).toBe(202);
    expect((await wire.send(ada, 'GET', setOf(ada))).body.quota_set).toMatchObject({ cores: 20, ram: 51_200 });
  });

  it('is refused below what is in use, unless it is forced', async () => {
    used.set(ada.projectId, { instances: 3, cores: 6, ram: 1024 });
    expect(faultOf(await change(setOf(ada), { cores: 5 }))).toEqual([
      400,
      'Quota limit 5 for cores must be greater than or equal to already used and reserved 6.',
    ]);
    expect((await change(setOf(ada), { cores: 5, force: 'True' })).body.quota_set.cores).toBe(5);
    expect((await operator('GET', setOf(ada, '/detail'))).body.quota_set.cores).toEqual({ limit: 5, in_use: 6, reserved: 0 });
    await operator('DELETE', setOf(ada));
    used.clear();
  });

  it('of a user is its own, within that of the project', async () => {
    const ofUser = setOf(ada, `?user_id=${ada.userId}`);
    expect((await change(ofUser, { ram: '2048' })).body.quota_set.ram).toBe(2048);
    expect((await operator('GET', ofUser)).body.quota_set).toMatchObject({ ram: 2048, cores: 20 });
    expect((await operator('GET', setOf(ada))).body.quota_set.ram).toBe(51_200);
    expect(faultOf(await change(ofUser, { cores: 21 }))).toEqual([400, 'Quota limit 21 for cores must be less than or equal to 20.']);
    expect((await change(ofUser, { cores: -1 })).status).toBe(400);
    expect((await change(setOf(ada, `?user_id=${'u'.repeat(256)}`), { cores: 1 })).status).toBe(400);
    await operator('DELETE', ofUser);
    expect((await operator('GET', ofUser)).body.quota_set.ram).toBe(51_200);
  });

  it.each([
    ['a strange key', { colours: 3 }],
    ['two strange keys', { colours: 3, shapes: 1 }],
    ['a limit below -1', { cores: -2 }],
    ['half a core', { cores: 1.5 }],
    ['words', { cores: 'many' }],
    ['nothing', { cores: null }],
    ['more than 31 bits', { cores: 2 ** 31 }],
    ['a strange force', { cores: 1, force: 'perhaps' }],
  ])('refuses %s', async (_what, limits) => {
    expect((await change(setOf(ada), limits)).status).toBe(400);
    expect((await wire.send(ada, 'GET', setOf(ada))).body.quota_set.cores).toBe(20);
  });

  it('is for the project itself, and for projects that there are', async () => {
    expect((await wire.send(ada, 'GET', setOf(bob))).status).toBe(403);
    expect((await wire.send(ada, 'PUT', setOf(ada), { quota_set: { cores: 1 } })).status).toBe(403);
    expect((await wire.send(ada, 'DELETE', setOf(ada))).status).toBe(403);
    for (const rest of ['', '/detail', '/defaults']) {
      expect(faultOf(await operator('GET', `/os-quota-sets/nobody${rest}`))).toEqual([400, 'Project ID nobody is not a valid project.']);
    }
    expect((await change('/os-quota-sets/nobody', { cores: 1 })).status).toBe(400);
    for (const body of [undefined, {}, { quota_set: 3 }, { quota_set: {}, more: 1 }]) {
      expect((await operator('PUT', setOf(ada), body)).status).toBe(400);
    }
  });
});

describe('a class of quotas', () => {
  const classSet = '/os-quota-class-sets/default';
  it('named default is what projects have that were given nothing else', async () => {
    expect((await operator('PUT', classSet, { quota_class_set: { cores: 40 } }, '2.93')).body.quota_class_set).toEqual({
      ...newest,
      cores: 40,
    });
    expect((await wire.send(bob, 'GET', setOf(bob))).body.quota_set.cores).toBe(40);
    expect((await wire.send(bob, 'GET', setOf(bob, '/defaults'))).body.quota_set.cores).toBe(40);
    await operator('PUT', classSet, { quota_class_set: { cores: 20 } });
    await operator('PUT', '/os-quota-class-sets/other', { quota_class_set: { cores: 1 } });
    expect((await operator('GET', '/os-quota-class-sets/other')).body.quota_class_set).toMatchObject({
      id: 'other',
      cores: 1,
      instances: 10,
    });
    expect((await wire.send(bob, 'GET', setOf(bob))).body.quota_set.cores).toBe(20);
  });

  it('knows groups from 2.50 on, and networks before', async () => {
    const keysAt = async (version: string) => Object.keys((await operator('GET', classSet, undefined, version)).body.quota_class_set);
    expect(await keysAt('2.49')).toEqual(expect.arrayContaining(['fixed_ips', 'injected_files']));
    expect(await keysAt('2.49')).not.toContain('server_groups');
    expect(await keysAt('2.50')).not.toContain('fixed_ips');
    expect((await operator('PUT', classSet, { quota_class_set: { server_groups: 1 } }, '2.49')).status).toBe(400);
    expect((await wire.send(ada, 'GET', classSet)).status).toBe(403);
  });
});

describe('limits', () => {
  it('tell what is in use, with the names of each version', async () => {
    used.set(ada.projectId, { instances: 2, cores: 4, ram: 256 });
    const at = async (version: string) => (await wire.send(ada, 'GET', '/limits', undefined, version)).body.limits;
    const modern = {
      maxTotalInstances: 10,
      maxTotalCores: 20,
      maxTotalRAMSize: 51_200,
      maxServerMeta: 128,
      maxTotalKeypairs: 100,
      maxServerGroups: 10,
      maxServerGroupMembers: 10,
      totalInstancesUsed: 2,
      totalCoresUsed: 4,
      totalRAMUsed: 256,
      totalServerGroupsUsed: 0,
    };
    expect(await at('2.93')).toEqual({ rate: [], absolute: modern });
    expect((await at('2.39')).absolute).toEqual({ ...modern, maxPersonality: 5, maxPersonalitySize: 10_240 });
    expect((await at('2.1')).absolute).toMatchObject({ maxImageMeta: 128, maxSecurityGroups: -1, totalFloatingIpsUsed: 0 });
    expect((await operator('GET', `/limits?tenant_id=${ada.projectId}`)).body.limits.absolute.totalCoresUsed).toBe(4);
    expect((await wire.send(bob, 'GET', `/limits?tenant_id=${ada.projectId}`)).status).toBe(403);
    used.clear();
  });
});

describe('a reservation', () => {
  const reserve = (wanted: MachineUsage) => {
    const { database } = wire.held;
    const quotas = createComputeQuotas({ database, machines });
    return database.transact((tx) => quotas.reserve(tx, { projectId: ada.projectId, userId: ada.userId }, wanted));
  };

  it('names everything that there is too little of', async () => {
    used.set(ada.projectId, { instances: 10, cores: 19, ram: 0 });
    await expect(reserve({ instances: 1, cores: 2, ram: 64 })).rejects.toMatchObject({
      kind: 'forbidden',
      message: 'Quota exceeded for cores, instances: Requested 2, 1, but already used 19, 10 of 20, 10 cores, instances',
    });
    used.set(ada.projectId, { instances: 9, cores: 19, ram: 0 });
    await reserve({ instances: 1, cores: 1, ram: 51_200 });
    used.clear();
  });

  it('counts for the user, too', async () => {
    await change(setOf(ada, `?user_id=${ada.userId}`), { instances: 1 });
    used.set(`${ada.projectId}:${ada.userId}`, { instances: 1, cores: 1, ram: 64 });
    await expect(reserve({ instances: 1, cores: 1, ram: 64 })).rejects.toThrow(
      'Quota exceeded for instances: Requested 1, but already used 1 of 1 instances',
    );
    used.clear();
    await reserve({ instances: 1, cores: 1, ram: 64 });
  });
});
