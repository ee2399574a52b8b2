/**
 * Each step of a history as an operation on the world: parts that reach outside, each of which may be repeated, as the steps of a saga may; what changes
 * in the model when it is done; and how it is undone when it was interrupted and given up.
 */
import { newId } from '../../src/lib/ids.ts';
import { connectNbd } from '../support/nbd-client.ts';
import { missedSectors } from './checks.ts';
import { beginWindow, performWrites } from './client.ts';
import { Contents, stamped } from './contents.ts';
import { isRefusal } from './disk-client.ts';
import type { BackupResult, PlannedBase } from './disk-orders.ts';
import { Found, type PointModel, VolumeModel } from './model.ts';
import { lookAtMoment, snapshot, snapshotTogether } from './moments.ts';
import type { Made } from './stage.ts';
import type { SimpleStep } from './steps.ts';
import type { World } from './world.ts';

type Plan<O extends SimpleStep['op']> = Extract<SimpleStep, { op: O }>;

/** Undefined: what the step is about is not there. */
export async function beginOperation(world: World, step: SimpleStep): Promise<Made | undefined> {
  switch (step.op) {
    case 'create':
      return await create(world, step);
    case 'image':
      return image(world, step);
    case 'connect':
      return connect(world, step);
    case 'disconnect':
      return disconnect(world, step);
    case 'write':
      return write(world, step);
    case 'snapshot':
      return snapshot(world, step);
    case 'snapshot-together':
      return snapshotTogether(world, step);
    case 'revert':
      return revert(world, step);
    case 'extend':
      return extend(world, step);
    case 'delete':
      return remove(world, step);
    case 'cascade':
      return cascade(world, step);
    case 'backup':
      return backup(world, step);
    case 'restore':
      return await restore(world, step);
    case 'restore-in-place':
      return restoreInPlace(world, step);
    case 'tidy':
      return { parts: [() => world.disks.order('tidy', undefined)], done() {}, async giveUp() {} };
  }
}

async function insertVolume(world: World): Promise<string> {
  const id = newId();
  const type = await world.database.sql.selectFrom('volume_types').select('id').executeTakeFirstOrThrow();
  const row = { id, project_id: 'p', user_id: 'u', status: 'available', size_gib: 1, availability_zone: 'nova', volume_type_id: type.id };
  await world.database.sql.insertInto('volumes').values(row).execute();
  return id;
}

async function removeVolume(world: World, id: string): Promise<void> {
  await world.disks.order('dropDisk', { volumeId: id });
  await world.database.sql.deleteFrom('volumes').where('id', '=', id).execute();
}

async function create(world: World, { as, from, sizeBytes }: Plan<'create'>): Promise<Made | undefined> {
  if (world.volumes.has(as)) return undefined;
  const point = from === undefined ? undefined : world.points.get(from);
  const source = from === undefined ? undefined : world.volumes.get(from);
  if (from !== undefined && point === undefined && source === undefined) return undefined;
  const size = Math.max(sizeBytes, point?.contents.sizeBytes ?? source?.sizeBytes ?? 0);
  const id = await insertVolume(world);
  const holder = `volume:${id}`;
  const pointId = point?.pointId ?? newId();
  const [topLayerId, sourceTopId] = [newId(), newId()];
  let contents = point?.contents ?? new Contents(0);
  if (point !== undefined) await world.disks.order('hold', { pointId, holder });
  const fromPointId = from === undefined ? null : pointId;
  const endHold = async (): Promise<void> => {
    if (from !== undefined) await world.disks.order('release', { pointId, holder });
  };
  return {
    parts: [
      ...(source === undefined
        ? []
        : [
            () => world.disks.order('freeze', { volumeId: source.id, pointId, topLayerId: sourceTopId, holder }),
            async () => {
              contents = await lookAtMoment(world, source, pointId, `the moment of ${source.name} for ${as}`);
            },
          ]),
      () => world.disks.order('createDisk', { volumeId: id, topLayerId, sizeBytes: size, fromPointId }),
      endHold,
    ],
    done() {
      world.volumes.set(as, new VolumeModel(as, id, contents.resized(size)));
    },
    async giveUp() {
      await removeVolume(world, id);
      await endHold();
    },
  };
}

function image(world: World, { as, sizeBytes, writes }: Plan<'image'>): Made | undefined {
  if (world.points.has(as)) return undefined;
  const [pointId, layerId, home, holder] = [newId(), newId(), newId(), `image:${as}`];
  const data = writes.filter(({ at, length }) => at + length <= sizeBytes && length > 0);
  const bytes = data.map(({ n, at, length }) => ({ offset: at, bytes: stamped(n, at, length) }));
  const contents = bytes.reduce((all, next) => all.with(next.offset, next.bytes), new Contents(sizeBytes));
  const fill: PlannedBase = { kind: 'written', sizeBytes, writes: bytes };
  return {
    parts: [(signal) => world.disks.order('createBase', { pointId, layerId, home, holder, fill }, { signal })],
    done() {
      world.points.set(as, { name: as, pointId, contents, holder, volume: undefined });
      world.everyPoint.set(pointId, contents);
    },
    giveUp: () => world.disks.order('release', { pointId, holder }),
  };
}

function connect(world: World, { volume: name, attached }: Plan<'connect'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || volume.client !== undefined) return undefined;
  let socketPath = '';
  return {
    parts: [
      async () => {
        socketPath = await world.disks.order('openExport', { volumeId: volume.id, readOnly: false });
      },
      async () => {
        volume.client = await connectNbd(socketPath);
        await detach(world, volume);
        if (attached) await attach(world, volume);
        volume.compare(await world.readThrough(volume.client));
      },
    ],
    done() {},
    giveUp: () => world.disks.order('closeExport', { volumeId: volume.id }),
  };
}

async function attach(world: World, volume: VolumeModel): Promise<void> {
  volume.attached = true;
  await world.database.sql.insertInto('volume_attachments').values({ id: newId(), volume_id: volume.id, project_id: 'p' }).execute();
}

async function detach(world: World, volume: VolumeModel): Promise<void> {
  volume.attached = false;
  await world.database.sql.deleteFrom('volume_attachments').where('volume_id', '=', volume.id).execute();
}

function disconnect(world: World, { volume: name }: Plan<'disconnect'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume?.client === undefined) return undefined;
  return {
    parts: [
      async () => {
        await volume.client?.close();
        volume.client = undefined;
        await detach(world, volume);
      },
      () => world.disks.order('closeExport', { volumeId: volume.id }),
    ],
    done: () => volume.flushed(),
    // The server goes on; whoever opens the disk next finds it, or ends it.
    async giveUp() {},
  };
}

function write(world: World, { volume: name, writes }: Plan<'write'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume?.client === undefined) return undefined;
  return { parts: [], beside: performWrites(volume, writes), done() {}, async giveUp() {} };
}

/** An order must be refused, because a client has the disk open. */
async function refused(work: Promise<unknown>, what: string): Promise<void> {
  if (!(await isRefusal(work))) throw new Found(`${what} was not refused`);
}

/** A server that no attachment uses is ended by what needs the disk for itself. */
async function cutOff(volume: VolumeModel): Promise<void> {
  await volume.client?.close();
  volume.client = undefined;
  volume.flushed();
}

function revert(world: World, { volume: name, to }: Plan<'revert'>): Made | undefined {
  const [volume, point] = [world.volumes.get(name), world.points.get(to)];
  if (volume === undefined || point === undefined || point.contents.sizeBytes > volume.sizeBytes) return undefined;
  const { sizeBytes } = volume;
  const plan = { volumeId: volume.id, fromPointId: point.pointId, topLayerId: newId(), sizeBytes };
  const order = () => world.disks.order('replaceDisk', plan);
  // Also without a server: the client of one that was killed comes back.
  if (volume.attached) return refusal(() => refused(order(), `reverting ${name} while it is attached`));
  const done = async (): Promise<void> => {
    await cutOff(volume);
    volume.become(point.contents.resized(sizeBytes));
  };
  return {
    parts: [order],
    done,
    async giveUp() {
      if ((await topLayerOf(world, volume)) === plan.topLayerId) await done();
      else await reconsider(world, volume);
    },
  };
}

const refusal = (part: () => Promise<void>): Made => ({ parts: [part], done() {}, async giveUp() {} });

async function topLayerOf(world: World, { id }: VolumeModel): Promise<string | null> {
  const row = await world.database.sql.selectFrom('volumes').select('top_layer_id').where('id', '=', id).executeTakeFirst();
  return row?.top_layer_id ?? null;
}

/** An order that was interrupted may have ended the server that a client without attachment used. */
async function reconsider(world: World, volume: VolumeModel): Promise<void> {
  const row = await world.database.sql
    .selectFrom('volume_exports')
    .select('volume_id')
    .where('volume_id', '=', volume.id)
    .executeTakeFirst();
  if (row === undefined) await cutOffUnlessInDoubt(volume);
}

function extend(world: World, { volume: name, sizeBytes }: Plan<'extend'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || sizeBytes <= volume.sizeBytes) return undefined;
  const order = () => world.disks.order('resize', { volumeId: volume.id, sizeBytes });
  if (volume.client !== undefined && volume.attached) return refusal(() => refused(order(), `extending ${name} while it is open`));
  const done = async (): Promise<void> => {
    await cutOffUnlessInDoubt(volume);
    volume.versions = volume.versions.map((version) => version.resized(sizeBytes));
    volume.contents = volume.contents.resized(sizeBytes);
  };
  return {
    parts: [order],
    done,
    async giveUp() {
      if ((await world.disks.order('sizeOf', { volumeId: volume.id })) === sizeBytes) await done();
      else await reconsider(world, volume);
    },
  };
}

async function cutOffUnlessInDoubt(volume: VolumeModel): Promise<void> {
  if (!volume.inDoubt) await cutOff(volume);
}

function remove(world: World, { what }: Plan<'delete'>): Made | undefined {
  const [volume, point, stored] = [world.volumes.get(what), world.points.get(what), world.backups.get(what)];
  if (volume !== undefined) return removal(world, () => dropVolume(world, volume));
  if (point !== undefined) return removal(world, () => dropPoint(world, point));
  if (stored === undefined) return undefined;
  const sessions = world.sessions.get(stored.backupId) ?? [];
  world.backups.delete(what);
  return removal(world, () => world.disks.order('forget', { sessions }));
}

/** What is being deleted is deleted in the end, however often it is interrupted. */
function removal(_world: World, part: () => Promise<void>): Made {
  return { parts: [part], done() {}, giveUp: part };
}

async function dropVolume(world: World, volume: VolumeModel): Promise<void> {
  world.volumes.delete(volume.name);
  await volume.client?.close();
  volume.client = undefined;
  await removeVolume(world, volume.id);
}

async function dropPoint(world: World, { name, pointId, holder }: PointModel): Promise<void> {
  world.points.delete(name);
  await world.disks.order('release', { pointId, holder });
}

function cascade(world: World, { volume: name }: Plan<'cascade'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined) return undefined;
  const points = [...world.points.values()].filter((point) => point.volume === name);
  return removal(world, async () => {
    for (const point of points) await dropPoint(world, point);
    await dropVolume(world, volume);
  });
}

function backup(world: World, { of, as, incremental, meanwhile }: Plan<'backup'>): Made | undefined {
  const [volume, point] = [world.volumes.get(of), world.points.get(of)];
  if ((volume === undefined && point === undefined) || world.backups.has(as)) return undefined;
  const backupId = `${as}-${newId()}`;
  const [pointId, topLayerId, holder] = [point?.pointId ?? newId(), newId(), `backup:${backupId}`];
  let contents = point?.contents ?? new Contents(0);
  let result: BackupResult | undefined;
  const begin =
    volume === undefined
      ? [() => world.disks.order('hold', { pointId, holder })]
      : [
          () => world.disks.order('freeze', { volumeId: volume.id, pointId, topLayerId, holder }),
          async () => {
            contents = await lookAtMoment(world, volume, pointId, as);
          },
        ];
  return {
    ...(volume === undefined ? {} : { beside: beginWindow(volume, meanwhile) }),
    parts: [
      ...begin,
      async (signal) => {
        const sessions = world.sessions.get(backupId) ?? [];
        result = await world.disks.order('backup', { pointId, backupId, sessions, incremental }, { signal });
      },
      async () => {
        const { session, root } = result as BackupResult;
        await world.disks.order('publish', { pointId, holder, session, root });
      },
    ],
    async done() {
      const { session, root, base, finding } = result as BackupResult;
      mustFindNothing(as, finding);
      world.backups.set(as, { name: as, backupId, session, root, contents, isVerified: false });
      world.everySession.set(session, contents);
      if (base !== undefined) mustCover(world, as, contents, base);
    },
    async giveUp() {
      await world.disks.order('release', { pointId, holder });
      await world.disks.order('forget', { sessions: world.sessions.get(backupId) ?? [] });
    },
  };
}

/** Journals never miss anything, so audits never find anything. */
function mustFindNothing(name: string, finding: unknown): void {
  if (finding !== undefined) throw new Found(`an audit during ${name} found ${JSON.stringify(finding)}`);
}

/** What an incremental reads must hold every sector that differs from what it builds on. */
function mustCover(world: World, name: string, contents: Contents, base: NonNullable<BackupResult['base']>): void {
  const before = world.everySession.get(base.session);
  // The commit may be of an attempt whose answer was lost: then its content is not known here.
  if (before === undefined) return;
  const missed = missedSectors(contents, before, base.changed);
  if (missed !== undefined) throw new Found(`backup ${name} takes sector ${missed} for unchanged since ${base.session}, and it changed`);
}

async function restore(world: World, { from, as, sizeBytes }: Plan<'restore'>): Promise<Made | undefined> {
  const stored = world.backups.get(from);
  if (stored === undefined || world.volumes.has(as)) return undefined;
  const size = Math.max(sizeBytes, stored.contents.sizeBytes);
  const id = await insertVolume(world);
  const base = baseOf(world, stored, id, size);
  const topLayerId = newId();
  return {
    parts: [
      base.write,
      () => world.disks.order('createDisk', { volumeId: id, topLayerId, sizeBytes: size, fromPointId: base.pointId }),
      base.publish,
    ],
    done() {
      const contents = stored.contents.resized(size);
      world.everyPoint.set(base.pointId, contents);
      world.volumes.set(as, new VolumeModel(as, id, contents));
    },
    async giveUp() {
      await base.giveUp();
      await removeVolume(world, id);
    },
  };
}

function restoreInPlace(world: World, { from, volume: name, whole }: Plan<'restore-in-place'>): Made | undefined {
  const [stored, volume] = [world.backups.get(from), world.volumes.get(name)];
  if (stored === undefined || volume === undefined || volume.client !== undefined) return undefined;
  const { sizeBytes } = volume;
  if (stored.contents.sizeBytes > sizeBytes) return undefined;
  const next = whole ? baseOf(world, stored, volume.id, sizeBytes) : overlayOf(world, stored, volume);
  const topLayerId = newId();
  const done = (): void => {
    const contents = stored.contents.resized(sizeBytes);
    world.everyPoint.set(next.pointId, contents);
    volume.become(contents);
  };
  return {
    parts: [
      () => detach(world, volume),
      ...next.begin,
      next.write,
      () => world.disks.order('replaceDisk', { volumeId: volume.id, topLayerId, sizeBytes, fromPointId: next.pointId }),
      next.publish,
    ],
    done,
    async giveUp() {
      if ((await topLayerOf(world, volume)) === topLayerId) {
        await next.publish();
        done();
      } else await next.giveUp();
    },
  };
}

/** Onto what the volume holds, which is frozen for it. */
function overlayOf(world: World, { session, root }: { session: string; root: string }, volume: VolumeModel) {
  const [pointId, layerId, belowPointId, frozenTopId] = [newId(), newId(), newId(), newId()];
  const holder = `restore:${pointId}`;
  const plan = { pointId, layerId, belowPointId, holder, home: volume.id, sizeBytes: volume.sizeBytes, session, root };
  const endFreeze = () => world.disks.order('release', { pointId: belowPointId, holder });
  return {
    pointId,
    begin: [
      () => world.disks.order('freeze', { volumeId: volume.id, pointId: belowPointId, topLayerId: frozenTopId, holder }),
      () => lookAtMoment(world, volume, belowPointId, `the moment of ${volume.name} before a restore`),
    ],
    async write(signal: AbortSignal) {
      mustFindNothing(`a restore of ${volume.name}`, await world.disks.order('overlay', plan, { signal }));
    },
    async publish() {
      await world.disks.order('publish', { pointId, holder, session, root });
      await endFreeze();
    },
    async giveUp() {
      await world.disks.order('release', { pointId, holder });
      await endFreeze();
    },
  };
}

function baseOf(world: World, { session, root }: { session: string; root: string }, home: string, sizeBytes: number) {
  const [pointId, layerId] = [newId(), newId()];
  const holder = `restore:${pointId}`;
  const fill: PlannedBase = { kind: 'restored', sizeBytes, session, root };
  return {
    pointId,
    begin: [],
    write: (signal: AbortSignal) => world.disks.order('createBase', { pointId, layerId, home, holder, fill }, { signal }),
    publish: () => world.disks.order('publish', { pointId, holder, session, root }),
    giveUp: () => world.disks.order('release', { pointId, holder }),
  };
}
