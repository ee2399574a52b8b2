import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { callerOf, type ImagesUnderTest, newProject, startImages } from '../../../test/support/images.ts';
import { openDisk } from '../../engine/disk/open-disk.ts';
import type { Caller } from '../identity/caller.ts';
import type { Image, NewImage } from './image.ts';
import type { ImageFilters, ImageQuery } from './list.ts';

const mib = 1024 * 1024;
let under: ImagesUnderTest;
let caller: Caller;
const admin = callerOf('admins', ['admin', 'member', 'reader']);

beforeAll(async () => {
  under = await startImages({ limits: { uploadBytesMax: 64 * mib, virtualBytesMax: 2 ** 40 } });
});
afterAll(() => under.stop());
beforeEach(() => {
  under.freeBytes = undefined;
  caller = callerOf(newProject());
});

const raw = { diskFormat: 'raw', containerFormat: 'bare' } as const;
const qcow2 = { diskFormat: 'qcow2', containerFormat: 'bare' } as const;
const create = (order: Partial<NewImage> = {}, as = caller): Promise<Image> => under.images.create(as, { properties: {}, ...order });

async function* bodyOf(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
const put = (id: string, data: Uint8Array, expectedBytes: number | undefined = data.length): Promise<void> =>
  under.images.upload(caller, id, { stream: bodyOf(data), expectedBytes });

async function active(order: Partial<NewImage>, data: Uint8Array): Promise<Image> {
  const image = await create(order);
  await put(image.id, data);
  return await under.images.show(caller, image.id);
}

async function bytesOf(id: string, range?: { start: number; end: number }): Promise<Buffer> {
  const download = await under.images.download(caller, id);
  if (download === undefined) throw new Error('no data');
  return await buffer(await download.read(range ?? { start: 0, end: download.sizeBytes - 1 }));
}

async function source(image: Image) {
  return await under.db.database.transact((tx) => under.images.sources.sourceFor(tx, caller, image.id));
}

async function diskOf(image: Image): Promise<Buffer> {
  const { pointId } = await source(image);
  const reader = openDisk(await under.disks.sourceOf(pointId));
  const disk = Buffer.alloc(reader.sizeBytes);
  reader.readSync(disk, 0);
  reader.close();
  return disk;
}

const filesOf = (id: string): string[] => (existsSync(join(under.imagesDir, id)) ? readdirSync(join(under.imagesDir, id)) : []);

async function idle(id: string): Promise<void> {
  for (const saga of await under.jobs.find(id)) await under.jobs.settled(saga.id);
  await under.disks.idle();
}

function makeQcow2(content: Buffer, ...args: string[]): Buffer {
  const [from, to] = [join(under.folder, 'made.raw'), join(under.folder, 'made.qcow2')];
  writeFileSync(from, content);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, from, to]);
  return readFileSync(to);
}

const kindOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'nothing was refused',
    (error: unknown) => (error as { kind?: string }).kind ?? String(error),
  );

test('a raw image comes back byte for byte, and shares its bytes with the base of its volumes', async () => {
  const data = Buffer.concat([randomBytes(mib), Buffer.alloc(3 * mib), randomBytes(mib)]);
  const image = await active(raw, data);
  expect(image).toMatchObject({ status: 'active', sizeBytes: data.length, virtualBytes: data.length, hashAlgorithm: 'sha512' });
  expect((await bytesOf(image.id)).equals(data)).toBe(true);
  expect((await diskOf(image)).equals(data)).toBe(true);
  expect(filesOf(image.id)).toEqual(['data']);
  expect(statSync(join(under.imagesDir, image.id, 'data')).nlink).toBe(2);
});

test('a qcow2 image comes back as it was sent, and its disk is what it describes', async () => {
  const content = Buffer.concat([randomBytes(mib), Buffer.alloc(5 * mib), randomBytes(mib)]);
  const data = makeQcow2(content, '-c');
  const image = await active(qcow2, data);
  expect(image).toMatchObject({ status: 'active', sizeBytes: data.length, virtualBytes: content.length });
  expect((await bytesOf(image.id)).equals(data)).toBe(true);
  expect((await diskOf(image)).equals(content)).toBe(true);
});

test('a raw image of an odd length has a base that ends on a sector', async () => {
  const data = randomBytes(100_001);
  const image = await active(raw, data);
  expect((await bytesOf(image.id)).equals(data)).toBe(true);
  const disk = await diskOf(image);
  expect(disk.length).toBe(100_352);
  expect(disk.subarray(0, data.length).equals(data)).toBe(true);
});

test('bytes that were declared raw and look like another format are refused, and the image is queued again', async () => {
  const image = await create(raw);
  expect(await kindOf(put(image.id, makeQcow2(randomBytes(mib))))).toBe('bad-request');
  expect((await under.images.show(caller, image.id)).status).toBe('queued');
});

test('formats that are not opened are kept as they are, and no volume starts from them', async () => {
  const image = await active({ diskFormat: 'vmdk', containerFormat: 'ova' }, Buffer.from('KDMV'));
  expect(image).toMatchObject({ status: 'active', virtualBytes: null, pointId: null });
  expect((await bytesOf(image.id)).toString()).toBe('KDMV');
  expect(await kindOf(source(image))).toBe('bad-request');
});

test('an empty file makes an active image of no bytes', async () => {
  const image = await active(raw, Buffer.alloc(0));
  expect(image).toMatchObject({ status: 'active', sizeBytes: 0, pointId: null });
});

test('parts of the data can be read', async () => {
  const data = randomBytes(500_000);
  const image = await active(raw, data);
  expect((await bytesOf(image.id, { start: 499_990, end: 499_999 })).equals(data.subarray(499_990))).toBe(true);
  expect((await bytesOf(image.id, { start: 70_000, end: 200_000 })).equals(data.subarray(70_000, 200_001))).toBe(true);
});

test.each([
  ['is no qcow2 file', () => randomBytes(100_000)],
  [
    'has a backing file',
    () => {
      const path = join(under.folder, 'backed.qcow2');
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', path, '1M']);
      return readFileSync(path);
    },
  ],
  [
    'was cut short',
    () => {
      const data = makeQcow2(randomBytes(2 * mib));
      return data.subarray(0, data.length - 70_000);
    },
  ],
])('a declared qcow2 that %s is refused, and the image is queued for another try', async (_name, make) => {
  const image = await create(qcow2);
  expect(await kindOf(put(image.id, make()))).toBe('bad-request');
  expect(await under.images.show(caller, image.id)).toMatchObject({ status: 'queued', sizeBytes: null, checksum: null, hashValue: null });
  expect(filesOf(image.id)).toEqual([]);
  await put(image.id, makeQcow2(randomBytes(mib)));
  expect(await under.images.show(caller, image.id)).toMatchObject({ status: 'active', virtualBytes: mib });
});

test('of two uploads at once the second is refused, and does no harm', async () => {
  const image = await create(raw);
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  async function* slow(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('first');
    await held;
  }
  const first = under.images.upload(caller, image.id, { stream: slow(), expectedBytes: undefined });
  await sleep(50);
  expect((await under.images.show(caller, image.id)).status).toBe('saving');
  expect(await kindOf(put(image.id, Buffer.from('second')))).toBe('conflict');
  release();
  await first;
  expect((await bytesOf(image.id)).toString()).toBe('first');
  expect(await kindOf(put(image.id, Buffer.from('third')))).toBe('conflict');
});

test('an image without formats takes no data', async () => {
  const image = await create();
  await expect(put(image.id, Buffer.from('x'))).rejects.toThrow(
    'Properties disk_format, container_format must be set prior to saving data.',
  );
});

test('a sender that goes away, lies about the length or sends too much leaves the image queued', async () => {
  const image = await create(raw);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield randomBytes(mib);
    throw new Error('aborted');
  }
  await expect(under.images.upload(caller, image.id, { stream: broken(), expectedBytes: 2 * mib })).rejects.toThrow('aborted');
  expect(await kindOf(put(image.id, randomBytes(10), 11))).toBe('bad-request');
  expect(await kindOf(put(image.id, Buffer.alloc(65 * mib), undefined))).toBe('too-large');
  expect(await kindOf(put(image.id, Buffer.alloc(1), 65 * mib))).toBe('too-large');
  expect((await under.images.show(caller, image.id)).status).toBe('queued');
  expect(filesOf(image.id)).toEqual([]);
});

test('no room is a refusal, while bytes arrive and before they are unpacked', async () => {
  const image = await create(qcow2);
  under.freeBytes = 0;
  await expect(put(image.id, randomBytes(1000))).rejects.toThrow('Image storage media is full');
  under.freeBytes = 2 * mib;
  const bomb = makeQcow2(Buffer.alloc(8 * mib, 'a'), '-c');
  expect(bomb.length).toBeLessThan(mib);
  expect(await kindOf(put(image.id, bomb))).toBe('too-large');
  expect((await under.images.show(caller, image.id)).status).toBe('queued');
});

test('a deleted image is gone at once, its files soon after, and volumes could still be made meanwhile', async () => {
  const image = await active(raw, randomBytes(mib));
  const base = (await under.disks.sourceOf((await source(image)).pointId)).layers[0]?.path ?? '';
  expect(existsSync(base)).toBe(true);
  await under.images.delete(caller, image.id);
  expect(await kindOf(under.images.show(caller, image.id))).toBe('not-found');
  await idle(image.id);
  expect(filesOf(image.id)).toEqual([]);
  await under.disks.tidy();
  expect(existsSync(base)).toBe(false);
  expect(await kindOf(create({ ...raw, id: image.id }))).toBe('conflict');
});

test('a download that runs while its image is deleted ends whole, and keeps the base from being given up', async () => {
  const data = randomBytes(3 * mib);
  const image = await active(raw, data);
  const { pointId } = await source(image);
  const download = await under.images.download(caller, image.id);
  const stream = await download?.read({ start: 0, end: data.length - 1 });
  await under.images.delete(caller, image.id);
  await sleep(100);
  expect(await under.disks.sourceOf(pointId)).toBeDefined();
  expect(stream && (await buffer(stream)).equals(data)).toBe(true);
  await idle(image.id);
  await expect(under.disks.sourceOf(pointId)).rejects.toThrow('nobody holds');
});

test('an image that is deleted while it arrives answers the sender that it is gone', async () => {
  const image = await create(raw);
  async function* slow(): AsyncGenerator<Uint8Array> {
    yield randomBytes(mib);
    await new Promise(() => {});
  }
  const upload = kindOf(under.images.upload(caller, image.id, { stream: slow(), expectedBytes: undefined }));
  await sleep(50);
  await under.images.delete(caller, image.id);
  expect(await upload).toBe('gone');
  await idle(image.id);
  expect(filesOf(image.id)).toEqual([]);
});

test('after a restart an interrupted upload is queued again and its bytes are gone; active images stay', async () => {
  const good = await active(raw, randomBytes(1000));
  const image = await create(raw);
  async function* slow(): AsyncGenerator<Uint8Array> {
    yield randomBytes(mib);
    await new Promise(() => {});
  }
  const upload = kindOf(under.images.upload(caller, image.id, { stream: slow(), expectedBytes: undefined }));
  await sleep(50);
  await under.restart();
  await upload;
  // What a killed process leaves: the row in saving, files of the attempt, files of an image that is no more.
  await under.db.database.sql.updateTable('images').set({ status: 'saving' }).where('id', '=', image.id).execute();
  writeFileSync(join(under.imagesDir, good.id, 'upload-x'), 'left over');
  const folder = join(under.imagesDir, image.id);
  execFileSync('mkdir', ['-p', folder, join(under.imagesDir, '7d1c4b0e-5a7f-4d52-9c2e-0f6f7f1d3a11')]);
  writeFileSync(join(folder, 'upload-y'), 'left over');
  await under.restart();
  expect((await under.images.show(caller, image.id)).status).toBe('queued');
  expect(filesOf(image.id)).toEqual([]);
  expect(existsSync(join(under.imagesDir, '7d1c4b0e-5a7f-4d52-9c2e-0f6f7f1d3a11'))).toBe(false);
  expect(filesOf(good.id)).toEqual(['data']);
  await put(image.id, Buffer.from('again'));
  expect((await under.images.show(caller, image.id)).status).toBe('active');
});

test('others see public and community images, and no private or shared ones', async () => {
  const stranger = callerOf(newProject());
  const images = await Promise.all(
    (['public', 'private', 'shared', 'community'] as const).map((visibility) =>
      create({ visibility, owner: caller.projectId ?? '' }, visibility === 'public' ? admin : caller),
    ),
  );
  const seen = await Promise.all(images.map((image) => kindOf(under.images.show(stranger, image.id))));
  expect(seen).toEqual(['nothing was refused', 'not-found', 'not-found', 'nothing was refused']);
  const changed = await Promise.all(
    images.map((image) => kindOf(under.images.update(stranger, image.id, [{ kind: 'property', op: 'add', name: 'a', value: 'b' }]))),
  );
  expect(changed).toEqual(['forbidden', 'not-found', 'not-found', 'forbidden']);
  expect(await kindOf(under.images.delete(stranger, images[0]?.id ?? ''))).toBe('forbidden');
  expect(await kindOf(under.images.show(stranger, 'no-uuid'))).toBe('not-found');
});

test('only administrators make images public or give them away, and readers change nothing', async () => {
  expect(await kindOf(create({ visibility: 'public' }))).toBe('forbidden');
  expect(await kindOf(create({ owner: newProject() }))).toBe('forbidden');
  expect(await kindOf(create({}, callerOf(caller.projectId ?? '', ['reader'])))).toBe('forbidden');
  const image = await create();
  const set = (values: object, wireName: string, as = caller) =>
    kindOf(under.images.update(as, image.id, [{ kind: 'attribute', op: 'replace', wireName, values }]));
  expect(await set({ visibility: 'public' }, 'visibility')).toBe('forbidden');
  expect(await set({ owner: 'other' }, 'owner')).toBe('forbidden');
  expect(await set({ name: 'x' }, 'name', callerOf(caller.projectId ?? '', ['reader']))).toBe('forbidden');
  expect(await set({ visibility: 'public' }, 'visibility', admin)).toBe('nothing was refused');
});

test('a protected image stays until it is not', async () => {
  const image = await create({ protected: true });
  await expect(under.images.delete(caller, image.id)).rejects.toThrow(`Image ${image.id} is protected and cannot be deleted.`);
  await under.images.update(caller, image.id, [{ kind: 'attribute', op: 'replace', wireName: 'protected', values: { protected: false } }]);
  await under.images.delete(caller, image.id);
});

test('formats may change until there is data', async () => {
  const image = await create({ diskFormat: 'qcow2' });
  const change = () =>
    kindOf(
      under.images.update(caller, image.id, [
        { kind: 'attribute', op: 'replace', wireName: 'disk_format', values: { diskFormat: 'raw' } },
        { kind: 'attribute', op: 'replace', wireName: 'container_format', values: { containerFormat: 'bare' } },
      ]),
    );
  expect(await change()).toBe('nothing was refused');
  await put(image.id, Buffer.from('data'));
  expect(await change()).toBe('forbidden');
});

test('all changes of an update are made, or none', async () => {
  const image = await create({ properties: { a: '1' } });
  const update = under.images.update(caller, image.id, [
    { kind: 'property', op: 'replace', name: 'a', value: '2' },
    { kind: 'property', op: 'remove', name: 'b', value: '' },
  ]);
  await expect(update).rejects.toThrow('Property b does not exist.');
  expect((await under.images.show(caller, image.id)).properties).toEqual({ a: '1' });
});

test('the limits on properties and tags count what would be there', async () => {
  const properties = Object.fromEntries(Array.from({ length: 128 }, (_, index) => [`p${index}`, 'x']));
  const tags = Array.from({ length: 128 }, (_, index) => `t${index}`);
  const image = await create({ properties, tags });
  expect(await kindOf(under.images.addTag(caller, image.id, 't0'))).toBe('nothing was refused');
  expect(await kindOf(under.images.addTag(caller, image.id, 'one more'))).toBe('too-large');
  expect(await kindOf(under.images.update(caller, image.id, [{ kind: 'property', op: 'add', name: 'q', value: '' }]))).toBe('too-large');
  expect(await kindOf(create({ properties: { ...properties, more: '' } }))).toBe('too-large');
});

test('an update of very many changes takes no longer than it takes to read them', async () => {
  const image = await create();
  const changes = Array.from({ length: 60_000 }, (_, index) => ({ kind: 'property', op: 'add', name: `p${index}`, value: '' }) as const);
  expect(await kindOf(under.images.update(caller, image.id, changes))).toBe('too-large');
  const removals = changes.slice(1).map((change) => ({ ...change, op: 'remove' }) as const);
  expect((await under.images.update(caller, image.id, [...changes, ...removals])).properties).toEqual({ p0: '' });
});

test('a deactivated image gives its data to administrators only, and no volume starts from it', async () => {
  const image = await active(raw, Buffer.alloc(512, 'x'));
  const queued = await create();
  await under.images.deactivate(caller, image.id);
  await under.images.deactivate(caller, image.id);
  expect(await kindOf(under.images.download(caller, image.id))).toBe('forbidden');
  expect(await under.images.download(admin, image.id)).toBeDefined();
  expect(await kindOf(source(image))).toBe('bad-request');
  await under.images.reactivate(caller, image.id);
  expect((await bytesOf(image.id)).length).toBe(512);
  expect(await kindOf(under.images.deactivate(caller, queued.id))).toBe('forbidden');
});

test('a volume learns what its image says', async () => {
  const image = await active(
    { ...raw, name: 'base', minDiskGib: 2, properties: { hw_qemu_guest_agent: 'yes', cinder_img_volume_type: 'fast' } },
    Buffer.alloc(512),
  );
  expect(await source(image)).toMatchObject({
    imageId: image.id,
    virtualSizeBytes: 512,
    minDiskGib: 2,
    volumeType: 'fast',
    metadata: { image_id: image.id, image_name: 'base', size: '512', min_disk: '2', disk_format: 'raw', hw_qemu_guest_agent: 'yes' },
  });
});

const plain: ImageFilters = { hidden: false, memberStatus: 'accepted', tags: [], texts: [], numbers: [], times: [], properties: [] };
const order: ImageQuery['sort'] = [
  { key: 'name', direction: 'asc' },
  { key: 'created_at', direction: 'desc' },
  { key: 'id', direction: 'desc' },
];
const names = async (filters: Partial<ImageFilters> = {}, rest: Partial<ImageQuery> = {}, as = caller): Promise<(string | null)[]> => {
  const query = { filters: { ...plain, ...filters }, sort: order, limit: 100, marker: undefined, ...rest };
  return (await under.images.list(as, query)).map((image) => image.name);
};

test('a list holds what matches all filters', async () => {
  await create({ name: 'a', tags: ['x', 'y'], properties: { os: 'linux' }, ...raw });
  await create({ name: 'b', tags: ['x'], hidden: true });
  await create({ name: 'c', visibility: 'private', protected: true, minRamMib: 5 });
  const owner = { texts: [{ column: 'owner', anyOf: [caller.projectId ?? ''] }] } as const;
  expect(await names(owner)).toEqual(['a', 'c']);
  expect(await names({ ...owner, hidden: true })).toEqual(['b']);
  expect(await names({ tags: ['x', 'y'] })).toEqual(['a']);
  expect(await names({ ...owner, visibility: 'private' })).toEqual(['c']);
  expect(await names({ ...owner, protected: true })).toEqual(['c']);
  expect(await names({ properties: [{ name: 'os', value: 'linux' }] })).toEqual(['a']);
  expect(await names({ texts: [...owner.texts, { column: 'name', anyOf: ['a', 'c', 'd'] }] })).toEqual(['a', 'c']);
  expect(await names({ texts: [{ column: 'id', anyOf: ['not-an-id'] }] })).toEqual([]);
  expect(await names({ ...owner, numbers: [{ column: 'min_ram', comparison: 'gte', value: 1 }] })).toEqual(['c']);
  expect(await names({ ...owner, times: [{ column: 'created_at', comparison: 'gt', value: '2100-01-01T00:00:00' }] })).toEqual([]);
});

test('pages follow each other without gaps or repeats, also where the key is null or equal', async () => {
  for (const name of ['a', 'b', 'b', 'b', undefined, undefined, 'c']) await create(name === undefined ? {} : { name });
  const filters = { texts: [{ column: 'owner', anyOf: [caller.projectId ?? ''] }] } as const;
  const whole = (await under.images.list(caller, { filters: { ...plain, ...filters }, sort: order, limit: 100, marker: undefined })).map(
    (image) => image.id,
  );
  expect(whole).toHaveLength(7);
  const paged: string[] = [];
  for (;;) {
    const page = await under.images.list(caller, { filters: { ...plain, ...filters }, sort: order, limit: 2, marker: paged.at(-1) });
    paged.push(...page.map((image) => image.id));
    if (page.length < 2) break;
  }
  expect(paged).toEqual(whole);
});

test("a marker that the caller cannot see is refused, and others' community images are listed on request only", async () => {
  const hidden = await create({ visibility: 'private' });
  const offered = await create({ name: 'offered', visibility: 'community' });
  const stranger = callerOf(newProject());
  expect(await kindOf(names({}, { marker: hidden.id }, stranger))).toBe('bad-request');
  const only = { texts: [{ column: 'id', anyOf: [offered.id] }] } as const;
  expect(await names(only, {}, stranger)).toEqual([]);
  expect(await names({ ...only, visibility: 'community' }, {}, stranger)).toEqual(['offered']);
  expect(await names(only)).toEqual(['offered']);
});
