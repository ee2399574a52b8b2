/** Staging, imports, members and quotas of images, below the wire: real database, real files, real jobs. */
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createImageLimitQuotas } from '../../src/cloud/quotas/image-limits.ts';
import { callerOf, type ImagesUnderTest, newProject, startImages } from '../support/images.ts';

const admin = callerOf('admins', ['admin']);
let under: ImagesUnderTest;
let web: { readonly url: string; close(): void };
let served = Buffer.alloc(0);
let announced: number | undefined;
let asked = 0;

beforeAll(async () => {
  const server = createServer((_request, response) => {
    asked += 1;
    if (announced === undefined) return void response.end(served);
    response.setHeader('content-length', announced);
    response.write('x');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  web = { url: `http://127.0.0.1:${port}/image`, close: () => void server.close().closeAllConnections() };
  under = await startImages({ download: { allowedNetworks: ['127.0.0.1'], allowedPorts: [port] } });
});
afterAll(async () => {
  web.close();
  await under.stop();
});

const raw = { diskFormat: 'raw', containerFormat: 'bare', properties: {} } as const;
type Owner = ReturnType<typeof callerOf>;

async function* bodyOf(data: Buffer): AsyncGenerator<Buffer> {
  yield data;
}
const stage = (owner: Owner, id: string, data: Buffer) =>
  under.images.stage(owner, id, { stream: bodyOf(data), expectedBytes: data.length });
const upload = (owner: Owner, id: string, data: Buffer) =>
  under.images.upload(owner, id, { stream: bodyOf(data), expectedBytes: undefined });

function begin(owner: Owner, id: string, uri?: string): Promise<void> {
  const method = uri === undefined ? 'glance-direct' : 'web-download';
  return under.images.imports.begin(owner, id, { method, uri, request: { method: { name: method } } });
}

async function imported(owner: Owner, id: string): Promise<string> {
  const [task] = await under.images.imports.tasksOf(owner, id);
  if (task === undefined) throw new Error('no task');
  await under.jobs.settled(task.id);
  return (await under.images.show(owner, id)).status;
}

async function bytesOf(owner: Owner, id: string): Promise<Buffer> {
  const download = await under.images.download(owner, id);
  if (download === undefined) throw new Error('no data');
  return await buffer(await download.read({ start: 0, end: download.sizeBytes - 1 }));
}

const kindOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: { kind?: string }) => error.kind ?? String(error),
  );

test('what was staged waits, survives a restart, and is imported', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, raw);
  const data = Buffer.alloc(100_000, 'staged');
  expect(await kindOf(begin(owner, id))).toBe('conflict');
  await stage(owner, id, data);
  expect(await under.images.show(owner, id)).toMatchObject({ status: 'uploading', sizeBytes: null, staged: { sizeBytes: data.length } });
  expect(await kindOf(stage(owner, id, data))).toBe('conflict');
  expect(await kindOf(upload(owner, id, data))).toBe('conflict');
  await under.restart();
  await begin(owner, id);
  expect(await imported(owner, id)).toBe('active');
  expect((await bytesOf(owner, id)).equals(data)).toBe(true);
  const [task] = await under.images.imports.tasksOf(owner, id);
  expect(task).toMatchObject({ status: 'success', imageId: id, requestId: owner.requestId, userId: owner.userId });
  expect(await kindOf(begin(owner, id))).toBe('conflict');
});

test('an import of what is not the declared format fails, and the image is queued with nothing left', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, { ...raw, diskFormat: 'vmdk' });
  await stage(owner, id, Buffer.alloc(5000, 'version=1\nRW 1 FLAT "/etc/passwd" 0\n'));
  await begin(owner, id);
  expect(await imported(owner, id)).toBe('queued');
  const [task] = await under.images.imports.tasksOf(owner, id);
  expect(task?.status).toBe('failure');
  expect(task?.message).toContain('Image data is not acceptable');
  expect((await under.images.show(owner, id)).staged).toBeNull();
});

test('an image without formats is not imported', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, { properties: {} });
  await stage(owner, id, Buffer.alloc(10));
  await expect(begin(owner, id)).rejects.toThrow("'container_format' needs to be set before import");
  const set = (values: object) => under.images.update(owner, id, [{ kind: 'attribute', op: 'replace', wireName: 'disk_format', values }]);
  await set({ diskFormat: 'raw' });
  await set({ containerFormat: 'bare' });
  expect(await kindOf(set({ diskFormat: 'qcow2' }))).toBe('forbidden');
  await begin(owner, id);
  expect(await imported(owner, id)).toBe('active');
  expect(await kindOf(set({ diskFormat: 'qcow2' }))).toBe('forbidden');
});

test('imports are told to whoever sees the project of the image, in words that say nothing of the inside', async () => {
  const [owner, other] = [callerOf(newProject()), callerOf(newProject())];
  const { id } = await under.images.create(owner, { ...raw, visibility: 'community' });
  await stage(owner, id, Buffer.alloc(5000, 1));
  const { staged } = await under.images.show(owner, id);
  const lost = (await readdir(join(under.imagesDir, id))).filter((name) => name.includes(staged?.uploadId ?? ''));
  expect(lost).not.toEqual([]);
  for (const name of lost) await rm(join(under.imagesDir, id, name));
  await begin(owner, id);
  expect(await imported(owner, id)).toBe('queued');
  expect(await under.images.imports.tasksOf(owner, id)).toMatchObject([
    { status: 'failure', message: 'The import failed within the service.' },
  ]);
  expect(await under.images.imports.tasksOf(admin, id)).toHaveLength(1);
  expect((await under.images.show(other, id)).id).toBe(id);
  expect(await under.images.imports.tasksOf(other, id)).toEqual([]);
});

test('a staged image can be deleted', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, raw);
  await stage(owner, id, Buffer.alloc(5000, 1));
  await under.images.delete(owner, id);
  for (const saga of await under.jobs.find(id)) await under.jobs.settled(saga.id);
  expect(await kindOf(under.images.show(owner, id))).toBe('not-found');
});

test('an image is fetched from the web', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, raw);
  served = Buffer.alloc(300_000, 'web');
  await begin(owner, id, web.url);
  expect(await imported(owner, id)).toBe('active');
  expect((await bytesOf(owner, id)).equals(served)).toBe(true);
});

test('an image that is announced as larger than allowed is not fetched, and nothing is reserved for it', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, raw);
  announced = 2 ** 41;
  await begin(owner, id, web.url);
  expect(await imported(owner, id)).toBe('queued');
  announced = undefined;
  const [task] = await under.images.imports.tasksOf(owner, id);
  expect(task?.message).toContain('The incoming image is too large');
});

test('imports from the web connect when it is their turn', async () => {
  const owner = callerOf(newProject());
  // As many uploads as are taken at once, none of which sends anything before the import had time to connect.
  const uploads = Promise.withResolvers<void>();
  async function* waiting(): AsyncGenerator<Buffer> {
    await uploads.promise;
    yield Buffer.alloc(100, 1);
  }
  const ids = await Promise.all([1, 2, 3, 4, 5].map(async () => (await under.images.create(owner, raw)).id));
  const [last = '', ...first] = ids;
  const sent = first.map((id) => under.images.upload(owner, id, { stream: waiting(), expectedBytes: undefined }));
  for (const id of first) await vi.waitFor(async () => expect((await under.images.show(owner, id)).status).toBe('saving'));
  served = Buffer.alloc(1000, 1);
  const before = asked;
  await begin(owner, last, web.url);
  const [task] = await under.images.imports.tasksOf(owner, last);
  await vi.waitFor(async () => expect(existsSync(join(under.imagesDir, last))).toBe(true));
  // Some round trips, in which it would have connected long ago.
  for (let trips = 1; trips <= 10; trips += 1) {
    await (await fetch(web.url)).arrayBuffer();
    expect(asked).toBe(before + trips);
  }
  uploads.resolve();
  await Promise.all(sent);
  await under.jobs.settled(task?.id ?? '');
  expect(asked).toBe(before + 11);
});

test('an address that is not allowed is refused at once', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, raw);
  for (const uri of ['http://169.254.169.254/', 'file:///etc/passwd', 'http://127.0.0.1:1/'])
    expect(await kindOf(begin(owner, id, uri))).toBe('bad-request');
  expect((await under.images.show(owner, id)).status).toBe('queued');
});

test('a shared image is reached by its members, and listed when they accepted it', async () => {
  const [owner, member, stranger] = [callerOf(newProject()), callerOf(newProject()), callerOf(newProject())];
  const { members } = under.images;
  const { id } = await under.images.create(owner, raw);
  const project = member.projectId ?? '';
  expect(await kindOf(under.images.show(member, id))).toBe('not-found');
  expect(await kindOf(members.add(member, id, project))).toBe('not-found');
  expect(await members.add(owner, id, project)).toMatchObject({ memberId: project, status: 'pending' });
  expect(await kindOf(members.add(owner, id, project))).toBe('conflict');
  expect((await under.images.show(member, id)).id).toBe(id);
  expect(await kindOf(under.images.show(stranger, id))).toBe('not-found');
  const listed = async (memberStatus: 'accepted' | 'pending' | 'all', visibility?: 'shared' | 'all') => {
    const filters = {
      hidden: false,
      memberStatus,
      tags: [],
      texts: [],
      numbers: [],
      times: [],
      properties: [],
      ...(visibility && { visibility }),
    };
    const sort = [{ key: 'id', direction: 'asc' }] as const;
    return (await under.images.list(member, { filters, sort, limit: 100, marker: undefined })).some((image) => image.id === id);
  };
  expect([await listed('accepted'), await listed('pending', 'shared'), await listed('all', 'all')]).toEqual([false, true, true]);
  expect(await kindOf(members.setStatus(owner, id, project, 'accepted'))).toBe('forbidden');
  expect(await kindOf(members.setStatus(member, id, 'nobody', 'accepted'))).toBe('not-found');
  await members.setStatus(member, id, project, 'accepted');
  expect([await listed('accepted'), await listed('pending')]).toEqual([true, false]);
  expect(await kindOf(under.images.update(member, id, []))).toBe('forbidden');
  expect(await kindOf(members.remove(member, id, project))).toBe('forbidden');
  await members.remove(owner, id, project);
  expect(await kindOf(members.remove(owner, id, project))).toBe('not-found');
  expect(await listed('all')).toBe(false);
});

test('an image that is not shared has no members', async () => {
  const owner = callerOf(newProject());
  const { id } = await under.images.create(owner, { ...raw, visibility: 'private' });
  expect(await kindOf(under.images.members.add(owner, id, 'someone'))).toBe('forbidden');
  expect(await kindOf(under.images.members.list(owner, id))).toBe('forbidden');
});

test('limits of a project hold for images, their bytes and what is staged, also when two ask at once', async () => {
  const owner = callerOf(newProject());
  const limits = createImageLimitQuotas({ database: under.db.database });
  const project = owner.projectId ?? '';
  expect(await kindOf(limits.set(owner, project, { image_count_total: 1 }))).toBe('forbidden');
  expect(await kindOf(limits.set(admin, project, { nonsense: 1 }))).toBe('bad-request');
  await limits.set(admin, project, { image_count_total: 2, image_size_total: 1, image_stage_total: 0 });
  const made = await Promise.allSettled([1, 2, 3].map(() => under.images.create(owner, raw)));
  const ids = made.flatMap((result) => (result.status === 'fulfilled' ? [result.value.id] : []));
  expect(ids).toHaveLength(2);
  const [first = '', second = ''] = ids;
  expect(await kindOf(stage(owner, first, Buffer.alloc(10)))).toBe('too-large');
  await upload(owner, first, Buffer.alloc(600_000, 1));
  expect(await kindOf(upload(owner, second, Buffer.alloc(600_000, 1)))).toBe('too-large');
  expect((await under.images.show(owner, second)).status).toBe('queued');
  expect(await under.images.usage(owner)).toMatchObject({
    image_count_total: { limit: 2, usage: 2 },
    image_size_total: { limit: 1, usage: 0 },
  });
});

test('uploads and imports that are being prepared count: of two at once one is refused', async () => {
  const limits = createImageLimitQuotas({ database: under.db.database });
  const data = Buffer.alloc(600_000, 1);
  served = data;
  const ways: readonly ((owner: Owner, id: string) => Promise<unknown>)[] = [
    (owner, id) => upload(owner, id, data),
    (owner, id) => stage(owner, id, data),
    (owner, id) => begin(owner, id, web.url),
  ];
  for (const way of ways) {
    const owner = callerOf(newProject());
    await limits.set(admin, owner.projectId ?? '', { image_size_total: 1 });
    const ids = await Promise.all([1, 2].map(async () => (await under.images.create(owner, raw)).id));
    await Promise.allSettled(ids.map((id) => way(owner, id)));
    if (way === ways[1]) {
      expect(await under.images.usage(owner)).toMatchObject({ image_size_total: { usage: 0 }, image_stage_total: { usage: 1 } });
      const begun = await Promise.all(ids.map((id) => kindOf(begin(owner, id))));
      expect(begun.sort()).toEqual(['none', 'too-large']);
    }
    for (const saga of (await Promise.all(ids.map((id) => under.jobs.find(id)))).flat()) await under.jobs.settled(saga.id);
    const statuses = await Promise.all(ids.map(async (id) => (await under.images.show(owner, id)).status));
    expect(statuses.sort()).toEqual(['active', way === ways[1] ? 'uploading' : 'queued']);
  }
});
