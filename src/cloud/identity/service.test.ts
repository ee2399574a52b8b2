import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../test/support/database.ts';
import { systemClock, timestampOf } from '../../lib/clock.ts';
import type { AskedScope, Proof } from './authentication.ts';
import type { Role } from './entities.ts';
import { createIdentityService, type IdentityService } from './service.ts';
import type { ValidToken } from './token.ts';

let test: TestDatabase;
let identity: IdentityService;
/** Moves the clock of the service. */
let aheadMs = 0;
let admin: ValidToken;
let roles: Map<string, Role>;

const clock = {
  now: () => new Date(systemClock.now().getTime() + aheadMs),
  nowText: () => timestampOf(clock.now()),
};
const domain = { id: 'default' };
const password = (name: string, secret: string): Proof => ({ method: 'password', user: { name, domain }, password: secret });
const onProject = (id: string): AskedScope => ({ kind: 'project', project: { id } });
const refusal = 'The request you have made requires authentication.';

beforeAll(async () => {
  test = await testDatabase();
  identity = createIdentityService({ database: test.database, clock });
  await identity.bootstrapIdentity({ adminPassword: 'first' });
  const issued = await identity.authenticate([password('admin', 'first')], { kind: 'project', project: { name: 'admin', domain } });
  admin = issued.token;
  roles = new Map((await identity.roles.list(admin, { domainId: null })).map((role) => [role.name, role]));
});
afterAll(() => test.drop());

const roleId = (name: string): string => roles.get(name)?.id ?? '';
let counter = 0;

/** A user with a role on a project of their own. */
async function someone(role = 'member') {
  counter += 1;
  const name = `user${counter}`;
  const user = await identity.users.create(admin, { name, password: 'pw', extra: {} });
  const project = await identity.projects.create(admin, { name: `project${counter}`, extra: {} });
  const grant = { userId: user.id, roleId: roleId(role), target: { kind: 'project', id: project.id } } as const;
  await identity.grants.add(admin, grant);
  const login = () => identity.authenticate([password(name, 'pw')], onProject(project.id));
  return { user, project, grant, login };
}

describe('the first start', () => {
  it('makes an admin of project and system, whose role implies the others', async () => {
    expect(admin.roles.map(({ name }) => name)).toEqual(['admin', 'member', 'reader']);
    const { token } = await identity.authenticate([password('admin', 'first')], { kind: 'system' });
    expect(token.scope).toEqual({ kind: 'system' });
  });

  it('may be repeated, also twice at once', async () => {
    await Promise.all([1, 2].map(() => identity.bootstrapIdentity({ adminPassword: 'first' })));
    expect(await identity.users.list(admin, { name: 'admin' })).toHaveLength(1);
    expect(await identity.grants.assignments(admin, { userId: admin.user.id })).toHaveLength(2);
  });

  it('follows the password file when it changes, and only then', async () => {
    const other = await testDatabase();
    const fresh = createIdentityService({ database: other.database, clock });
    const login = (secret: string) => fresh.authenticate([password('admin', secret)], { kind: 'unscoped' });
    await fresh.bootstrapIdentity({ adminPassword: 'one' });
    const { secret, token } = await login('one');
    await fresh.users.changePassword(token.user.id, 'one', 'changed by hand');
    await fresh.bootstrapIdentity({ adminPassword: 'one' });
    await expect(login('one')).rejects.toThrow(refusal);
    await login('changed by hand');
    await fresh.bootstrapIdentity({ adminPassword: 'two' });
    await login('two');
    await expect(login('changed by hand')).rejects.toThrow(refusal);
    expect(await fresh.validateToken(secret)).toBeUndefined();
    await other.drop();
  });
});

describe('a login', () => {
  it('is refused in the same words whatever is wrong', async () => {
    const { user, project } = await someone();
    const attempts: [Proof, AskedScope][] = [
      [password(user.name, 'wrong'), { kind: 'unscoped' }],
      [password('nobody', 'pw'), { kind: 'unscoped' }],
      [password(user.name, 'pw'), onProject('unknown')],
      [password(user.name, 'pw'), { kind: 'project', project: { name: 'admin', domain } }],
      [password(user.name, 'pw'), { kind: 'system' }],
      [password(user.name, 'pw'), { kind: 'domain', domain }],
      [{ method: 'token', token: 'spt_no' }, onProject(project.id)],
      [{ method: 'application_credential', credential: { id: 'x' }, secret: 'x' }, { kind: 'default' }],
    ];
    for (const [proof, scope] of attempts) await expect(identity.authenticate([proof], scope)).rejects.toThrow(refusal);
  });

  it('leaves no token behind when it is refused', async () => {
    const { user } = await someone();
    const before = await test.database.sql.selectFrom('tokens').selectAll().execute();
    await expect(identity.authenticate([password(user.name, 'pw')], { kind: 'system' })).rejects.toThrow(refusal);
    expect(await test.database.sql.selectFrom('tokens').selectAll().execute()).toHaveLength(before.length);
  });

  it('goes to the default project when there is one with a role, else nowhere', async () => {
    const { user, project } = await someone();
    const ask = async () => (await identity.authenticate([password(user.name, 'pw')], { kind: 'default' })).token.scope;
    expect(await ask()).toEqual({ kind: 'unscoped' });
    await identity.users.update(admin, user.id, { defaultProjectId: project.id, extra: {} });
    expect(await ask()).toMatchObject({ kind: 'project', project: { id: project.id } });
    await identity.users.update(admin, user.id, { defaultProjectId: 'gone', extra: {} });
    expect(await ask()).toEqual({ kind: 'unscoped' });
  });

  it('needs all proofs to show the same user', async () => {
    const [one, two] = [await someone(), await someone()];
    const proofs: Proof[] = [password(one.user.name, 'pw'), { method: 'token', token: (await two.login()).secret }];
    await expect(identity.authenticate(proofs, { kind: 'unscoped' })).rejects.toThrow(refusal);
  });
});

describe('a token', () => {
  it('is stored as a hash only', async () => {
    const { secret } = await (await someone()).login();
    const rows = await test.database.sql.selectFrom('tokens').selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain(secret);
  });

  it('can be exchanged for another scope, but not for a longer life', async () => {
    const { user, project } = await someone();
    const first = await identity.authenticate([password(user.name, 'pw')], { kind: 'unscoped' });
    aheadMs += 60_000;
    const second = await identity.authenticate([{ method: 'token', token: first.secret }], onProject(project.id));
    expect(second.token.methods).toEqual(['token', 'password']);
    expect(second.token.auditIds).toEqual([expect.any(String), first.token.auditIds[0]]);
    expect(second.token.expiresAt).toBe(first.token.expiresAt);
    const third = await identity.authenticate([{ method: 'token', token: second.secret }], { kind: 'unscoped' });
    expect(third.token.auditIds[1]).toBe(first.token.auditIds[0]);
    aheadMs -= 60_000;
  });

  it('ends after an hour, and its row soon after', async () => {
    const { login } = await someone();
    const { secret } = await login();
    expect(await identity.validateToken(secret)).toBeDefined();
    aheadMs += 3_600_000;
    expect(await identity.validateToken(secret)).toBeUndefined();
    await login();
    const late = await test.database.sql.selectFrom('tokens').selectAll().where('expires_at', '<=', clock.nowText()).execute();
    expect(late).toHaveLength(0);
    aheadMs -= 3_600_000;
  });

  it('of nonsense is nobody, whatever it looks like', async () => {
    for (const text of ['', 'x', 'spt_', `spt_${'A'.repeat(43)}`, `spt_${'\0'.repeat(43)}`, 'x'.repeat(10_000)]) {
      expect(await identity.validateToken(text)).toBeUndefined();
    }
  });

  it('ends with the next request when somebody takes away what it stands on', async () => {
    const ends: Record<string, (who: Awaited<ReturnType<typeof someone>>, secret: string) => Promise<unknown>> = {
      'the token': (_who, secret) => identity.validateToken(secret).then((own) => identity.tokens.revoke(own ?? admin, secret)),
      'the role': ({ grant }) => identity.grants.remove(admin, grant),
      'the user': ({ user }) => identity.users.delete(admin, user.id),
      'the project': ({ project }) => identity.projects.delete(admin, project.id),
      'an enabled user': ({ user }) => identity.users.update(admin, user.id, { enabled: false, extra: {} }),
      'an enabled project': ({ project }) => identity.projects.update(admin, project.id, { enabled: false, extra: {} }),
      'the password, by an admin': ({ user }) => identity.users.update(admin, user.id, { password: 'new', extra: {} }),
      'the password, by the user': ({ user }) => identity.users.changePassword(user.id, 'pw', 'new'),
    };
    for (const [what, end] of Object.entries(ends)) {
      const who = await someone();
      const { secret } = await who.login();
      expect(await identity.validateToken(secret), what).toBeDefined();
      await end(who, secret);
      expect(await identity.validateToken(secret), what).toBeUndefined();
    }
  });

  it('does not come back when a user or a project is enabled again', async () => {
    const { user, project, login } = await someone();
    const { secret } = await login();
    await identity.users.update(admin, user.id, { enabled: false, extra: {} });
    await identity.users.update(admin, user.id, { enabled: true, extra: {} });
    expect(await identity.validateToken(secret)).toBeUndefined();
    const again = await login();
    await identity.projects.update(admin, project.id, { enabled: false, extra: {} });
    await identity.projects.update(admin, project.id, { enabled: true, extra: {} });
    expect(await identity.validateToken(again.secret)).toBeUndefined();
  });

  it('ends with its domain', async () => {
    const created = await identity.domains.create(admin, { name: 'short-lived' });
    const user = await identity.users.create(admin, { name: 'guest', domainId: created.id, password: 'pw', extra: {} });
    await identity.grants.add(admin, { userId: user.id, roleId: roleId('reader'), target: { kind: 'domain', id: created.id } });
    const proof: Proof = { method: 'password', user: { name: 'guest', domain: { name: 'short-lived' } }, password: 'pw' };
    const { secret } = await identity.authenticate([proof], { kind: 'domain', domain: { name: 'short-lived' } });
    await expect(identity.domains.delete(admin, created.id)).rejects.toThrow('please disable it first');
    await identity.domains.update(admin, created.id, { enabled: false });
    expect(await identity.validateToken(secret)).toBeUndefined();
    await identity.domains.delete(admin, created.id);
    expect(await identity.users.list(admin, { name: 'guest' })).toEqual([]);
  });

  it('is a matter of its holder and of admins', async () => {
    const [one, two] = [await someone(), await someone()];
    const [mine, theirs] = [await one.login(), await two.login()];
    expect((await identity.tokens.describe(mine.token, mine.secret)).user.id).toBe(one.user.id);
    expect((await identity.tokens.describe(admin, mine.secret)).user.id).toBe(one.user.id);
    await expect(identity.tokens.describe(theirs.token, mine.secret)).rejects.toThrow('identity:validate_token');
    await expect(identity.tokens.revoke(theirs.token, mine.secret)).rejects.toThrow('identity:revoke_token');
    expect(await identity.validateToken(mine.secret)).toBeDefined();
  });

  it('cannot be got with a password that is changed in the same moment', async () => {
    const { user, login } = await someone();
    const [logins] = await Promise.all([
      Promise.allSettled(Array.from({ length: 4 }, login)),
      identity.users.update(admin, user.id, { password: 'other', extra: {} }),
    ]);
    for (const result of logins) {
      if (result.status === 'fulfilled') expect(await identity.validateToken(result.value.secret)).toBeUndefined();
    }
    await expect(login()).rejects.toThrow(refusal);
  });
});

describe('an application credential', () => {
  const use = (id: string, secret: string) =>
    identity.authenticate([{ method: 'application_credential', credential: { id }, secret }], { kind: 'default' });

  it('acts in its project with the roles it was given', async () => {
    const who = await someone();
    const { token } = await who.login();
    const input = { name: 'ci', roles: [{ name: 'reader' }] };
    const credential = await identity.applicationCredentials.create(token, who.user.id, input);
    const used = await use(credential.id, credential.secret);
    expect(used.token.scope).toMatchObject({ project: { id: who.project.id } });
    expect(used.token.roles.map(({ name }) => name)).toEqual(['reader']);
    expect(used.token.applicationCredential).toEqual({ id: credential.id, name: 'ci', restricted: true, accessRules: [] });
    const byName = { name: 'ci', user: { name: who.user.name, domain } };
    await identity.authenticate([{ method: 'application_credential', credential: byName, secret: credential.secret }], { kind: 'default' });
    await expect(identity.applicationCredentials.create(token, who.user.id, input)).rejects.toThrow('Duplicate entry');
  });

  it('can hand on nothing that its owner does not have', async () => {
    const who = await someone();
    const { token } = await who.login();
    const create = identity.applicationCredentials.create(token, who.user.id, { name: 'x', roles: [{ name: 'admin' }] });
    await expect(create).rejects.toThrow('Invalid application credential');
    await expect(identity.applicationCredentials.create(admin, who.user.id, { name: 'x' })).rejects.toThrow(
      'identity:create_application_credential',
    );
  });

  it('cannot make itself another one, nor another token', async () => {
    const who = await someone();
    const { token } = await who.login();
    const credential = await identity.applicationCredentials.create(token, who.user.id, { name: 'ci' });
    const used = await use(credential.id, credential.secret);
    await expect(identity.applicationCredentials.create(used.token, who.user.id, { name: 'more' })).rejects.toThrow('not authorized');
    await expect(identity.authenticate([{ method: 'token', token: used.secret }], { kind: 'unscoped' })).rejects.toThrow('exchanged');
  });

  it('ends with its time, its role, or itself, and so do its tokens', async () => {
    const who = await someone();
    const { token } = await who.login();
    const create = (name: string, expiresInMs?: number) => {
      const expiresAt = expiresInMs === undefined ? null : timestampOf(new Date(clock.now().getTime() + expiresInMs));
      return identity.applicationCredentials.create(token, who.user.id, { name, expiresAt });
    };
    await expect(create('past', -1)).rejects.toThrow('in the future');
    const [timed, deleted, unfounded] = [await create('timed', 60_000), await create('deleted'), await create('unfounded')];
    const tokens = await Promise.all([timed, deleted, unfounded].map(({ id, secret }) => use(id, secret)));
    const good = async () => Promise.all(tokens.map(async ({ secret }) => (await identity.validateToken(secret)) !== undefined));

    expect(await good()).toEqual([true, true, true]);
    aheadMs += 61_000;
    expect(await good()).toEqual([false, true, true]);
    await expect(use(timed.id, timed.secret)).rejects.toThrow(refusal);
    await identity.applicationCredentials.delete(token, who.user.id, deleted.id);
    expect(await good()).toEqual([false, false, true]);
    await identity.grants.remove(admin, who.grant);
    expect(await good()).toEqual([false, false, false]);
    // A role that comes back does not wake it.
    await identity.grants.add(admin, who.grant);
    await expect(use(unfounded.id, unfounded.secret)).rejects.toThrow(refusal);
    aheadMs -= 61_000;
  });
});

describe('projects', () => {
  it('are unique by name in their domain and stay while they have children', async () => {
    const parent = await identity.projects.create(admin, { name: 'parent', extra: {} });
    const child = await identity.projects.create(admin, { name: 'child', parentId: parent.id, extra: {} });
    expect(child).toMatchObject({ parentId: parent.id });
    await expect(identity.projects.create(admin, { name: 'parent', extra: {} })).rejects.toThrow(
      'Conflict occurred attempting to store project - Duplicate entry found with name parent at domain ID default.',
    );
    await expect(identity.projects.delete(admin, parent.id)).rejects.toThrow('not a leaf');
    await identity.projects.delete(admin, child.id);
    await identity.projects.delete(admin, parent.id);
    await expect(identity.projects.get(admin, parent.id)).rejects.toThrow(`Could not find project: ${parent.id}.`);
  });

  it('need a domain and a parent that exist', async () => {
    await expect(identity.projects.create(admin, { name: 'x', domainId: 'no', extra: {} })).rejects.toThrow('Could not find domain: no.');
    await expect(identity.projects.create(admin, { name: 'x', parentId: 'no', extra: {} })).rejects.toThrow('Could not find project: no.');
  });
});

it('keeps the directory from those who may not see it', async () => {
  const { user, project, login } = await someone();
  const { token } = await login();
  await expect(identity.users.list(token, {})).rejects.toThrow('identity:list_users');
  await expect(identity.users.get(token, admin.user.id)).rejects.toThrow('identity:get_user');
  await expect(identity.projects.create(token, { name: 'x', extra: {} })).rejects.toThrow('identity:create_project');
  await expect(identity.grants.add(token, { userId: user.id, roleId: roleId('admin'), target: { kind: 'system' } })).rejects.toThrow(
    'identity:create_grant',
  );
  expect((await identity.users.get(token, user.id)).name).toBe(user.name);
  expect((await identity.projects.get(token, project.id)).name).toBe(project.name);
  expect(await identity.projects.listOfUser(token, user.id)).toHaveLength(1);
});

it('lets a reader of a domain see that domain only', async () => {
  const own = await identity.domains.create(admin, { name: 'own' });
  const user = await identity.users.create(admin, { name: 'watcher', domainId: own.id, password: 'pw', extra: {} });
  await identity.grants.add(admin, { userId: user.id, roleId: roleId('reader'), target: { kind: 'domain', id: own.id } });
  const proof: Proof = { method: 'password', user: { id: user.id }, password: 'pw' };
  const { token } = await identity.authenticate([proof], { kind: 'domain', domain: { id: own.id } });
  expect((await identity.users.list(token, {})).map(({ name }) => name)).toEqual(['watcher']);
  await expect(identity.users.list(token, { domainId: 'default' })).rejects.toThrow('identity:list_users');
  await expect(identity.users.get(token, admin.user.id)).rejects.toThrow('identity:get_user');
  expect(await identity.grants.assignments(token, {})).toHaveLength(1);
});

it('does not let anybody touch the roles that the policy speaks of', async () => {
  await expect(identity.roles.delete(admin, roleId('member'))).rejects.toThrow('immutable');
  await expect(identity.roles.update(admin, roleId('member'), { name: 'x' })).rejects.toThrow('immutable');
});
