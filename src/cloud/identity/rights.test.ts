import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../test/support/database.ts';
import { systemClock } from '../../lib/clock.ts';
import type { AskedScope } from './authentication.ts';
import type { AssignmentFilter } from './entities.ts';
import { createIdentityService, type IdentityService } from './service.ts';
import type { ValidToken } from './token.ts';

let test: TestDatabase;
let identity: IdentityService;
let admin: ValidToken;
let count = 0;

const password = 'a password';
const refusal = 'The request you have made requires authentication.';

beforeAll(async () => {
  test = await testDatabase();
  identity = createIdentityService({ database: test.database, clock: systemClock, sealingKey: randomBytes(32) });
  await identity.bootstrapIdentity({ adminPassword: password });
  const proof = { method: 'password', user: { name: 'admin', domain: { id: 'default' } }, password } as const;
  admin = (await identity.authenticate([proof], { kind: 'project', project: { name: 'admin', domain: { id: 'default' } } })).token;
});
afterAll(() => test.drop());

function fresh(what: string): string {
  count += 1;
  return `${what} ${count}`;
}
const user = () => identity.users.create(admin, { name: fresh('user'), password, extra: {} });
const group = () => identity.groups.create(admin, { name: fresh('group'), extra: {} });
const project = (parentId?: string) => identity.projects.create(admin, { name: fresh('project'), parentId, extra: {} });
const role = (domainId?: string) => identity.roles.create(admin, { name: fresh('role'), domainId });
const onProject = (id: string) => ({ kind: 'project', id }) as const;

async function builtInRole(name: string): Promise<string> {
  const [found] = await identity.roles.list(admin, { name, domainId: null });
  if (found === undefined) throw new Error(`no role ${name}`);
  return found.id;
}

const login = (userId: string, scope: AskedScope) => identity.authenticate([{ method: 'password', user: { id: userId }, password }], scope);

async function rolesIn(userId: string, projectId: string): Promise<string[]> {
  const { token } = await login(userId, { kind: 'project', project: { id: projectId } });
  return token.roles.map(({ name }) => name).sort();
}

const assigned = async (filter: AssignmentFilter) => (await identity.grants.assignments(admin, filter)).map((one) => one.role.name);

describe('a group', () => {
  it('gives its roles to its members, and takes them back with the next request', async () => {
    const [who, team, place] = [await user(), await group(), await project()];
    await identity.grants.add(admin, { groupId: team.id, roleId: await builtInRole('member'), target: onProject(place.id) });
    await expect(rolesIn(who.id, place.id)).rejects.toThrow(refusal);
    await identity.groups.addMember(admin, team.id, who.id);
    expect(await rolesIn(who.id, place.id)).toEqual(['member', 'reader']);
    const { secret, token } = await login(who.id, { kind: 'project', project: { id: place.id } });
    expect((await identity.grants.ownScopes(token)).projects.map(({ id }) => id)).toEqual([place.id]);
    await identity.groups.removeMember(admin, team.id, who.id);
    expect(await identity.validateToken(secret)).toBeUndefined();
    await expect(identity.groups.checkMember(admin, team.id, who.id)).rejects.toThrow('not found in group');
  });

  it('takes along the application credentials that stood on it, for good', async () => {
    const [who, team, place] = [await user(), await group(), await project()];
    await identity.grants.add(admin, { groupId: team.id, roleId: await builtInRole('member'), target: onProject(place.id) });
    await identity.groups.addMember(admin, team.id, who.id);
    const { token } = await login(who.id, { kind: 'project', project: { id: place.id } });
    const { id, secret } = await identity.applicationCredentials.create(token, who.id, { name: 'ci' });
    const use = () => identity.authenticate([{ method: 'application_credential', credential: { id }, secret }], { kind: 'default' });
    expect((await use()).token.scope).toMatchObject({ project: { id: place.id } });
    await identity.groups.removeMember(admin, team.id, who.id);
    await identity.groups.addMember(admin, team.id, who.id);
    await expect(use()).rejects.toThrow(refusal);
  });

  it('is for admins to change', async () => {
    const [who, team, place] = [await user(), await group(), await project()];
    await identity.grants.add(admin, { userId: who.id, roleId: await builtInRole('member'), target: onProject(place.id) });
    const { token } = await login(who.id, { kind: 'project', project: { id: place.id } });
    await expect(identity.groups.addMember(token, team.id, who.id)).rejects.toThrow('identity:add_user_to_group');
    await expect(identity.groups.create(token, { name: 'mine', extra: {} })).rejects.toThrow('identity:create_group');
    const grant = { groupId: team.id, roleId: await builtInRole('admin'), target: onProject(place.id) };
    await expect(identity.grants.add(token, grant)).rejects.toThrow('identity:create_grant');
  });
});

describe('an inherited role', () => {
  it('counts below its project and not there', async () => {
    const [who, reader, top] = [await user(), await builtInRole('reader'), await project()];
    const middle = await project(top.id);
    const bottom = await project(middle.id);
    const grant = { userId: who.id, roleId: reader, target: onProject(top.id), inherited: true };
    await identity.grants.add(admin, grant);
    await expect(rolesIn(who.id, top.id)).rejects.toThrow(refusal);
    expect(await rolesIn(who.id, middle.id)).toEqual(['reader']);
    expect(await rolesIn(who.id, bottom.id)).toEqual(['reader']);
    expect(await assigned({ userId: who.id, effective: true, projectId: bottom.id })).toEqual(['reader']);
    expect(await assigned({ userId: who.id, effective: true, projectId: top.id })).toEqual([]);
    expect(await assigned({ userId: who.id, projectId: top.id, inherited: true })).toEqual(['reader']);
    const seen = await identity.projects.listOfUser(admin, who.id);
    expect(seen.map(({ id }) => id).sort()).toEqual([middle.id, bottom.id].sort());
    await identity.grants.remove(admin, grant);
    await expect(rolesIn(who.id, bottom.id)).rejects.toThrow(refusal);
  });

  it('counts in every project of its domain and not on the domain', async () => {
    const domain = await identity.domains.create(admin, { name: fresh('domain') });
    const [who, reader] = [await user(), await builtInRole('reader')];
    const inside = await identity.projects.create(admin, { name: 'inside', domainId: domain.id, extra: {} });
    await identity.grants.add(admin, { userId: who.id, roleId: reader, target: { kind: 'domain', id: domain.id }, inherited: true });
    expect(await rolesIn(who.id, inside.id)).toEqual(['reader']);
    await expect(login(who.id, { kind: 'domain', domain: { id: domain.id } })).rejects.toThrow(refusal);
    await expect(rolesIn(who.id, (await project()).id)).rejects.toThrow(refusal);
  });
});

describe('a role that implies another', () => {
  it('brings it along until that is taken back', async () => {
    const [who, place, prior, implied] = [await user(), await project(), await role(), await role()];
    await identity.grants.add(admin, { userId: who.id, roleId: prior.id, target: onProject(place.id) });
    await identity.roles.addImplication(admin, prior.id, implied.id);
    expect(await rolesIn(who.id, place.id)).toEqual([prior.name, implied.name].sort());
    await identity.roles.removeImplication(admin, prior.id, implied.id);
    expect(await rolesIn(who.id, place.id)).toEqual([prior.name]);
  });

  it('is never a built-in one, but for what these imply from the start', async () => {
    const [own, adminRole, member, reader] = [
      await role(),
      await builtInRole('admin'),
      await builtInRole('member'),
      await builtInRole('reader'),
    ];
    const { addImplication, removeImplication, listImplications } = identity.roles;
    const before = (await listImplications(admin)).length;
    for (const [prior, implied] of [
      [reader, member],
      [member, own.id],
      [reader, own.id],
      [reader, reader],
      [adminRole, reader],
    ] as const)
      await expect(addImplication(admin, prior, implied)).rejects.toThrow('immutable');
    await addImplication(admin, member, reader);
    expect(await listImplications(admin)).toHaveLength(before);
    await expect(removeImplication(admin, member, reader)).rejects.toThrow('always implies');
    // What an earlier version let in goes again.
    await test.database.sql.insertInto('role_implications').values({ prior_role_id: reader, implied_role_id: member }).execute();
    await removeImplication(admin, reader, member);
    expect(await listImplications(admin)).toHaveLength(before);
  });

  it('never brings the role admin', async () => {
    const prior = await role();
    await expect(identity.roles.addImplication(admin, prior.id, await builtInRole('admin'))).rejects.toThrow('cannot be an implied role');
  });
});

describe('a role of a domain', () => {
  it('counts for nothing but what it implies, whatever its name', async () => {
    const domain = await identity.domains.create(admin, { name: fresh('domain') });
    const own = await identity.roles.create(admin, { name: 'admin', domainId: domain.id });
    const [who, reader] = [await user(), await builtInRole('reader')];
    const place = await identity.projects.create(admin, { name: 'place', domainId: domain.id, extra: {} });
    await identity.grants.add(admin, { userId: who.id, roleId: own.id, target: onProject(place.id) });
    await expect(rolesIn(who.id, place.id)).rejects.toThrow(refusal);
    await identity.roles.addImplication(admin, own.id, reader);
    expect(await rolesIn(who.id, place.id)).toEqual(['reader']);
    await expect(identity.roles.addImplication(admin, reader, own.id)).rejects.toThrow('cannot be an implied role');
    const elsewhere = await project();
    const grant = { userId: who.id, roleId: own.id, target: onProject(elsewhere.id) };
    await expect(identity.grants.add(admin, grant)).rejects.toThrow('must be in the same domain');
    await expect(identity.grants.add(admin, { ...grant, target: { kind: 'system' } })).rejects.toThrow('domain-specific role');
  });
});

describe('a hierarchy of projects', () => {
  it('has nothing enabled below what is disabled, and ends after five levels', async () => {
    const top = await project();
    const child = await project(top.id);
    const disable = (id: string) => identity.projects.update(admin, id, { enabled: false, extra: {} });
    await expect(disable(top.id)).rejects.toThrow('its subtree contains enabled projects');
    await disable(child.id);
    await disable(top.id);
    await expect(identity.projects.update(admin, child.id, { enabled: true, extra: {} })).rejects.toThrow('has disabled parents');
    await expect(project(child.id)).rejects.toThrow('containing a disabled project');
    let deepest = await project();
    for (let level = 2; level <= 5; level += 1) deepest = await project(deepest.id);
    await expect(project(deepest.id)).rejects.toThrow('Max hierarchy depth reached');
  });

  it('shows domains as projects to those who ask for them so', async () => {
    const made = await identity.projects.create(admin, { name: fresh('domain'), isDomain: true, extra: {} });
    expect(await identity.domains.get(admin, made.id)).toMatchObject({ name: made.name });
    await identity.projects.update(admin, made.id, { enabled: false, extra: {} });
    await identity.projects.delete(admin, made.id);
    await expect(identity.domains.get(admin, made.id)).rejects.toThrow('Could not find domain');
  });
});

it('leaves alone what is immutable, until that is taken back', async () => {
  const kept = await identity.roles.create(admin, { name: fresh('role'), immutable: true });
  await expect(identity.roles.delete(admin, kept.id)).rejects.toThrow('Unable to delete immutable role');
  await expect(identity.roles.update(admin, kept.id, { name: 'other' })).rejects.toThrow('Unable to update immutable role');
  await identity.roles.update(admin, kept.id, { immutable: false });
  await identity.roles.delete(admin, kept.id);
  const domain = await identity.domains.create(admin, { name: fresh('domain'), immutable: true });
  await expect(identity.domains.update(admin, domain.id, { enabled: false })).rejects.toThrow('Unable to update immutable domain');
});
