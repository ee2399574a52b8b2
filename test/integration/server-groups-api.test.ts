/** Server groups over their wire, and how servers join and leave them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createComputeQuotas } from '../../src/cloud/quotas/compute-quotas.ts';
import { createServerGroups } from '../../src/cloud/server-groups/service.ts';
import { newId } from '../../src/lib/ids.ts';
import { type ComputeWire, faultOf, startComputeWire } from '../support/compute-wire.ts';
import type { Person } from '../support/people.ts';

let wire: ComputeWire;
let ada: Person;
let bob: Person;

beforeAll(async () => {
  wire = await startComputeWire();
  [ada, bob] = [await wire.person('ada'), await wire.person('bob')];
});
afterAll(() => wire.stop());

const create = (who: Person, facts: object, version = '2.64') =>
  wire.send(who, 'POST', '/os-server-groups', { server_group: facts }, version);
const get = (who: Person, path: string, version = '2.64') => wire.send(who, 'GET', `/os-server-groups${path}`, undefined, version);

describe('a server group', () => {
  it('looks as each version has it', async () => {
    const old = await create(ada, { name: ' old ', policies: ['anti-affinity'] }, '2.1');
    const { id } = old.body.server_group;
    expect([old.status, old.body.server_group]).toEqual([200, { id, name: 'old', policies: ['anti-affinity'], metadata: {}, members: [] }]);
    const owners = { project_id: ada.projectId, user_id: ada.userId };
    expect((await get(ada, `/${id}`, '2.13')).body.server_group).toEqual({ ...old.body.server_group, ...owners });
    expect((await get(ada, `/${id}`)).body.server_group).toEqual({
      id,
      name: 'old',
      policy: 'anti-affinity',
      rules: {},
      members: [],
      ...owners,
    });
    const ruled = await create(ada, { name: 'ruled', policy: 'anti-affinity', rules: { max_server_per_host: '3' } });
    expect(ruled.body.server_group.rules).toEqual({ max_server_per_host: 3 });
    expect((await create(ada, { name: 'soft', policies: ['soft-affinity'] }, '2.14')).status).toBe(400);
    expect((await create(ada, { name: 'soft', policies: ['soft-affinity'] }, '2.15')).status).toBe(200);
    const names = async (rest = '') => (await get(ada, rest)).body.server_groups.map(({ name }: { name: string }) => name);
    expect(await names()).toEqual(['old', 'ruled', 'soft']);
    expect(await names('?limit=1&offset=1')).toEqual(['ruled']);
    expect((await get(ada, '?limit=x')).status).toBe(400);
  });

  it('is the business of its project, and of operators', async () => {
    const { id } = (await create(ada, { name: 'mine', policy: 'affinity' })).body.server_group;
    expect((await get(bob, '')).body.server_groups).toEqual([]);
    expect((await get(bob, '?all_projects=1')).body.server_groups).toEqual([]);
    expect((await get(wire.admin, '?all_projects=1')).body.server_groups.map(({ id: found }: { id: string }) => found)).toContain(id);
    expect(faultOf(await get(bob, `/${id}`))).toEqual([404, `Instance group ${id} could not be found.`]);
    expect((await wire.send(bob, 'DELETE', `/os-server-groups/${id}`)).status).toBe(404);
    expect((await wire.send(ada, 'DELETE', `/os-server-groups/${id}`)).status).toBe(204);
    expect((await get(ada, `/${id}`)).status).toBe(404);
    expect((await get(ada, '/x')).status).toBe(404);
  });

  it.each([
    ['no policy', { name: 'x' }],
    ['two ways to say it', { name: 'x', policy: 'affinity', policies: ['affinity'] }],
    ['a policy that there is not', { name: 'x', policy: 'closeness' }],
    ['no name', { policy: 'affinity' }],
    ['an empty name', { name: ' ', policy: 'affinity' }],
    ['rules of another policy', { name: 'x', policy: 'affinity', rules: { max_server_per_host: 1 } }],
    ['a strange rule', { name: 'x', policy: 'anti-affinity', rules: { colour: 1 } }],
    ['a host without servers', { name: 'x', policy: 'anti-affinity', rules: { max_server_per_host: 0 } }],
  ])('is refused with %s', async (_what, facts) => {
    expect((await create(bob, facts)).status).toBe(400);
    expect((await create(bob, { name: 'x', policies: ['affinity', 'anti-affinity'] }, '2.15')).status).toBe(400);
  });

  it('is one too many beyond the quota, and counts in the limits', async () => {
    await wire.send(wire.admin, 'PUT', `/os-quota-sets/${bob.projectId}`, { quota_set: { server_groups: 1 } });
    const both = await Promise.all(['a', 'b'].map((name) => create(bob, { name, policy: 'affinity' })));
    expect(both.filter(({ status }) => status !== 200).map(faultOf)).toEqual([[403, 'Quota exceeded, too many server groups.']]);
    expect((await wire.send(bob, 'GET', '/limits')).body.limits.absolute.totalServerGroupsUsed).toBe(1);
  });
});

describe('membership', () => {
  it('is in the group until the server goes, and no more than the quota', async () => {
    const { database } = wire.held;
    const machines = { usageOf: async () => ({ instances: 0, cores: 0, ram: 0 }) };
    const { membership } = createServerGroups({ database, quotas: createComputeQuotas({ database, machines }) });
    const caller = { userId: ada.userId, userName: 'ada', projectId: ada.projectId, roles: ['member'], isAdmin: false, requestId: 'req-1' };
    const { id } = (await create(ada, { name: 'full', policy: 'affinity' })).body.server_group;
    await wire.send(wire.admin, 'PUT', `/os-quota-sets/${ada.projectId}`, { quota_set: { server_group_members: 1 } });
    const [one, two] = [newId(), newId()];
    const join = (serverId: string, groupId = id) => database.transact((tx) => membership.join(tx, caller, groupId, serverId));
    expect(await join(one)).toMatchObject({ id, members: [] });
    await expect(join(two)).rejects.toMatchObject({ kind: 'forbidden', message: 'Quota exceeded, too many servers in group' });
    await expect(join(two, newId())).rejects.toMatchObject({ kind: 'bad-request' });
    expect((await get(ada, `/${id}`)).body.server_group.members).toEqual([one]);
    expect(await membership.groupsOf(database.sql, one)).toEqual([id]);
    await database.transact((tx) => membership.leave(tx, one));
    expect((await get(ada, `/${id}`)).body.server_group.members).toEqual([]);
  });
});
