/** Image over its wire: real HTTP, real tokens, real files. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createIdentityService } from '../../src/cloud/identity/service.ts';
import { identityFront } from '../../src/fronts/openstack/identity/plugin.ts';
import { imageFront } from '../../src/fronts/openstack/image/plugin.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type ImagesUnderTest, startImages } from '../support/images.ts';

const mib = 1024 * 1024;
let under: ImagesUnderTest;
let app: FastifyInstance;
let base: string;
let port: number;
/** Of an administrator, of a member of project `alpha`, of a member of `beta`. */
let tokens: { admin: string; alpha: string; beta: string };

beforeAll(async () => {
  under = await startImages();
  const identity = createIdentityService({ database: under.db.database, clock: systemClock });
  await identity.bootstrapIdentity({ adminPassword: 'secret' });
  app = fastify({ forceCloseConnections: true, routerOptions: { ignoreTrailingSlash: true, maxParamLength: 1024 } });
  await app.register(identityFront, { prefix: '/identity', identity, publicUrl: undefined });
  await app.register(imageFront, { prefix: '/image', identity, images: under.images, publicUrl: undefined });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const address = app.server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  port = address.port;
  base = `http://127.0.0.1:${port}`;
  const admin = await signIn('admin', 'secret', 'admin');
  tokens = { admin, alpha: await makeMember(admin, 'alpha'), beta: await makeMember(admin, 'beta') };
});
afterAll(async () => {
  await app.close();
  await under.stop();
});

async function signIn(user: string, password: string, project: string): Promise<string> {
  const domain = { id: 'default' };
  const identity = { methods: ['password'], password: { user: { name: user, password, domain } } };
  const answer = await fetch(`${base}/identity/v3/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity, scope: { project: { name: project, domain } } } }),
  });
  expect(answer.status).toBe(201);
  return answer.headers.get('x-subject-token') ?? '';
}

async function makeMember(admin: string, name: string): Promise<string> {
  const call = async (method: string, path: string, body?: object) => {
    const headers = { 'x-auth-token': admin, 'content-type': 'application/json' };
    const answer = await fetch(`${base}/identity/v3${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    const text = await answer.text();
    expect(answer.status, text).toBeLessThan(300);
    return text === '' ? undefined : JSON.parse(text);
  };
  const { project } = await call('POST', '/projects', { project: { name, domain_id: 'default' } });
  const { user } = await call('POST', '/users', { user: { name, password: name, domain_id: 'default' } });
  const { roles } = await call('GET', '/roles?name=member');
  await call('PUT', `/projects/${project.id}/users/${user.id}/roles/${roles[0].id}`);
  return await signIn(name, name, name);
}

interface Reply {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: answers of the API under test; the assertions look into them
  readonly body: any;
}

interface Call {
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
}

async function call(method: string, path: string, { token = tokens.alpha, headers = {}, body }: Call = {}): Promise<Reply> {
  const isBytes = body instanceof Uint8Array;
  const answer = await fetch(`${base}/image${path}`, {
    method,
    redirect: 'manual',
    headers: {
      ...(token === '' ? {} : { 'x-auth-token': token }),
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': isBytes ? 'application/octet-stream' : 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: isBytes ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  const isJson = answer.headers.get('content-type')?.includes('json') === true;
  return { status: answer.status, headers: answer.headers, body: isJson ? JSON.parse(bytes.toString()) : bytes };
}

const patchType = { 'content-type': 'application/openstack-images-v2.1-json-patch' };
const patch = (id: string, body: unknown, rest: Call = {}) => call('PATCH', `/v2/images/${id}`, { headers: patchType, body, ...rest });

async function create(body: object = {}, token?: string): Promise<Reply['body']> {
  const reply = await call('POST', '/v2/images', { body, token });
  expect(reply.status, JSON.stringify(reply.body)).toBe(201);
  return reply.body;
}
const raw = { disk_format: 'raw', container_format: 'bare' };
const upload = (id: string, body: Uint8Array, rest: Call = {}) => call('PUT', `/v2/images/${id}/file`, { body, ...rest });

test('discovery needs no token, and says the same as 300 and as 200', async () => {
  const root = await call('GET', '/', { token: '' });
  const versions = await call('GET', '/versions', { token: '' });
  expect([root.status, versions.status, (await call('GET', '', { token: '' })).status]).toEqual([300, 200, 300]);
  expect(root.body).toEqual(versions.body);
  expect(root.body.versions[0]).toEqual({ id: 'v2.15', status: 'CURRENT', links: [{ rel: 'self', href: `${base}/image/v2/` }] });
  expect((await call('GET', '/v2/', { token: '' })).status).toBe(300);
  expect((await call('GET', '/healthcheck', { token: '' })).status).toBe(200);
});

test('an empty id is unknown', async () => {
  for (const [method, path] of [
    ['GET', '/v2/images/'],
    ['DELETE', '/v2/images/'],
    ['GET', '/v2/images/?limit=1'],
    ['GET', '/v2/metadefs/namespaces/'],
    ['GET', `${'/v2/x'.repeat(3000)}/`],
  ] as const)
    expect((await call(method, path)).status, path).toBe(404);
  expect((await call('GET', '/v2/images?marker=/v2/x/')).status).toBe(400);
});

test('everything else needs one', async () => {
  for (const [method, path] of [
    ['GET', '/v2/images'],
    ['GET', '/v2/schemas/image'],
    ['PUT', '/v2/images/x/file'],
    ['DELETE', '/v2/images/x'],
  ] as const) {
    const reply = await call(method, path, { token: '' });
    expect(reply.status).toBe(401);
    expect(reply.headers.get('www-authenticate')).toContain('/identity/v3');
  }
});

test('errors come as JSON, as a page, or as text, whatever the client likes', async () => {
  const json = await call('GET', '/v2/images/none');
  expect(json).toMatchObject({ status: 404, body: { code: '404 Not Found', title: 'Not Found', message: 'No image found with ID none' } });
  const html = await call('GET', '/v2/images/none', { headers: { accept: '*/*' } });
  expect(html.body.toString()).toContain('<title>404 Not Found</title>');
  const silent = await call('GET', '/v2/images/none', { headers: { accept: '' } });
  expect(silent.headers.get('content-type')).toContain('text/html');
  const wrongVerb = await call('PUT', '/v2/images');
  expect(wrongVerb.status).toBe(405);
  expect((await call('GET', '/v2/nothing')).status).toBe(404);
});

test('an image is made with everything that was said about it, flat', async () => {
  const said = {
    name: 'disk',
    min_disk: 3,
    min_ram: 64,
    tags: ['b', 'a', 'a'],
    protected: false,
    os_hidden: true,
    visibility: 'private',
    hw: 'x',
    ...raw,
  };
  const reply = await call('POST', '/v2/images', { body: said });
  expect(reply.status).toBe(201);
  expect(reply.headers.get('location')).toBe(`${base}/image/v2/images/${reply.body.id}`);
  expect(reply.headers.get('openstack-image-import-methods')).toBe('glance-direct');
  expect(reply.body).toMatchObject({
    ...said,
    tags: ['b', 'a'],
    status: 'queued',
    size: null,
    virtual_size: null,
    checksum: null,
    os_hash_algo: null,
    os_hash_value: null,
    self: `/v2/images/${reply.body.id}`,
    file: `/v2/images/${reply.body.id}/file`,
    schema: '/v2/schemas/image',
  });
  expect(reply.body.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect((await call('GET', `/v2/images/${reply.body.id}`)).body).toEqual(reply.body);
});

test.each([
  [{ status: 'active' }, 403],
  [{ created_at: 'x' }, 403],
  [{ checksum: null }, 403],
  [{ os_hash_value: 'x' }, 403],
  [{ self: 'x' }, 403],
  [{ location: 'file:///etc/passwd' }, 403],
  [{ locations: [{ url: 'file:///etc/passwd', metadata: {} }] }, 403],
  [{ deleted: 'x' }, 403],
  [{ os_glance_x: 'x' }, 403],
  [{ visibility: 'public' }, 403],
  [{ owner: 'somebody' }, 403],
  [{ name: 5 }, 400],
  [{ name: 'x'.repeat(256) }, 400],
  [{ min_disk: '5' }, 400],
  [{ min_disk: -1 }, 400],
  [{ min_ram: 2 ** 31 }, 400],
  [{ protected: 'true' }, 400],
  [{ visibility: 'secret' }, 400],
  [{ disk_format: 'floppy' }, 400],
  [{ tags: 'x' }, 400],
  [{ tags: ['x'.repeat(256)] }, 400],
  [{ any: 5 }, 400],
  [{ any: null }, 400],
  [{ any: { nested: 'x' } }, 400],
  [{ id: 'x' }, 400],
  [{ ['k'.repeat(256)]: 'x' }, 400],
  [[], 400],
  ['text', 400],
])('creation of %j is refused with %i', async (body, status) => {
  const reply = await call('POST', '/v2/images', { body });
  expect([reply.status, typeof reply.body.message]).toEqual([status, 'string']);
});

test('an id may be chosen, once', async () => {
  const id = '0b7d6b2e-4d5c-4d93-8a7b-1f1d4f7c9a10';
  await create({ id });
  expect((await call('POST', '/v2/images', { body: { id } })).status).toBe(409);
  expect((await call('DELETE', `/v2/images/${id}`)).status).toBe(204);
  expect((await call('POST', '/v2/images', { body: { id } })).status).toBe(409);
});

test('data goes up and comes down, whole and in parts', async () => {
  const { id } = await create(raw);
  expect((await call('GET', `/v2/images/${id}/file`)).status).toBe(204);
  const data = Buffer.concat([randomBytes(300_000), Buffer.alloc(200_000), randomBytes(100_000)]);
  expect((await upload(id, data)).status).toBe(204);
  const { body: image } = await call('GET', `/v2/images/${id}`);
  expect(image).toMatchObject({ status: 'active', size: data.length, virtual_size: data.length, os_hash_algo: 'sha512' });
  const whole = await call('GET', `/v2/images/${id}/file`);
  expect(whole.status).toBe(200);
  expect(whole.body.equals(data)).toBe(true);
  expect(whole.headers.get('content-md5')).toBe(image.checksum);
  expect(whole.headers.get('content-length')).toBe(String(data.length));
  expect(whole.headers.get('content-type')).toBe('application/octet-stream');
  for (const [range, start, end] of [
    ['bytes=0-0', 0, 1],
    ['bytes=100-299999', 100, 300_000],
    ['bytes=599990-', 599_990, 600_000],
    ['bytes=-10', 599_990, 600_000],
    ['bytes=-9999999', 0, 600_000],
    ['bytes=5-9999999', 5, 600_000],
  ] as const) {
    const part = await call('GET', `/v2/images/${id}/file`, { headers: { range } });
    expect([part.status, part.headers.get('content-range')], range).toEqual([206, `bytes ${start}-${end - 1}/600000`]);
    expect(part.body.equals(data.subarray(start, end)), range).toBe(true);
  }
  for (const range of ['bytes=600000-', 'bytes=5-4', 'bytes=-', 'bytes=x', 'lines=1-2', 'bytes=-0']) {
    expect((await call('GET', `/v2/images/${id}/file`, { headers: { range } })).status, range).toBe(416);
  }
  expect((await call('GET', `/v2/images/${id}/file`, { headers: { range: 'bytes=0-1,4-5' } })).status).toBe(400);
});

test('an upload in chunks of no announced length is taken', async () => {
  const { id } = await create(raw);
  const data = randomBytes(3 * mib);
  const status = await new Promise((resolve, reject) => {
    const headers = { 'x-auth-token': tokens.alpha, 'content-type': 'application/octet-stream', 'transfer-encoding': 'chunked' };
    const sender = httpRequest(`${base}/image/v2/images/${id}/file`, { method: 'PUT', headers }, (reply) => {
      reply.resume().on('end', () => resolve(reply.statusCode));
    });
    sender.on('error', reject);
    Readable.from([data.subarray(0, 10), data.subarray(10, mib), data.subarray(mib)]).pipe(sender);
  });
  expect(status).toBe(204);
  expect((await call('GET', `/v2/images/${id}/file`)).body.equals(data)).toBe(true);
});

test('an empty file is a file', async () => {
  const { id } = await create(raw);
  expect((await upload(id, new Uint8Array(0), { headers: { 'content-type': 'application/octet-stream' } })).status).toBe(204);
  const reply = await call('GET', `/v2/images/${id}/file`);
  expect([reply.status, reply.body.length]).toEqual([200, 0]);
});

test('an upload is refused for its type, its state, its owner, in time for the sender to read why', async () => {
  const { id } = await create(raw);
  const large = new Uint8Array(20 * mib);
  expect((await upload(id, large, { headers: { 'content-type': 'application/json' } })).status).toBe(415);
  expect((await upload(id, large, { token: tokens.beta })).status).toBe(404);
  expect((await upload((await create()).id, large)).status).toBe(400);
  expect((await upload(id, new Uint8Array(5))).status).toBe(204);
  const again = await upload(id, large);
  expect(again).toMatchObject({ status: 409, body: { message: 'Image status transition from active to saving is not allowed' } });
  const declared = await create({ ...raw, disk_format: 'qcow2' });
  const refused = await upload(declared.id, large);
  expect(refused.status).toBe(400);
  expect(refused.body.message).toContain('Image data is not acceptable');
  expect((await call('GET', `/v2/images/${declared.id}`)).body.status).toBe('queued');
});

test('a full store answers 413 in the middle of the upload, and the sender can read it', async () => {
  const { id } = await create(raw);
  under.freeBytes = 0;
  const reply = await upload(id, new Uint8Array(20 * mib));
  under.freeBytes = undefined;
  expect(reply).toMatchObject({ status: 413 });
  expect(reply.body.message).toContain('Image storage media is full');
});

test('a sender that hangs up leaves a queued image and no bytes', async () => {
  const { id } = await create(raw);
  const socket = connect(port, '127.0.0.1');
  socket.write(`PUT /image/v2/images/${id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: ${tokens.alpha}\r\n`);
  socket.write('Content-Type: application/octet-stream\r\nContent-Length: 5000000\r\n\r\n');
  socket.write(randomBytes(2 * mib));
  const status = async (): Promise<string> => (await call('GET', `/v2/images/${id}`)).body.status;
  while ((await status()) !== 'saving') await sleep(10);
  socket.destroy();
  while ((await status()) === 'saving') await sleep(10);
  expect(await status()).toBe('queued');
  const folder = join(under.imagesDir, id);
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  expect((await upload(id, randomBytes(1000))).status).toBe(204);
});

// Bounds of time: other work on the machine only ever makes this slower.
test('other requests are answered at once while a large image arrives', { retry: 2, timeout: 60_000 }, async () => {
  const { id } = await create(raw);
  const block = randomBytes(mib);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const sending = new Promise<number | undefined>((resolve, reject) => {
    const headers = { 'x-auth-token': tokens.alpha, 'content-type': 'application/octet-stream' };
    const sender = httpRequest(`${base}/image/v2/images/${id}/file`, { method: 'PUT', headers }, (reply) => {
      reply.resume().on('end', () => resolve(reply.statusCode));
    });
    sender.on('error', reject);
    Readable.from(
      (function* () {
        for (let i = 0; i < 128; i += 1) yield block;
      })(),
    ).pipe(sender);
  });
  const answerTimesMs: number[] = [];
  let isSending = true;
  void sending.finally(() => {
    isSending = false;
  });
  while (isSending) {
    const started = performance.now();
    expect((await call('GET', `/v2/images/${id}`)).status).toBe(200);
    answerTimesMs.push(performance.now() - started);
    await sleep(10);
  }
  delay.disable();
  expect(await sending).toBe(204);
  answerTimesMs.sort((a, b) => a - b);
  // Sender and client run on this same event loop, so the bound is wide.
  expect(answerTimesMs[Math.floor(answerTimesMs.length * 0.95)]).toBeLessThan(150);
  expect(delay.percentile(99) / 1e6).toBeLessThan(100);
});

test('a patch changes attributes and properties', async () => {
  const { id } = await create({ old: 'x', keep: 'y' });
  const reply = await patch(id, [
    { op: 'replace', path: '/name', value: 'new' },
    { op: 'add', path: '/hw_qemu_guest_agent', value: 'yes' },
    { op: 'add', path: '/keep', value: 'z' },
    { op: 'add', path: '/with~1slash~0', value: 'v' },
    { op: 'remove', path: '/old' },
    { op: 'add', path: '/tags', value: ['one', 'two'] },
    { op: 'replace', path: '/min_disk', value: 7 },
    { op: 'replace', path: '/os_hidden', value: true },
  ]);
  expect(reply.status).toBe(200);
  expect(reply.body).toMatchObject({
    name: 'new',
    hw_qemu_guest_agent: 'yes',
    keep: 'z',
    'with/slash~': 'v',
    tags: ['one', 'two'],
    min_disk: 7,
    os_hidden: true,
  });
  expect(reply.body.old).toBeUndefined();
});

test('the older form of a patch refuses to add what is there', async () => {
  const { id } = await create({ old: 'x' });
  const headers = { 'content-type': 'application/openstack-images-v2.0-json-patch' };
  expect(
    (
      await patch(
        id,
        [
          { add: '/new', value: 'y' },
          { replace: '/old', value: 'z' },
        ],
        { headers },
      )
    ).body,
  ).toMatchObject({ new: 'y', old: 'z' });
  expect((await patch(id, [{ add: '/old', value: 'y' }], { headers })).status).toBe(409);
  expect((await patch(id, [{ add: '/a', remove: '/b', value: 'y' }], { headers })).status).toBe(400);
});

test.each([
  [[{ op: 'replace', path: '/missing', value: 'x' }], 409],
  [[{ op: 'remove', path: '/missing' }], 409],
  [[{ op: 'remove', path: '/name' }], 403],
  [[{ op: 'replace', path: '/status', value: 'active' }], 403],
  [[{ op: 'replace', path: '/id', value: 'x' }], 403],
  [[{ op: 'add', path: '/size', value: 5 }], 403],
  [[{ op: 'add', path: '/os_hash_value', value: 'x' }], 403],
  [[{ op: 'add', path: '/deleted', value: 'x' }], 403],
  [[{ op: 'add', path: '/os_glance_x', value: 'x' }], 403],
  [[{ op: 'add', path: '/locations/-', value: { url: 'file:///etc/passwd', metadata: {} } }], 403],
  [[{ op: 'replace', path: '/locations', value: [] }], 403],
  [[{ op: 'replace', path: '/owner', value: 'x' }], 403],
  [[{ op: 'replace', path: '/visibility', value: 'public' }], 403],
  [[{ op: 'replace', path: '/min_disk', value: 'x' }], 400],
  [[{ op: 'replace', path: '/min_disk', value: -1 }], 400],
  [[{ op: 'add', path: '/any', value: 5 }], 400],
  [[{ op: 'add', path: '/any' }], 400],
  [[{ op: 'add', path: '/a/b', value: 'x' }], 400],
  [[{ op: 'add', path: 'a', value: 'x' }], 400],
  [[{ op: 'add', path: '/a~2', value: 'x' }], 400],
  [[{ op: 'move', path: '/a', from: '/b' }], 400],
  [[{ path: '/a', value: 'x' }], 400],
  [{ op: 'add', path: '/a', value: 'x' }, 400],
  [['x'], 400],
  [[{ op: 'add', path: '/__proto__', value: 'x' }], 200],
])('the patch %j is answered with %i', async (changes, status) => {
  const { id } = await create();
  expect((await patch(id, changes)).status).toBe(status);
});

test('a patch of another type is refused, and the answer says which types are not', async () => {
  const { id } = await create();
  for (const type of ['application/json', 'text/plain']) {
    const reply = await patch(id, [], { headers: { 'content-type': type } });
    expect(reply.status).toBe(415);
    expect(reply.headers.get('accept-patch')).toContain('application/openstack-images-v2.1-json-patch');
  }
});

test('tags come and go one by one', async () => {
  const { id } = await create();
  const tag = `a b/${'ü'.repeat(100)}`;
  const at = (name: string) => `/v2/images/${id}/tags/${encodeURIComponent(name)}`;
  expect((await call('PUT', at(tag), { headers: { 'content-type': 'application/octet-stream' } })).status).toBe(204);
  expect((await call('PUT', at(tag))).status).toBe(204);
  expect((await call('GET', `/v2/images/${id}`)).body.tags).toEqual([tag]);
  expect((await call('PUT', at('x'.repeat(256)))).status).toBe(400);
  expect((await call('DELETE', at('other'))).status).toBe(404);
  expect((await call('DELETE', at(tag))).status).toBe(204);
  expect((await call('PUT', at('x'), { token: tokens.beta })).status).toBe(404);
});

test('deactivation closes the data, and only from active', async () => {
  const { id } = await create(raw);
  expect((await call('POST', `/v2/images/${id}/actions/deactivate`)).status).toBe(403);
  await upload(id, randomBytes(10));
  for (const action of ['deactivate', 'deactivate']) expect((await call('POST', `/v2/images/${id}/actions/${action}`)).status).toBe(204);
  expect((await call('GET', `/v2/images/${id}/file`)).status).toBe(403);
  expect((await call('GET', `/v2/images/${id}/file`, { token: tokens.admin })).status).toBe(200);
  expect((await call('POST', `/v2/images/${id}/actions/reactivate`)).status).toBe(204);
  expect((await call('GET', `/v2/images/${id}/file`)).status).toBe(200);
});

test('deletion answers 204, 403 while protected, 404 for strangers and afterwards', async () => {
  const { id } = await create({ protected: true });
  expect((await call('DELETE', `/v2/images/${id}`)).status).toBe(403);
  expect((await call('DELETE', `/v2/images/${id}`, { token: tokens.beta })).status).toBe(404);
  await patch(id, [{ op: 'replace', path: '/protected', value: false }]);
  expect((await call('DELETE', `/v2/images/${id}`)).status).toBe(204);
  const again = await call('DELETE', `/v2/images/${id}`);
  expect(again).toMatchObject({ status: 404, body: { message: `Failed to find image ${id} to delete` } });
});

test('a list is filtered, sorted and paged by its links', async () => {
  const group = `g${randomBytes(4).toString('hex')}`;
  for (const name of ['c', 'a', 'b', 'd', 'e']) await create({ name, group, min_ram: name.charCodeAt(0) });
  const names = async (query: string) =>
    (await call('GET', `/v2/images?group=${group}${query}`)).body.images.map((image: { name: string }) => image.name);
  expect(await names('')).toEqual(['e', 'd', 'b', 'a', 'c']);
  expect(await names('&sort=name:asc')).toEqual(['a', 'b', 'c', 'd', 'e']);
  expect(await names('&sort_key=status&sort_dir=asc&sort_key=name&sort_dir=desc')).toEqual(['e', 'd', 'c', 'b', 'a']);
  expect(await names('&name=in:a,"b",zz&sort_key=name&sort_dir=asc')).toEqual(['a', 'b']);
  expect(await names('&name=c')).toEqual(['c']);
  expect(await names('&min_ram_min=100&sort=name:asc')).toEqual(['d', 'e']);
  expect(await names('&status=active')).toEqual([]);
  expect(await names('&created_at=gt:2020-01-01T00:00:00Z&created_at=lt:2100-01-01T00:00:00Z')).toHaveLength(5);
  expect(await names('&visibility=private')).toEqual([]);
  expect(await names('&limit=0')).toEqual([]);
  const seen: string[] = [];
  let next: string | undefined = `/v2/images?group=${group}&limit=2&sort=name:asc`;
  for (let pages = 0; next !== undefined && pages < 10; pages += 1) {
    const { body } = await call('GET', next);
    expect(body).toMatchObject({ schema: '/v2/schemas/images', first: `/v2/images?group=${group}&limit=2&sort=name%3Aasc` });
    seen.push(...body.images.map((image: { name: string }) => image.name));
    next = body.next;
  }
  expect(seen).toEqual(['a', 'b', 'c', 'd', 'e']);
  const [last] = (await call('GET', `/v2/images?group=${group}&name=c`)).body.images;
  const repeats = Array.from({ length: 400 }, () => 'name:asc').join();
  expect(await names(`&sort=${repeats}&marker=${last.id}`)).toEqual(['d', 'e']);
});

test.each([
  'limit=x',
  'limit=-1',
  'marker=x',
  'marker=7d1c4b0e-5a7f-4d52-9c2e-0f6f7f1d3a11',
  'sort=colour',
  'sort=name:up',
  'sort=name&sort_key=id',
  'sort_key=name&sort_dir=asc&sort_dir=desc',
  'visibility=x',
  'member_status=x',
  'os_hidden=maybe',
  'protected=maybe',
  'size_min=x',
  'created_at=yesterday',
  'created_at=0000-01-01T00:00:00Z',
  'created_at=gt:0001-01-01T00:30:00%2B01:00',
  'updated_at=lt:9999-12-31T23:59:00-01:00',
  'created_at=around:2020-01-01T00:00:00Z',
  'name=like:x',
  'name=in:"x',
  'changes-since=2020-01-01',
])('a list with %s is refused', async (query) => {
  expect((await call('GET', `/v2/images?${query}`)).status).toBe(400);
});

test('definitions of any number and length are taken or refused, and never take long', async () => {
  const send = (method: string, path: string, body: object) =>
    call(method, `/v2/metadefs/namespaces${path}`, { token: tokens.admin, body });
  const property = { title: 'a', type: 'string' };
  expect((await send('POST', '', { namespace: 'large', properties: { ['x'.repeat(256)]: property } })).status).toBe(400);
  expect((await send('POST', '', { namespace: 'large', properties: { '': property } })).status).toBe(400);
  expect((await send('POST', '', { namespace: 'large', properties: { ['x'.repeat(255)]: property } })).status).toBe(201);
  const names = Array.from({ length: 60_000 }, (_, index) => `${index % 2}`);
  const repeated = await send('POST', '/large/objects', { name: 'one', required: names });
  expect(repeated.status).toBe(400);
  expect((await send('POST', '/large/objects', { name: 'one', required: ['a', 'a'] })).body.message).toContain('non-unique');
  expect((await send('POST', '/large/objects', { name: 'one', required: ['a', 'b'] })).status).toBe(201);
  // More than one statement has parameters for.
  const tags = Array.from({ length: 11_000 }, (_, index) => ({ name: String(index) }));
  const made = await send('POST', '/large/tags', { tags });
  expect([made.status, made.body.tags?.length]).toEqual([201, tags.length]);
});

test('the schemas describe what is sent', async () => {
  const { body: schema } = await call('GET', '/v2/schemas/image');
  const image = await create();
  for (const key of Object.keys(image)) expect(schema.properties[key], key).toBeDefined();
  expect(schema.properties.status.readOnly).toBe(true);
  expect(schema.additionalProperties).toEqual({ type: 'string' });
  const { body: images } = await call('GET', '/v2/schemas/images');
  expect(images.properties.images.items).toEqual(schema);
});
