/** Volumes and snapshots over their wire: real HTTP parsing, real tokens, real disks. */
import fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentityService } from '../../src/cloud/identity/service.ts';
import { blockStorageFront } from '../../src/fronts/openstack/block-storage/plugin.ts';
import { identityFront } from '../../src/fronts/openstack/identity/plugin.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/ids.ts';
import { type BackupCloud, startBackupCloud } from '../support/backup-cloud.ts';
import { connectNbd, socketPathOf } from '../support/nbd-client.ts';

let cloud: BackupCloud;
let app: FastifyInstance;
interface Person {
  readonly token: string;
  readonly projectId: string;
}
let ada: Person;
let eve: Person;
let admin: Person;

beforeAll(async () => {
  cloud = await startBackupCloud();
  const identity = createIdentityService({ database: cloud.held.database, clock: systemClock });
  await identity.bootstrapIdentity({ adminPassword: 'secret' });
  app = fastify({ routerOptions: { ignoreTrailingSlash: true } });
  await app.register(identityFront, { prefix: '/identity', identity, publicUrl: undefined });
  await app.register(blockStorageFront, { prefix: '/volume', identity, ...cloud, publicUrl: undefined });
  admin = await signIn('admin', 'secret', 'admin');
  ada = await makeMember('ada');
  eve = await makeMember('eve');
});
afterAll(async () => {
  await app.close();
  await cloud.stop();
});

async function signIn(name: string, password: string, project: string): Promise<Person> {
  const domain = { id: 'default' };
  const identity = { methods: ['password'], password: { user: { name, password, domain } } };
  const payload = { auth: { identity, scope: { project: { name: project, domain } } } };
  const answer = await app.inject({ method: 'POST', url: '/identity/v3/auth/tokens', payload });
  expect(answer.statusCode, answer.body).toBe(201);
  return { token: String(answer.headers['x-subject-token']), projectId: answer.json().token.project.id };
}

async function makeMember(name: string): Promise<Person> {
  const call = async (method: 'GET' | 'POST' | 'PUT', path: string, payload?: object) => {
    const headers = { 'x-auth-token': admin.token };
    const answer = await app.inject({ method, url: `/identity/v3${path}`, headers, ...(payload && { payload }) });
    expect(answer.statusCode, answer.body).toBeLessThan(300);
    return answer.body === '' ? undefined : answer.json();
  };
  const { project } = await call('POST', '/projects', { project: { name, domain_id: 'default' } });
  const { user } = await call('POST', '/users', { user: { name, password: name, domain_id: 'default' } });
  const { roles } = await call('GET', '/roles?name=member');
  await call('PUT', `/projects/${project.id}/users/${user.id}/roles/${roles[0].id}`);
  return await signIn(name, name, name);
}

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

async function send(person: Person, method: Method, path: string, body?: unknown, version?: string) {
  const headers = {
    'x-auth-token': person.token,
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...(version && { 'openstack-api-version': `volume ${version}` }),
  };
  const answer = await app.inject({
    method,
    url: `/volume/v3${path}`,
    headers,
    ...(body !== undefined && { payload: JSON.stringify(body) }),
  });
  return { status: answer.statusCode, body: answer.body === '' ? undefined : answer.json(), headers: answer.headers };
}

async function expectFault(answer: ReturnType<typeof send>, status: number, fault: string, message: RegExp): Promise<void> {
  const { status: found, body } = await answer;
  expect({ status: found, body }).toMatchObject({ status, body: { [fault]: { code: status } } });
  expect(body[fault].message).toMatch(message);
}

async function create(person: Person, volume: object, version?: string): Promise<string> {
  const { status, body } = await send(person, 'POST', '/volumes', { volume }, version);
  expect(status, JSON.stringify(body)).toBe(202);
  await settled(person, `/volumes/${body.volume.id}`, 'volume');
  return body.volume.id;
}

async function settled(person: Person, path: string, noun: string): Promise<string> {
  for (;;) {
    const { status, body } = await send(person, 'GET', path);
    if (status === 404) return 'gone';
    if (!['creating', 'deleting', 'extending', 'reverting', 'restoring', 'downloading'].includes(body[noun].status))
      return body[noun].status;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const baseKeys = [
  ...['attachments', 'availability_zone', 'bootable', 'consistencygroup_id', 'created_at', 'description', 'encrypted', 'id', 'links'],
  ...['metadata', 'multiattach', 'name', 'replication_status', 'size', 'snapshot_id', 'source_volid', 'status', 'updated_at', 'user_id'],
  'volume_type',
];

describe('what a volume shows', () => {
  it('is what the microversion and the asker may see, and less in the reply to its creation', async () => {
    const { status, body, headers } = await send(ada, 'POST', '/volumes', {
      volume: { size: 1, name: ' disk ', backup_id: null, fancy: 1 },
    });
    expect(status).toBe(202);
    expect(headers).toMatchObject({ 'openstack-api-version': 'volume 3.0', vary: expect.stringContaining('OpenStack-API-Version') });
    expect(headers['x-compute-request-id']).toMatch(/^req-/);
    expect(Object.keys(body.volume).sort()).toEqual(baseKeys);
    expect(body.volume).toMatchObject({
      status: 'creating',
      name: 'disk',
      bootable: 'false',
      volume_type: '__DEFAULT__',
      updated_at: null,
    });
    expect(body.volume.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
    const { id } = body.volume;
    expect(await settled(ada, `/volumes/${id}`, 'volume')).toBe('available');

    const keysAt = async (person: Person, version?: string) =>
      Object.keys((await send(person, 'GET', `/volumes/${id}`, undefined, version)).body.volume);
    const tenant = 'os-vol-tenant-attr:tenant_id';
    expect((await keysAt(ada)).sort()).toEqual([...baseKeys, tenant].sort());
    const late = ['group_id', 'service_uuid', 'shared_targets', 'volume_type_id', 'consumes_quota'];
    expect((await keysAt(ada, '3.70')).sort()).toEqual([...baseKeys, tenant, ...late].sort());
    const adminOnly = ['os-vol-host-attr:host', 'os-vol-mig-status-attr:migstat', 'os-vol-mig-status-attr:name_id', 'migration_status'];
    expect((await keysAt(admin)).sort()).toEqual([...baseKeys, tenant, ...adminOnly].sort());
    const { body: shown } = await send(ada, 'GET', `/${ada.projectId}/volumes/${id}`);
    expect(shown.volume.links).toEqual([
      { rel: 'self', href: `http://localhost:80/volume/v3/${ada.projectId}/volumes/${id}` },
      { rel: 'bookmark', href: `http://localhost:80/volume/${ada.projectId}/volumes/${id}` },
    ]);
  });

  it('is not there for others, and no path names another project', async () => {
    const id = await create(ada, { size: 1 });
    await expectFault(send(eve, 'GET', `/volumes/${id}`), 404, 'itemNotFound', new RegExp(`^Volume ${id} could not be found.$`));
    await expectFault(send(eve, 'GET', `/${ada.projectId}/volumes`), 400, 'badRequest', /^Malformed request url$/);
    await expectFault(send(ada, 'GET', '/volumes/None'), 404, 'itemNotFound', /^Volume None could not be found.$/);
  });
});

describe('the body of a creation', () => {
  it('names a group from 3.13 on only, whatever it is before', async () => {
    const volume = { size: 1, group_id: [newId()] };
    await create(eve, volume, '3.12');
    await expectFault(send(eve, 'POST', '/volumes', { volume }, '3.13'), 400, 'badRequest', /group_id/);
  });

  it.each([
    [{}, /required property/],
    [{ volume: {} }, /Invalid volume size provided/],
    [{ volume: { size: 0 } }, /^Invalid input for field\/attribute size/],
    [{ volume: { size: '1.5' } }, /^Invalid input for field\/attribute size/],
    [{ volume: { size: 1, name: 'x'.repeat(256) } }, /^Invalid input for field\/attribute name/],
    [{ volume: { size: 1, metadata: { k: 'x'.repeat(256) } } }, /metadata/],
    [{ volume: { size: 1, multiattach: true } }, /multiattach/],
    [{ volume: { size: 1, snapshot_id: 'no' } }, /snapshot_id/],
    [{ volume: { size: 1, snapshot_id: newId(), source_volid: newId() } }, /^May specify only one of snapshot, imageRef or source volume/],
    [{ volume: { size: 1, availability_zone: 'moon' } }, /zone 'moon' is invalid/],
  ])('is refused (%#)', async (body, message) => {
    await expectFault(send(ada, 'POST', '/volumes', body), 400, 'badRequest', message);
  });

  it('may hold what nobody knows only below 3.53', async () => {
    await expectFault(send(ada, 'POST', '/volumes', { volume: { size: 1, fancy: 1 } }, '3.53'), 400, 'badRequest', /Additional properties/);
    const id = await create(ada, { size: '1', display_name: 'old', display_description: 'style' }, '3.52');
    expect((await send(ada, 'GET', `/volumes/${id}`)).body.volume).toMatchObject({ size: 1, name: 'old', description: 'style' });
  });
});

describe('lists', () => {
  it('are paged, sorted, filtered and counted', async () => {
    const bea = await makeMember('bea');
    const ids: string[] = [];
    for (const name of ['one', 'two', 'three', 'four']) ids.push(await create(bea, { size: 1, name, metadata: { who: name } }));
    const names = async (query: string, version?: string) =>
      (await send(bea, 'GET', `/volumes/detail?${query}`, undefined, version)).body.volumes.map(({ name }: { name: string }) => name);
    expect(await names('')).toEqual(['four', 'three', 'two', 'one']);
    expect(await names('sort=name:asc')).toEqual(['four', 'one', 'three', 'two']);
    expect(await names('sort=size:asc,display_name:desc')).toEqual(['two', 'three', 'one', 'four']);
    expect(await names('all_tenants=1&name=two')).toEqual(['two']);
    expect(await names(`metadata=${encodeURIComponent("{'who': 'three'}")}`)).toEqual(['three']);
    expect(await names('status=available&bootable=false&size=1', '3.31')).toHaveLength(4);
    expect(await names('bootable=true')).toEqual([]);
    expect(await names('created_at=gt:2000-01-01T00:00:00', '3.60')).toHaveLength(4);
    expect(await names('limit=0')).toEqual([]);
    expect(await names(`marker=${ids[2]}`)).toEqual(['two', 'one']);
    expect(await names('offset=3')).toEqual(['one']);

    const first = await send(bea, 'GET', '/volumes?limit=2&with_count=True', undefined, '3.45');
    expect(first.body).toMatchObject({ count: 4, volumes: [{ id: ids[3], name: 'four' }, { id: ids[2] }] });
    const next = new URL(first.body.volumes_links[0].href);
    expect(next.pathname).toBe('/volume/v3/volumes');
    const rest = await send(bea, 'GET', `/volumes${next.search}`, undefined, '3.45');
    expect(rest.body.volumes.map(({ id }: { id: string }) => id)).toEqual([ids[1], ids[0]]);

    await expectFault(send(bea, 'GET', '/volumes?sort=nonsense'), 400, 'badRequest', /Invalid sort key/);
    await expectFault(send(bea, 'GET', '/volumes?limit=-1'), 400, 'badRequest', /limit/);
    await expectFault(send(bea, 'GET', `/volumes?marker=${newId()}`), 404, 'itemNotFound', /could not be found/);
    await expectFault(send(bea, 'GET', '/volumes?host=x', undefined, '3.31'), 400, 'badRequest', /^Invalid filters host are found/);
    await expectFault(send(bea, 'GET', '/volumes?bootable=perhaps', undefined, '3.2'), 400, 'badRequest', /bootable/);
    await expectFault(send(bea, 'GET', '/volumes?created_at=gt:2026-02-31', undefined, '3.60'), 400, 'badRequest', /time filter/);
    expect((await send(bea, 'GET', '/volumes?host=x')).body.volumes).toHaveLength(4);

    const all = await send(admin, 'GET', '/volumes/detail?all_tenants=1&name=two');
    expect(all.body.volumes.map(({ id }: { id: string }) => id)).toEqual([ids[1]]);
    expect((await send(admin, 'GET', '/volumes/detail?name=two')).body.volumes).toEqual([]);
    const describe = { 'os-set_image_metadata': { metadata: { os: 'linux', arch: 'arm' } } };
    expect((await send(bea, 'POST', `/volumes/${ids[0]}/action`, describe)).status).toBe(200);
    const byImage = (pairs: string, version: string) =>
      send(admin, 'GET', `/volumes?all_tenants=1&name~=e&glance_metadata=${encodeURIComponent(pairs)}`, undefined, version);
    expect((await byImage("{'os': 'linux'}", '3.34')).body.volumes).toMatchObject([{ id: ids[0] }]);
    expect((await byImage("{'os': 'bsd'}", '3.34')).body.volumes).toEqual([]);
    expect((await byImage('linux', '3.34')).body.volumes).toEqual([]);
    expect((await send(admin, 'GET', '/volumes?all_tenants=1&name=two&glance_metadata=x', undefined, '3.3')).body.volumes).toHaveLength(1);
    await expectFault(send(admin, 'GET', '/volumes?sort=glance_metadata'), 400, 'badRequest', /Invalid sort key/);
    expect((await send(bea, 'GET', '/volumes/summary', undefined, '3.36')).body['volume-summary']).toMatchObject({
      total_count: 4,
      total_size: 4,
      metadata: { who: ['four', 'one', 'three', 'two'] },
    });
    await expectFault(send(bea, 'GET', '/volumes/summary', undefined, '3.11'), 404, 'itemNotFound', /could not be found/);
  });
});

describe('actions', () => {
  const act = (person: Person, id: string, action: unknown, version?: string) =>
    send(person, 'POST', `/volumes/${id}/action`, action, version);

  it('answer with their own codes', async () => {
    const id = await create(ada, { size: 1 });
    expect((await act(ada, id, { 'os-set_bootable': { bootable: 'yes' } })).status).toBe(200);
    expect((await act(ada, id, { 'os-update_readonly_flag': { readonly: true } })).status).toBe(202);
    expect(await act(ada, id, { 'os-set_image_metadata': { metadata: { image_name: 'n' } } })).toMatchObject({
      status: 200,
      body: { metadata: { image_name: 'n' } },
    });
    expect((await send(ada, 'GET', `/volumes/${id}`)).body.volume).toMatchObject({
      bootable: 'true',
      metadata: { readonly: 'True' },
      volume_image_metadata: { image_name: 'n' },
    });
    expect((await act(ada, id, { 'os-show_image_metadata': null })).body).toEqual({ metadata: { image_name: 'n' } });
    expect((await act(ada, id, { 'os-unset_image_metadata': { key: 'image_name' } })).status).toBe(200);
    await expectFault(act(ada, id, { 'os-unset_image_metadata': { key: 'image_name' } }), 404, 'itemNotFound', /not found/);
    expect((await act(ada, id, { 'os-extend': { new_size: '2' } })).status).toBe(202);
    expect(await settled(ada, `/volumes/${id}`, 'volume')).toBe('available');
    await expectFault(act(ada, id, { 'os-extend': { new_size: 2 } }), 400, 'badRequest', /must be greater than current size/);
    await expectFault(act(ada, id, { 'os-dance': {} }), 400, 'badRequest', /^There is no such action: os-dance/);
    await expectFault(act(ada, id, {}), 400, 'badRequest', /exactly one action/);
    await expectFault(act(ada, id, { 'os-reserve': null, 'os-unreserve': null }), 400, 'badRequest', /exactly one action/);
    await expectFault(act(ada, id, { 'os-reset_status': { status: 'error' } }), 403, 'forbidden', /^Policy doesn't allow/);
    await expectFault(act(ada, id, { 'os-force_delete': null }), 403, 'forbidden', /^Policy doesn't allow/);
    expect((await act(admin, id, { 'os-reset_status': { status: 'error' } })).status).toBe(202);
    expect((await act(admin, id, { 'os-force_delete': null })).status).toBe(202);
    expect(await settled(ada, `/volumes/${id}`, 'volume')).toBe('gone');
  });

  it('know volumes by their ids as they were written', async () => {
    const id = await create(eve, { size: 1 });
    await expectFault(act(eve, id.toUpperCase(), { 'os-reserve': null }), 404, 'itemNotFound', /could not be found/);
  });

  it('put an image on a volume that is there', async () => {
    const [id, source] = [await create(ada, { size: 1 }), await create(ada, { size: 1 })];
    // Images here are what snapshots hold.
    const { body: made } = await send(ada, 'POST', '/snapshots', { snapshot: { volume_id: source } });
    expect(await settled(ada, `/snapshots/${made.snapshot.id}`, 'snapshot')).toBe('available');
    const image = { image_id: made.snapshot.id };
    await expectFault(act(ada, id, { 'os-reimage': image }, '3.67'), 404, 'itemNotFound', /API version 3\.67 is not supported/);
    await expectFault(act(ada, id, { 'os-reimage': {} }, '3.68'), 400, 'badRequest', /image_id/);
    await expectFault(act(eve, id, { 'os-reimage': image }, '3.68'), 404, 'itemNotFound', /could not be found/);
    const shown = async () => (await send(ada, 'GET', `/volumes/${id}`, undefined, '3.68')).body.volume;

    expect((await send(ada, 'POST', '/attachments', { attachment: { volume_uuid: id } }, '3.68')).status).toBe(200);
    const reserved = /status must be available or error, but current status is: reserved/;
    await expectFault(act(ada, id, { 'os-reimage': image }, '3.68'), 400, 'badRequest', reserved);
    expect((await shown()).volume_image_metadata).toBeUndefined();
    expect((await act(ada, id, { 'os-reimage': { ...image, reimage_reserved: true } }, '3.68')).status).toBe(202);
    expect(await settled(ada, `/volumes/${id}`, 'volume')).toBe('reserved');
    expect(await shown()).toMatchObject({ bootable: 'true', volume_image_metadata: image });
  });

  it('connect a volume as a block device and give it back', async () => {
    const id = await create(ada, { size: 1 });
    const connector = { host: 'here' };
    expect((await act(ada, id, { 'os-reserve': null })).status).toBe(202);
    const { status, body } = await act(ada, id, { 'os-initialize_connection': { connector } });
    expect(status).toBe(200);
    expect(body.connection_info).toMatchObject({
      driver_volume_type: 'nbd',
      data: { access_mode: 'rw', encrypted: false, qos_specs: null, cacheable: false, export_name: 'disk', volume_id: id },
    });
    expect(body.connection_info.data.uri).toMatch(/^nbd\+unix:\/\/\/disk\?socket=\//);
    await expectFault(act(ada, id, { 'os-attach': { mountpoint: '/dev/vdb' } }), 400, 'badRequest', /invalid target/);
    expect((await act(ada, id, { 'os-attach': { host_name: 'here', mountpoint: '/dev/vdb' } })).status).toBe(202);
    const attached = (await send(ada, 'GET', `/volumes/${id}`)).body.volume;
    expect(attached).toMatchObject({ status: 'in-use', metadata: { attached_mode: 'rw' } });
    expect(attached.attachments).toMatchObject([{ id, volume_id: id, server_id: null, host_name: null, device: '/dev/vdb' }]);
    expect((await send(admin, 'GET', `/volumes/${id}`)).body.volume.attachments[0].host_name).toBe('here');
    for (const version of [undefined, '3.42', '3.70']) {
      const wanted = /^Invalid volume: Volume .* status must be .* to extend, currently in-use\.$/;
      await expectFault(act(ada, id, { 'os-extend': { new_size: 2 } }, version), 400, 'badRequest', wanted);
    }
    expect((await send(ada, 'GET', `/volumes/${id}`)).body.volume).toMatchObject({ status: 'in-use', size: 1 });
    const client = await connectNbd(socketPathOf(body.connection_info.data.uri));
    expect(client.sizeBytes).toBe(2 ** 30);
    await client.close();
    expect((await act(ada, id, { 'os-begin_detaching': null })).status).toBe(202);
    expect((await act(ada, id, { 'os-terminate_connection': { connector } })).status).toBe(202);
    expect((await act(ada, id, { 'os-detach': {} })).status).toBe(202);
    expect((await send(ada, 'GET', `/volumes/${id}`)).body.volume).toMatchObject({ status: 'available', attachments: [] });
  });
});

describe('metadata of volumes and snapshots', () => {
  it('is merged, replaced, and reached key by key', async () => {
    const volumeId = await create(ada, { size: 1 });
    const { body } = await send(ada, 'POST', '/snapshots', { snapshot: { volume_id: volumeId } });
    await settled(ada, `/snapshots/${body.snapshot.id}`, 'snapshot');
    for (const path of [`/volumes/${volumeId}/metadata`, `/snapshots/${body.snapshot.id}/metadata`]) {
      expect((await send(ada, 'POST', path, { metadata: { a: '1', b: '2' } })).body).toEqual({ metadata: { a: '1', b: '2' } });
      expect((await send(ada, 'PUT', `${path}/b`, { meta: { b: '3' } })).body).toEqual({ meta: { b: '3' } });
      expect((await send(ada, 'GET', `${path}/b`)).body).toEqual({ meta: { b: '3' } });
      expect((await send(ada, 'DELETE', `${path}/a`)).status).toBe(200);
      expect((await send(ada, 'GET', path)).body).toEqual({ metadata: { b: '3' } });
      await expectFault(send(ada, 'GET', `${path}/a`), 404, 'itemNotFound', /not found/);
      await expectFault(send(ada, 'PUT', `${path}/b`, { meta: { c: '3' } }), 400, 'badRequest', /mismatch/);
      await expectFault(send(ada, 'POST', path, { metadata: { a: 1 } }), 400, 'badRequest', /metadata/);
      expect((await send(ada, 'PUT', path, { metadata: {} })).body).toEqual({ metadata: {} });
    }
  });

  it('of volumes is changed under a condition, from 3.15 on', async () => {
    const id = await create(eve, { size: 1, metadata: { a: '1' } });
    const url = `/volume/v3/volumes/${id}/metadata`;
    const put = async (path: string, payload: object, tag: string, version = '3.15') => {
      const headers = { 'x-auth-token': eve.token, 'if-match': tag, 'openstack-api-version': `volume ${version}` };
      return (await app.inject({ method: 'PUT', url: url + path, headers, payload })).statusCode;
    };
    const shown = async (version: string) => await send(eve, 'GET', `/volumes/${id}/metadata`, undefined, version);
    expect((await shown('3.14')).headers).not.toHaveProperty('etag');
    const tag = String((await shown('3.15')).headers.etag);
    expect(tag).toMatch(/^"[0-9a-f]{32}"$/);

    expect(await put('', { metadata: { a: '2' } }, '"stale"')).toBe(412);
    expect(await put('/a', { meta: { a: '2' } }, '"stale"')).toBe(412);
    expect((await shown('3.15')).body).toEqual({ metadata: { a: '1' } });
    expect(await put('', { metadata: { a: '2' } }, tag)).toBe(200);
    // What was there is there no more.
    expect(await put('/a', { meta: { a: '3' } }, tag)).toBe(412);
    expect(await put('/a', { meta: { a: '3' } }, '*')).toBe(200);
    expect(await put('', { metadata: { a: '4' } }, '"stale"', '3.14')).toBe(200);
    expect((await shown('3.15')).body).toEqual({ metadata: { a: '4' } });
  });
});

describe('an empty id', () => {
  it.each(['GET', 'PUT', 'DELETE'] as const)('is of nothing: %s', async (method) => {
    const body = method === 'PUT' ? { volume: { name: 'x' } } : undefined;
    await expectFault(send(ada, method, '/volumes/', body), 404, 'itemNotFound', /could not be found/);
  });
});

describe('snapshots', () => {
  it('of no volume are of one that is not there', async () => {
    await expectFault(
      send(ada, 'POST', '/snapshots', { snapshot: { volume_id: null } }),
      404,
      'itemNotFound',
      /Volume None could not be found/,
    );
  });

  it('show what each place and microversion has', async () => {
    const volumeId = await create(ada, { size: 1 });
    const { status, body } = await send(ada, 'POST', '/snapshots', { snapshot: { volume_id: volumeId, name: '', force: false } });
    expect(status).toBe(202);
    const base = ['created_at', 'description', 'id', 'metadata', 'name', 'size', 'status', 'updated_at', 'volume_id'];
    expect(Object.keys(body.snapshot).sort()).toEqual(base);
    expect(body.snapshot).toMatchObject({ name: '', status: 'creating', size: 1, volume_id: volumeId });
    const { id } = body.snapshot;
    expect(await settled(ada, `/snapshots/${id}`, 'snapshot')).toBe('available');
    const extended = ['os-extended-snapshot-attributes:progress', 'os-extended-snapshot-attributes:project_id'];
    const shown = (await send(ada, 'GET', `/snapshots/${id}`)).body.snapshot;
    expect(Object.keys(shown).sort()).toEqual([...base, ...extended].sort());
    expect(shown['os-extended-snapshot-attributes:progress']).toBe('100%');
    const late = (await send(ada, 'GET', `/snapshots/${id}`, undefined, '3.70')).body.snapshot;
    expect(late).toMatchObject({ group_snapshot_id: null, consumes_quota: true, user_id: expect.any(String) as unknown });
    const list = (await send(ada, 'GET', `/snapshots?volume_id=${volumeId}`)).body.snapshots;
    expect(list).toHaveLength(1);
    expect(Object.keys(list[0]).sort()).toEqual(base);
    expect((await send(ada, 'GET', `/snapshots/detail?volume_id=${newId()}`)).body.snapshots).toEqual([]);
    expect((await send(ada, 'PUT', `/snapshots/${id}`, { snapshot: { name: 'new' } })).body.snapshot).toMatchObject({ name: 'new' });
    await expectFault(send(ada, 'DELETE', `/volumes/${volumeId}`), 400, 'badRequest', /have snapshots/);
    expect((await send(ada, 'DELETE', `/snapshots/${id}`)).status).toBe(202);
    expect(await settled(ada, `/snapshots/${id}`, 'snapshot')).toBe('gone');
  });

  it('are what a volume can be reverted to: the latest one, of a volume that nobody uses', async () => {
    const volumeId = await create(ada, { size: 1 });
    const revert = (snapshotId: unknown, version = '3.40') =>
      send(ada, 'POST', `/volumes/${volumeId}/action`, { revert: { snapshot_id: snapshotId } }, version);
    const snapshot = async (): Promise<string> => {
      const { body } = await send(ada, 'POST', '/snapshots', { snapshot: { volume_id: volumeId, force: true } });
      expect(await settled(ada, `/snapshots/${body.snapshot.id}`, 'snapshot')).toBe('available');
      return body.snapshot.id;
    };
    await expectFault(revert(newId()), 400, 'badRequest', /doesn't have any snapshots\.$/);
    const [first, latest] = [await snapshot(), await snapshot()];
    await expectFault(revert(first), 400, 'badRequest', /is None or not the latest one of volume/);
    await expectFault(revert('x'), 400, 'badRequest', /'uuid'/);
    await expectFault(revert(latest, '3.39'), 404, 'itemNotFound', /3\.39 is not supported on this method/);
    expect((await revert(latest)).status).toBe(202);
    expect(await settled(ada, `/volumes/${volumeId}`, 'volume')).toBe('available');
    expect(await settled(ada, `/snapshots/${latest}`, 'snapshot')).toBe('available');
    for (const action of [{ 'os-reserve': null }, { 'os-attach': { host_name: 'h' } }])
      await send(ada, 'POST', `/volumes/${volumeId}/action`, action);
    await expectFault(revert(latest), 409, 'conflictingRequest', /Volume's status must be 'available'/);
    await send(ada, 'POST', `/volumes/${volumeId}/action`, { 'os-detach': null });
    await send(admin, 'POST', `/snapshots/${latest}/action`, { 'os-reset_status': { status: 'error' } });
    await expectFault(revert(latest), 409, 'conflictingRequest', /Snapshot's status must be 'available'/);
    expect(await settled(ada, `/volumes/${volumeId}`, 'volume')).toBe('available');
    await send(admin, 'POST', `/snapshots/${latest}/action`, { 'os-reset_status': { status: 'available' } });
    await send(ada, 'POST', `/volumes/${volumeId}/action`, { 'os-extend': { new_size: 2 } });
    expect(await settled(ada, `/volumes/${volumeId}`, 'volume')).toBe('available');
    await expectFault(revert(latest), 400, 'badRequest', /volume size must be equal to the snapshot size/);
  });

  it('of a volume in use need force below 3.66, and refuse its absence from there on', async () => {
    const id = await create(ada, { size: 1 });
    for (const action of [{ 'os-reserve': null }, { 'os-attach': { host_name: 'h' } }])
      await send(ada, 'POST', `/volumes/${id}/action`, action);
    const ask = (snapshot: object, version?: string) =>
      send(ada, 'POST', '/snapshots', { snapshot: { volume_id: id, ...snapshot } }, version);
    await expectFault(ask({}), 400, 'badRequest', /^Invalid volume/);
    expect((await ask({ force: true })).status).toBe(202);
    expect((await ask({}, '3.66')).status).toBe(202);
    await expectFault(ask({ force: false }, '3.66'), 400, 'badRequest', /3\.66/);
    await send(ada, 'POST', `/volumes/${id}/action`, { 'os-detach': null });
  });
});
