/**
 * Each step of a history as a client does it through the public APIs. Where the service dies on the way, the client waits until the next one is quiet
 * and looks at what has become of its request: done or not done, never anything between.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Answer } from '../support/api.ts';
import { toQcow2 } from '../support/disks.ts';
import { connectNbd, socketPathOf } from '../support/nbd-client.ts';
import { connect as connectVolume, disconnect as disconnectVolume, letGo } from '../support/scenario.ts';
import { beginWindow, performWrites } from './client.ts';
import { Contents, stamped } from './contents.ts';
import { Found, VolumeModel } from './model.ts';
import type { Collection, ServiceWorld, SnapshotModel } from './service-world.ts';
import type { Made } from './stage.ts';
import type { SimpleStep } from './steps.ts';

const gib = 2 ** 30;

type Plan<O extends SimpleStep['op']> = Extract<SimpleStep, { op: O }>;

/** What the client had asked to be cancelled, and was. */
export class Cancelled extends Error {
  constructor() {
    super('cancelled');
    this.name = 'Cancelled';
  }
}

export async function beginServiceOperation(world: ServiceWorld, step: SimpleStep): Promise<Made | undefined> {
  switch (step.op) {
    case 'create':
      return create(world, step);
    case 'image':
      return image(world, step);
    case 'connect':
      return connect(world, step);
    case 'disconnect':
      return disconnect(world, step);
    case 'write': {
      const volume = world.volumes.get(step.volume);
      return volume?.client === undefined
        ? undefined
        : { parts: [], beside: performWrites(volume, step.writes), done() {}, async giveUp() {} };
    }
    case 'snapshot':
      return snapshot(world, step);
    case 'snapshot-together':
      // Through the APIs that needs groups, which are killed at every instant elsewhere.
      return undefined;
    case 'revert':
      return revert(world, step);
    case 'extend':
      return extend(world, step);
    case 'delete':
      return await remove(world, step);
    case 'cascade':
      return cascade(world, step);
    case 'backup':
      return backup(world, step);
    case 'restore':
      return restore(world, step);
    case 'restore-in-place':
      return restoreInPlace(world, step);
    case 'tidy':
      // The service tidies by itself.
      return undefined;
  }
}

const isFree = (world: ServiceWorld, name: string): boolean =>
  !world.volumes.has(name) && !world.points.has(name) && !world.backups.has(name);

/** A thing that is made: by its name it is found again, whole or not at all. */
interface Making {
  readonly collection: Collection;
  readonly name: string;
  /** Asks for it and returns its id. */
  request(): Promise<string>;
  /** Those whose jobs a cancellation ends. */
  readonly subjects?: readonly string[];
  known(found: Answer): Promise<void>;
}

function making(world: ServiceWorld, plan: Making): Pick<Made, 'parts' | 'done' | 'giveUp'> {
  let made: Answer;
  let wasCancelled = false;
  return {
    parts: [
      async (signal) => {
        const id = await plan.request();
        const cancel = (): void => {
          wasCancelled = true;
          void world.cancelJobs([id, ...(plan.subjects ?? [])]).catch(() => undefined);
        };
        if (signal.aborted) cancel();
        signal.addEventListener('abort', cancel, { once: true });
        // Whether an error is right is known afterwards: the cancellation may come at any time.
        made = await world.mustBe(plan.collection, id, ['available', 'active', 'error']);
        if (made.status !== 'error') return;
        if (!wasCancelled)
          throw new Found(`${plan.collection} ${plan.name} is in error (${made.fail_reason ?? ''}), and nobody cancelled it`);
        throw new Cancelled();
      },
    ],
    done: () => plan.known(made),
    async giveUp() {
      const found = await world.named(plan.collection, plan.name);
      if (found === undefined) return;
      const settled = await world.settled(plan.collection, found.id);
      if (settled === undefined) return;
      if (settled.status === 'available' || settled.status === 'active') return await plan.known(settled);
      // An upload that was cut off leaves a queued image.
      if (settled.status === 'queued' || wasCancelled) return await world.vanish(plan.collection, settled.id);
      throw new Found(`${plan.collection} ${plan.name} is ${settled.status} (${settled.fail_reason ?? ''}) after the service died`);
    },
  };
}

function create(world: ServiceWorld, { as, from, sizeBytes }: Plan<'create'>): Made | undefined {
  if (!isFree(world, as)) return undefined;
  const point = from === undefined ? undefined : world.points.get(from);
  const source = from === undefined ? undefined : world.volumes.get(from);
  if (from !== undefined && point === undefined && source === undefined) return undefined;
  if (source?.inDoubt === true) return undefined;
  const least = point?.contents.sizeBytes ?? source?.sizeBytes ?? 0;
  const size = Math.max(Math.ceil(sizeBytes / gib), Math.ceil(least / gib));
  const contents = point?.contents ?? source?.contents ?? new Contents(0);
  const origin =
    source !== undefined
      ? { source_volid: source.id }
      : point === undefined
        ? {}
        : point.volumeId === undefined
          ? { imageRef: point.id }
          : { snapshot_id: point.id };
  return making(world, {
    collection: 'volumes',
    name: as,
    async request() {
      const { volume } = await world.api.volume('POST', '/volumes', { volume: { name: as, size, ...origin } });
      return volume.id;
    },
    async known({ id }) {
      world.volumes.set(as, new VolumeModel(as, id, contents.resized(size * gib)));
    },
  });
}

function image(world: ServiceWorld, { as, sizeBytes, writes }: Plan<'image'>): Made | undefined {
  if (!isFree(world, as)) return undefined;
  const data = writes.filter(({ at, length }) => length > 0 && at + length <= sizeBytes);
  const bytes = Buffer.alloc(sizeBytes);
  for (const { n, at, length } of data) stamped(n, at, length).copy(bytes, at);
  const contents = new Contents(sizeBytes).with(0, bytes);
  // A qcow2 file has whole sectors.
  const format = sizeBytes % 2 === 0 ? 'qcow2' : 'raw';
  return making(world, {
    collection: 'images',
    name: as,
    async request() {
      const { id } = await world.api.image('POST', '/images', { name: as, disk_format: format, container_format: 'bare' });
      const status = await world.api.upload(id, format === 'raw' ? bytes : await asQcow2(bytes));
      if (status !== 204) throw new Error(`upload of ${as}: ${status}`);
      return id;
    },
    async known({ id }) {
      world.points.set(as, { name: as, id, contents, volumeId: undefined });
    },
  });
}

async function asQcow2(bytes: Buffer): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'stillpoint-torture-image-'));
  try {
    await writeFile(join(folder, 'image.raw'), bytes);
    return await readFile(await toQcow2(join(folder, 'image.raw')));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function connect(world: ServiceWorld, { volume: name }: Plan<'connect'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || volume.client !== undefined) return undefined;
  return {
    parts: [
      () => letGo(world.api, volume.id),
      async () => {
        const socketPath = socketPathOf(await connectVolume(world.api, volume.id));
        volume.client = await connectNbd(socketPath);
        world.sockets.set(volume.id, socketPath);
        volume.compare(await world.readThrough(volume.client));
      },
    ],
    done() {},
    async giveUp() {
      if (volume.client === undefined) await letGo(world.api, volume.id);
    },
  };
}

function disconnect(world: ServiceWorld, { volume: name }: Plan<'disconnect'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume?.client === undefined) return undefined;
  return {
    parts: [
      async () => {
        await volume.client?.close();
        volume.client = undefined;
      },
      () => disconnectVolume(world.api, volume.id),
    ],
    done: () => volume.flushed(),
    giveUp: () => letGo(world.api, volume.id),
  };
}

function snapshot(world: ServiceWorld, { volume: name, as, meanwhile }: Plan<'snapshot'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || !isFree(world, as)) return undefined;
  const known = async ({ id }: Answer): Promise<void> => {
    const made: SnapshotModel = { name: as, id, contents: volume.contents, volumeId: volume.id };
    const contents = await world.readPoint(made);
    volume.matchMoment(as, contents);
    world.points.set(as, { ...made, contents });
  };
  return {
    beside: beginWindow(volume, meanwhile),
    ...making(world, {
      collection: 'snapshots',
      name: as,
      async request() {
        const { snapshot: made } = await world.api.volume('POST', '/snapshots', { snapshot: { volume_id: volume.id, name: as } });
        return made.id;
      },
      known,
    }),
  };
}

/** A request that must be refused, because a client has the disk open. */
function refusal(world: ServiceWorld, path: string, body: object, what: string): Made {
  return {
    parts: [
      async () => {
        const { status, body: answer } = await world.api.raw('POST', path, body);
        if (status < 400 || status >= 500) throw new Found(`${what} was answered with ${status} ${JSON.stringify(answer)}`);
      },
    ],
    done() {},
    async giveUp() {},
  };
}

/** The volume holds one of two things, whole. */
async function oneOf(world: ServiceWorld, volume: VolumeModel, next: Contents): Promise<void> {
  await world.mustBe('volumes', volume.id, ['available']);
  const observed = await world.readVolume(volume.id, undefined);
  if (observed.equals(next)) volume.become(next);
  else volume.compare(observed);
}

function revert(world: ServiceWorld, { volume: name, to }: Plan<'revert'>): Made | undefined {
  const [volume, point] = [world.volumes.get(name), world.points.get(to)];
  if (volume === undefined || point?.volumeId !== volume.id) return undefined;
  const path = `/api/v1/volumes/${volume.id}/revert`;
  const body = { snapshot_id: point.id };
  if (volume.client !== undefined) return refusal(world, path, body, `reverting ${name} while it is open`);
  const contents = point.contents.resized(volume.sizeBytes);
  return {
    parts: [
      () => letGo(world.api, volume.id),
      async () => {
        const { status, body: answer } = await world.api.raw('POST', path, body);
        if (status !== 202) throw new Found(`reverting ${name} to ${to} was answered with ${status} ${JSON.stringify(answer)}`);
        await world.mustBe('volumes', volume.id, ['available']);
        await world.mustBe('snapshots', point.id, ['available']);
      },
    ],
    done: () => volume.become(contents),
    giveUp: () => oneOf(world, volume, contents),
  };
}

function extend(world: ServiceWorld, { volume: name, sizeBytes }: Plan<'extend'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || sizeBytes <= volume.sizeBytes || volume.inDoubt) return undefined;
  const path = `/volumes/${volume.id}/action`;
  const body = { 'os-extend': { new_size: sizeBytes / gib } };
  if (volume.client !== undefined) return refusal(world, `/volume/v3${path}`, body, `extending ${name} while it is open`);
  const done = (): void => volume.become(volume.contents.resized(sizeBytes));
  return {
    parts: [
      async () => {
        await world.api.volume('POST', path, body);
        await world.mustBe('volumes', volume.id, ['available']);
      },
    ],
    done,
    async giveUp() {
      const { size } = await world.mustBe('volumes', volume.id, ['available']);
      if (size * gib === sizeBytes) done();
    },
  };
}

async function remove(world: ServiceWorld, { what }: Plan<'delete'>): Promise<Made | undefined> {
  const [volume, point, stored] = [world.volumes.get(what), world.points.get(what), world.backups.get(what)];
  if (volume !== undefined) {
    const hasSnapshots = [...world.points.values()].some(({ volumeId }) => volumeId === volume.id);
    if (volume.client !== undefined || hasSnapshots) return undefined;
    return removal(world, 'volumes', volume.id, () => world.volumes.delete(what));
  }
  if (point !== undefined) {
    return removal(world, point.volumeId === undefined ? 'images' : 'snapshots', point.id, () => world.points.delete(what));
  }
  if (stored === undefined) return undefined;
  const found = await world.find('backups', stored.id);
  if (found?.has_dependent_backups === true) return undefined;
  return removal(world, 'backups', stored.id, () => world.backups.delete(what));
}

function removal(world: ServiceWorld, collection: Collection, id: string, forget: () => void, query = ''): Made {
  const work = async (): Promise<void> => {
    const found = await world.settled(collection, id);
    if (found === undefined) return;
    if (collection === 'volumes') await letGo(world.api, id);
    if (collection === 'images') await world.api.image('DELETE', `/images/${id}`);
    else await world.api.volume('DELETE', `/${collection}/${id}${query}`);
    await world.mustVanish(collection, id);
  };
  return {
    parts: [work],
    done: forget,
    giveUp: async () => {
      await work();
      forget();
    },
  };
}

function cascade(world: ServiceWorld, { volume: name }: Plan<'cascade'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || volume.client !== undefined) return undefined;
  const forget = (): void => {
    world.volumes.delete(name);
    for (const point of [...world.points.values()]) if (point.volumeId === volume.id) world.points.delete(point.name);
  };
  return removal(world, 'volumes', volume.id, forget, '?cascade=true');
}

function backup(world: ServiceWorld, { of, as, incremental, meanwhile }: Plan<'backup'>): Made | undefined {
  const [volume, point] = [world.volumes.get(of), world.points.get(of)];
  const volumeId = volume?.id ?? point?.volumeId;
  if (volumeId === undefined || !isFree(world, as)) return undefined;
  const hasParent = [...world.backups.values()].some((other) => other.volumeId === volumeId);
  const order = {
    volume_id: volumeId,
    name: as,
    incremental: incremental && hasParent,
    force: true,
    ...(volume === undefined ? { snapshot_id: point?.id } : {}),
  };
  return {
    ...(volume === undefined ? {} : { beside: beginWindow(volume, meanwhile) }),
    ...making(world, {
      collection: 'backups',
      name: as,
      async request() {
        const { backup: made } = await world.api.volume('POST', '/backups', { backup: order });
        return made.id;
      },
      async known({ id }) {
        const contents = await world.readBackup(id);
        if (volume !== undefined) volume.matchMoment(as, contents);
        else if (point !== undefined && !contents.equals(point.contents)) throw new Found(`backup ${as} is not what snapshot ${of} is`);
        world.backups.set(as, { name: as, id, volumeId, contents, isVerified: true });
      },
    }),
  };
}

function restore(world: ServiceWorld, { from, as }: Plan<'restore'>): Made | undefined {
  const stored = world.backups.get(from);
  if (stored === undefined || !isFree(world, as)) return undefined;
  const made = making(world, {
    collection: 'volumes',
    name: as,
    subjects: [stored.id],
    async request() {
      const { restore: order } = await world.api.volume('POST', `/backups/${stored.id}/restore`, {
        restore: { name: as, volume_id: null },
      });
      return order.volume_id;
    },
    async known({ id }) {
      await world.mustBe('backups', stored.id, ['available']);
      world.volumes.set(as, new VolumeModel(as, id, stored.contents));
    },
  });
  return made;
}

function restoreInPlace(world: ServiceWorld, { from, volume: name }: Plan<'restore-in-place'>): Made | undefined {
  const [stored, volume] = [world.backups.get(from), world.volumes.get(name)];
  if (stored === undefined || volume === undefined || volume.client !== undefined) return undefined;
  if (stored.contents.sizeBytes > volume.sizeBytes || volume.inDoubt) return undefined;
  const contents = stored.contents.resized(volume.sizeBytes);
  let wasCancelled = false;
  return {
    parts: [
      async (signal) => {
        await world.api.volume('POST', `/backups/${stored.id}/restore`, { restore: { volume_id: volume.id } });
        const cancel = (): void => {
          wasCancelled = true;
          void world.cancelJobs([stored.id]).catch(() => undefined);
        };
        if (signal.aborted) cancel();
        signal.addEventListener('abort', cancel, { once: true });
        const { status } = await world.mustBe('volumes', volume.id, ['available', 'error']);
        await world.mustBe('backups', stored.id, ['available']);
        if (status === 'available') return;
        if (!wasCancelled) throw new Found(`restoring ${from} to ${name} ended in error, and nobody cancelled it`);
        throw new Cancelled();
      },
    ],
    done: () => volume.become(contents),
    async giveUp() {
      const { status } = await world.mustBe('volumes', volume.id, ['available', ...(wasCancelled ? ['error'] : [])]);
      if (status === 'error')
        await world.api.volume('POST', `/volumes/${volume.id}/action`, { 'os-reset_status': { status: 'available' } });
      await world.mustBe('backups', stored.id, ['available']);
      await oneOf(world, volume, contents);
    },
  };
}
