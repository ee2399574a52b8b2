import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../test/support/database.ts';
import { type Clock, timestampOf } from '../../lib/clock.ts';
import { silentLog } from '../../lib/log.ts';
import { ofScope } from './limits.ts';
import { createSealing } from './sealing.ts';
import { createIdentityService, type IdentityService } from './service.ts';
import type { ValidToken } from './token.ts';

let test: TestDatabase;
let identity: IdentityService;
let admin: ValidToken;
let count = 0;
let aheadMs = 0;

const password = 'a password';
const refusal = 'The request you have made requires authentication.';
const startMs = Date.UTC(2026, 10, 21);
const now = () => new Date(startMs + aheadMs);
const clock: Clock = { now, nowText: () => timestampOf(now()) };
const lockout = { attempts: 3, durationMs: 60_000 };

beforeAll(async () => {
  test = await testDatabase();
  identity = createIdentityService({ database: test.database, clock, lockout, sealingKey: randomBytes(32) });
  await identity.bootstrapIdentity({ adminPassword: password });
  const proof = { method: 'password', user: { name: 'admin', domain: { id: 'default' } }, password } as const;
  admin = (await identity.authenticate([proof], { kind: 'project', project: { name: 'admin', domain: { id: 'default' } } })).token;
});
afterAll(() => test.drop());

const login = (userId: string, text = password) =>
  identity.authenticate([{ method: 'password', user: { id: userId }, password: text }], { kind: 'default' });

/** A member of a project of their own, with a token for it. */
async function someone(): Promise<{ userId: string; projectId: string; token: ValidToken }> {
  count += 1;
  const project = await identity.projects.create(admin, { name: `project ${count}`, extra: {} });
  const input = { name: `user ${count}`, password, defaultProjectId: project.id, extra: {} };
  const user = await identity.users.create(admin, input);
  const [member] = await identity.roles.list(admin, { name: 'member', domainId: null });
  await identity.grants.add(admin, { userId: user.id, roleId: member?.id ?? '', target: { kind: 'project', id: project.id } });
  return { userId: user.id, projectId: project.id, token: (await login(user.id)).token };
}

describe('a credential of EC2', () => {
  it('comes back as it was, and lies sealed in the database', async () => {
    const { userId, projectId, token } = await someone();
    const { ec2 } = identity.credentials;
    const made = await ec2.create(token, userId, projectId);
    expect(await ec2.get(token, userId, made.access)).toEqual(made);
    const rows = await test.database.sql.selectFrom('credentials').selectAll().where('user_id', '=', userId).execute();
    expect(rows).toHaveLength(1);
    for (const text of [made.access, made.secret]) expect(JSON.stringify(rows) + rows[0]?.blob.toString('latin1')).not.toContain(text);
    await ec2.delete(token, userId, made.access);
    await expect(ec2.get(token, userId, made.access)).rejects.toThrow('Could not find credential');
  });

  it('is a matter of its user, who cannot hand it to others', async () => {
    const [one, two] = [await someone(), await someone()];
    const { ec2 } = identity.credentials;
    const { access } = await ec2.create(one.token, one.userId, one.projectId);
    await expect(ec2.get(two.token, one.userId, access)).rejects.toThrow('identity:ec2_get_credential');
    await expect(ec2.get(two.token, two.userId, access)).rejects.toThrow('Could not find credential');
    await expect(ec2.create(two.token, one.userId, one.projectId)).rejects.toThrow('identity:ec2_create_credential');
    const [kept] = await identity.credentials.list(one.token, {});
    const id = kept?.id ?? '';
    await expect(identity.credentials.get(two.token, id)).rejects.toThrow('identity:get_credential');
    await expect(identity.credentials.update(one.token, id, { userId: two.userId })).rejects.toThrow('identity:update_credential');
    expect(await identity.credentials.list(two.token, {})).toEqual([]);
    await expect(identity.credentials.list(two.token, { userId: one.userId })).rejects.toThrow('identity:list_credentials');
  });

  it('cannot be made by an application credential that was not meant to', async () => {
    const { userId, projectId, token } = await someone();
    const other = await identity.credentials.create(token, { userId, projectId: null, type: 'totp', blob: 'x' });
    const use = async (unrestricted: boolean) => {
      const made = await identity.applicationCredentials.create(token, userId, { name: `ci ${unrestricted}`, unrestricted });
      const proof = { method: 'application_credential', credential: { id: made.id }, secret: made.secret } as const;
      return (await identity.authenticate([proof], { kind: 'default' })).token;
    };
    const restricted = await use(false);
    await expect(identity.credentials.ec2.create(restricted, userId, projectId)).rejects.toThrow('identity:ec2_create_credential');
    await expect(identity.credentials.delete(restricted, other.id)).rejects.toThrow('identity:delete_credential');
    const free = await use(true);
    await expect(identity.credentials.get(free, other.id)).rejects.toThrow('does not match the project scope');
    expect(await identity.credentials.list(free, {})).toEqual([]);
    expect(await identity.credentials.ec2.create(free, userId, projectId)).toMatchObject({ userId, projectId });
  });
});

describe('credentials whose key was lost', () => {
  const warnings: unknown[] = [];
  const log = { ...silentLog, warn: (fields: object) => void warnings.push(fields) };

  it('are left out and unknown, can be deleted, and hinder no others', async () => {
    const { userId, projectId, token } = await someone();
    const lost = await identity.credentials.ec2.create(token, userId, projectId);
    const other = await identity.credentials.create(token, { userId, projectId, type: 'totp', blob: 'x' });
    const { credentials } = createIdentityService({ database: test.database, clock, sealingKey: randomBytes(32), log });
    const kept = await credentials.ec2.create(token, userId, projectId);
    expect((await credentials.list(token, {})).map(({ type }) => type)).toEqual(['ec2']);
    expect(warnings).toMatchObject([{ credentialId: expect.any(String) }, { credentialId: expect.any(String) }]);
    expect(await credentials.ec2.list(token, userId)).toEqual([kept]);
    for (const unknown of [
      () => credentials.get(token, other.id),
      () => credentials.update(token, other.id, { blob: 'y' }),
      () => credentials.ec2.get(token, userId, lost.access),
    ])
      await expect(unknown()).rejects.toThrow('Could not find credential');
    await expect(credentials.delete((await someone()).token, other.id)).rejects.toThrow('identity:delete_credential');
    await credentials.delete(token, other.id);
    await credentials.ec2.delete(token, userId, lost.access);
    expect(await credentials.list(token, {})).toHaveLength(1);
    const rows = await test.database.sql.selectFrom('credentials').select('id').where('user_id', '=', userId).execute();
    expect(rows).toHaveLength(1);
  });
});

describe('limits', () => {
  it('are read of the own project only, whatever a filter leaves open', async () => {
    const { token, projectId } = await someone();
    expect(ofScope(token, { projectId: undefined, resourceName: 'x' })).toEqual({ projectId, resourceName: 'x' });
    expect(ofScope(token, { projectId: 'other' })).toEqual({ projectId: 'other' });
    expect(ofScope(admin, { projectId: undefined })).toEqual({ projectId: undefined });
  });
});

describe('sealing', () => {
  it('is bound to the key and to the row', () => {
    const sealing = createSealing(randomBytes(32));
    const sealed = sealing.seal('row', 'secret');
    expect(sealing.open('row', sealed)).toBe('secret');
    expect(() => sealing.open('other row', sealed)).toThrow();
    expect(() => createSealing(randomBytes(32)).open('row', sealed)).toThrow();
    expect(() => createSealing(undefined).seal('row', 'secret')).toThrow('no key');
  });
});

describe('a user with too many wrong passwords', () => {
  const fail = async (userId: string, times: number) => {
    for (let attempt = 0; attempt < times; attempt += 1) await expect(login(userId, 'wrong')).rejects.toThrow(refusal);
  };

  it('is locked out for a while, by whatever way passwords are tried', async () => {
    const { userId } = await someone();
    await fail(userId, 2);
    await expect(identity.users.changePassword(userId, 'wrong', 'new')).rejects.toThrow();
    await expect(login(userId)).rejects.toThrow(refusal);
    await expect(identity.users.changePassword(userId, password, 'new')).rejects.toThrow();
    aheadMs += lockout.durationMs + 1;
    expect((await login(userId)).token.user.id).toBe(userId);
  });

  it('counts from the last right password, and not for those with the option', async () => {
    const { userId } = await someone();
    await fail(userId, 2);
    await login(userId);
    await fail(userId, 2);
    await login(userId);
    await identity.users.update(admin, userId, { options: { ignore_lockout_failure_attempts: true }, extra: {} });
    await fail(userId, 4);
    await login(userId);
    await fail(userId, 4);
    await identity.users.update(admin, userId, { options: { ignore_lockout_failure_attempts: null }, extra: {} });
    await expect(login(userId)).rejects.toThrow(refusal);
    // An admin who gives a new password means it to be used.
    await identity.users.update(admin, userId, { password, extra: {} });
    await login(userId);
  });

  it('cannot get around it by trying at once', async () => {
    const { userId } = await someone();
    const tries = ['1', '2', '3', '4', '5'].map((text) => login(userId, text));
    await Promise.allSettled(tries);
    await expect(login(userId)).rejects.toThrow(refusal);
  });
});

it('keeps a locked password from its own user', async () => {
  const { userId } = await someone();
  await identity.users.update(admin, userId, { options: { lock_password: true }, extra: {} });
  await expect(identity.users.changePassword(userId, password, 'new')).rejects.toThrow('You cannot change your password');
});
