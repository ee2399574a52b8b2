/** Keypairs over their wire. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ComputeWire, faultOf, startComputeWire } from '../support/compute-wire.ts';
import type { Person } from '../support/people.ts';

const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmvJRJcEwmD3NgHMpJ7RM9uiw9hQdm1i58nDgZ+9Uo7 ada@example';
const fingerprint = '61:e1:55:bd:81:d4:f1:00:96:5c:37:ca:79:2a:d4:56';

let wire: ComputeWire;
let ada: Person;
let bob: Person;

beforeAll(async () => {
  wire = await startComputeWire();
  [ada, bob] = [await wire.person('ada'), await wire.person('bob', 'reader')];
});
afterAll(() => wire.stop());

const create = (who: Person, facts: object, version?: string) => wire.send(who, 'POST', '/os-keypairs', { keypair: facts }, version);
const namesOf = ({ body }: { body: { keypairs: { keypair: { name: string } }[] } }): string[] =>
  body.keypairs.map(({ keypair }) => keypair.name);

describe('a keypair', () => {
  it('is imported, shown, listed and deleted with the codes of 2.1', async () => {
    const imported = await create(ada, { name: 'laptop', public_key: publicKey });
    const view = { name: 'laptop', public_key: publicKey, fingerprint };
    expect([imported.status, imported.body]).toEqual([200, { keypair: { ...view, user_id: ada.userId } }]);
    const shown = await wire.send(ada, 'GET', '/os-keypairs/laptop');
    expect(shown.body.keypair).toEqual({
      ...view,
      user_id: ada.userId,
      id: expect.any(Number),
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/),
      updated_at: null,
      deleted: false,
      deleted_at: null,
    });
    expect((await wire.send(ada, 'GET', '/os-keypairs')).body).toEqual({ keypairs: [{ keypair: view }] });
    expect(faultOf(await create(ada, { name: 'laptop' }))).toEqual([409, "Key pair 'laptop' already exists."]);
    expect((await wire.send(ada, 'DELETE', '/os-keypairs/laptop')).status).toBe(202);
    expect(faultOf(await wire.send(ada, 'GET', '/os-keypairs/laptop'))).toEqual([404, `Keypair laptop not found for user ${ada.userId}`]);
  });

  it('has a type, and other codes, since 2.2', async () => {
    const made = await create(bob, { name: 'new' }, '2.2');
    expect([made.status, made.body.keypair.type]).toEqual([201, 'ssh']);
    expect(made.body.keypair.private_key).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/);
    expect(Object.keys((await wire.send(bob, 'GET', '/os-keypairs/new', undefined, '2.2')).body.keypair)).not.toContain('private_key');
    const windows = await create(bob, { name: 'windows', type: 'x509' }, '2.2');
    expect(windows.body.keypair.public_key).toMatch(/^-----BEGIN CERTIFICATE-----/);
    const again = await create(bob, { name: 'copy', type: 'x509', public_key: windows.body.keypair.public_key }, '2.2');
    expect(again.body.keypair.fingerprint).toBe(windows.body.keypair.fingerprint);
    for (const name of ['new', 'windows', 'copy']) {
      expect((await wire.send(bob, 'DELETE', `/os-keypairs/${name}`, undefined, '2.2')).status).toBe(204);
    }
    expect((await wire.send(bob, 'DELETE', '/os-keypairs/new', undefined, '2.2')).status).toBe(404);
  });

  it('belongs to its user alone; administrators name another one since 2.10', async () => {
    await create(ada, { name: 'mine', public_key: publicKey });
    expect(namesOf(await wire.send(bob, 'GET', '/os-keypairs'))).toEqual([]);
    expect((await wire.send(bob, 'GET', '/os-keypairs/mine')).status).toBe(404);
    const ofAda = `?user_id=${ada.userId}`;
    for (const [method, path] of [
      ['GET', '/os-keypairs'],
      ['GET', '/os-keypairs/mine'],
      ['DELETE', '/os-keypairs/mine'],
    ] as const) {
      expect((await wire.send(bob, method, path + ofAda, undefined, '2.10')).status).toBe(403);
    }
    expect(namesOf(await wire.send(wire.admin, 'GET', `/os-keypairs${ofAda}`, undefined, '2.10'))).toEqual(['mine']);
    expect(namesOf(await wire.send(wire.admin, 'GET', `/os-keypairs${ofAda}`, undefined, '2.9'))).toEqual([]);
    const given = await create(wire.admin, { name: 'given', public_key: publicKey, user_id: ada.userId }, '2.10');
    expect([given.status, given.body.keypair.user_id]).toEqual([201, ada.userId]);
    expect((await create(bob, { name: 'forced', public_key: publicKey, user_id: ada.userId }, '2.10')).status).toBe(403);
    expect((await create(wire.admin, { name: 'lost', public_key: publicKey, user_id: 'nobody' }, '2.10')).status).toBe(400);
    const long = Array.from({ length: 9000 }, (_, at) => String.fromCharCode(97 + ((at * at) % 26))).join('');
    expect((await create(wire.admin, { name: 'lost', public_key: publicKey, user_id: long }, '2.10')).status).toBe(400);
    expect((await wire.send(wire.admin, 'DELETE', `/os-keypairs/given${ofAda}`, undefined, '2.10')).status).toBe(204);
    expect(namesOf(await wire.send(ada, 'GET', '/os-keypairs'))).toEqual(['mine']);
  });

  it('is listed in pages since 2.35', async () => {
    for (const name of ['c', 'a', 'b']) await create(wire.admin, { name, public_key: publicKey });
    expect(namesOf(await wire.send(wire.admin, 'GET', '/os-keypairs?limit=1&marker=x', undefined, '2.34'))).toEqual(['a', 'b', 'c']);
    const first = await wire.send(wire.admin, 'GET', '/os-keypairs?limit=2', undefined, '2.35');
    expect(namesOf(first)).toEqual(['a', 'b']);
    expect(first.body.keypairs_links[0].href).toContain('marker=b');
    expect(namesOf(await wire.send(wire.admin, 'GET', '/os-keypairs?limit=2&marker=b', undefined, '2.35'))).toEqual(['c']);
    expect(faultOf(await wire.send(wire.admin, 'GET', '/os-keypairs?marker=x', undefined, '2.35'))).toEqual([400, 'marker [x] not found']);
    expect((await wire.send(wire.admin, 'GET', '/os-keypairs?limit=x', undefined, '2.35')).status).toBe(400);
  });

  it.each([
    ['no name', {}],
    ['an empty name', { name: '' }],
    ['a name that is too long', { name: 'x'.repeat(256) }],
    ['spaces around its name', { name: ' x' }],
    ['a name with a slash', { name: 'a/b' }],
    ['a name like an address', { name: 'a@b.c' }],
    ['no key in its text', { name: 'x', public_key: 'ssh-rsa JUNK' }],
    ['a number for a key', { name: 'x', public_key: 7 }],
    ['a type before its time', { name: 'x', type: 'ssh' }],
  ])('is refused with %s', async (_what, facts) => {
    expect((await create(bob, facts)).status).toBe(400);
    expect(namesOf(await wire.send(bob, 'GET', '/os-keypairs'))).toEqual([]);
  });

  it('has its public half given since 2.92, and may have a name like an address', async () => {
    expect((await create(bob, { name: 'none' }, '2.92')).status).toBe(400);
    expect((await create(bob, { name: 'bob@example.org', public_key: publicKey }, '2.92')).status).toBe(201);
    expect((await create(bob, { name: 'odd', public_key: publicKey, type: 'pgp' }, '2.92')).status).toBe(400);
    expect((await wire.send(bob, 'DELETE', '/os-keypairs/bob@example.org', undefined, '2.92')).status).toBe(204);
  });

  it('is one too many beyond the quota, however many are made at once', async () => {
    await wire.send(wire.admin, 'PUT', `/os-quota-sets/${bob.projectId}`, { quota_set: { key_pairs: 2 } });
    const answers = await Promise.all(['a', 'b', 'c', 'd'].map((name) => create(bob, { name, public_key: publicKey })));
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused.map(faultOf)).toEqual(Array.from({ length: 2 }, () => [403, 'Quota exceeded, too many key pairs.']));
    expect(namesOf(await wire.send(bob, 'GET', '/os-keypairs'))).toHaveLength(2);
  });
});
