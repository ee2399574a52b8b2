/**
 * Every operation on disks, with the file system filled to its last byte at each instant that the operation passes. Volumes, images and the
 * repository lie on it; the database does not. Whatever comes of it: all rows are settled, the bytes of other disks and the old bytes of the
 * disk itself are as they were, no file is left over, and with space again the same operation works.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { recordCrashPoints } from '../../src/lib/crash-points.ts';
import { messageOf } from '../../src/lib/errors.ts';
import { backupOrder } from '../support/backup-cloud.ts';
import { mustRun, run } from '../support/clients.ts';
import { makeSmallDisk, mayMount, type SmallDisk } from '../support/small-disk.ts';
import { projectCaller, startWholeCloud, type WholeCloud } from '../support/whole-cloud.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;
const dataBytes = mib;

let disk: SmallDisk;
let work: string;
let cloud: WholeCloud;
const caller = projectCaller('project');
/** Raw disks of 1 GiB: zeroes; random bytes at the beginning; other ones; the first, and the others behind them. */
const models = { blank: '', first: '', second: '', both: '' };
let bystander: string;

/** `done`, or why it failed. */
type Outcome = 'done' | { readonly failed: string };

interface Attempt {
  run(): Promise<Outcome>;
  /** What must hold whether it worked or not. */
  unharmed(): Promise<void>;
  /** What must hold after it worked. */
  verify(): Promise<void>;
}

interface Operation {
  readonly name: string;
  readonly prepare: () => Promise<Attempt>;
  /** Takes no space, so that it works on a full disk, too. */
  readonly alwaysWorks?: true;
}

async function makeModel(name: keyof typeof models, bytes: Buffer): Promise<void> {
  models[name] = join(work, `${name}.raw`);
  await writeFile(models[name], bytes);
  await truncate(models[name], gib);
}

const volumeOrder = { name: null, description: null, sizeGib: 1, volumeType: null, availabilityZone: null, metadata: {} };

async function newVolume(model: keyof typeof models = 'blank'): Promise<string> {
  const { id } = await cloud.volumes.create(caller, { ...volumeOrder, source: { kind: 'blank' } });
  expect(await cloud.settled('volumes', id)).toBe('available');
  if (model !== 'blank') await write(id, model);
  return id;
}

async function connect(id: string, readOnly = false): Promise<string> {
  await cloud.volumes.reserve(caller, id);
  const { socketPath } = await cloud.volumes.initializeConnection(caller, id, { readOnly });
  await cloud.volumes.attach(caller, id, { instanceId: null, hostName: 'here', mountpoint: null, mode: readOnly ? 'ro' : 'rw' });
  return `nbd+unix:///disk?socket=${socketPath}`;
}

async function disconnect(id: string): Promise<void> {
  await cloud.volumes.beginDetaching(caller, id);
  await cloud.volumes.terminateConnection(caller, id);
  await cloud.volumes.detach(caller, id, null);
}

async function writeThrough(uri: string, model: keyof typeof models, format = 'raw', at = 0): Promise<void> {
  await mustRun('qemu-io', ['-f', format, '-c', `write -q -s ${join(work, `${model}.head`)} ${at} ${dataBytes}`, '-c', 'flush', uri]);
}

async function disconnectAfter(id: string, uri: string): Promise<void> {
  await mustHold(id, 'first', uri);
  await disconnect(id);
}

/** Into the file, which nobody has open: a connection takes much longer. */
async function write(id: string, model: keyof typeof models, at = 0): Promise<void> {
  await writeThrough(await topOf(id), model, 'qcow2', at);
}

/** Compares a disk that nobody has open, or the one behind an address, with a model. */
async function mustHold(id: string, model: keyof typeof models, uri?: string): Promise<void> {
  await mustRun('qemu-img', ['compare', ...(uri === undefined ? [] : ['-f', 'raw']), '-F', 'raw', uri ?? (await topOf(id)), models[model]]);
}

async function topOf(id: string): Promise<string> {
  const { topLayerId } = await cloud.volumes.get(caller, id);
  return join(cloud.paths.volumes, id, `${topLayerId}.qcow2`);
}

async function reasonOf(subjectId: string): Promise<string> {
  return (await cloud.jobs.find(subjectId)).map(({ failure }) => failure).find((failure) => failure !== null) ?? 'unknown';
}

async function outcomeOf(table: 'volumes' | 'snapshots' | 'backups', id: string, wanted: string): Promise<Outcome> {
  const status = await cloud.settled(table, id);
  if (status === wanted) return 'done';
  expect(status).toMatch(/^error/);
  if (table === 'backups') return { failed: (await cloud.backups.get(caller, id)).failReason ?? 'unknown' };
  return { failed: await reasonOf(id) };
}

const beforeIt = 'before it';
const nothing = async (): Promise<void> => {};

/** Creating a volume from somewhere, with what it then holds. */
const creating = (
  name: string,
  origin: () => Promise<{
    source: { kind: 'blank' } | { kind: 'snapshot' | 'volume' | 'image'; id: string };
    holds: keyof typeof models;
    unharmed?: () => Promise<void>;
  }>,
): Operation => ({
  name,
  async prepare() {
    const { source, holds, unharmed = nothing } = await origin();
    let id = '';
    return {
      async run() {
        id = (await cloud.volumes.create(caller, { ...volumeOrder, source })).id;
        return await outcomeOf('volumes', id, 'available');
      },
      unharmed,
      verify: () => mustHold(id, holds),
    };
  },
});

async function newSnapshot(volumeId: string): Promise<string> {
  const { id } = await cloud.snapshots.create(caller, { volumeId, name: null, description: null, metadata: {}, inUse: true });
  return id;
}

async function upload(bytes: Buffer, diskFormat: 'raw' | 'qcow2', id: string): Promise<Outcome> {
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
  }
  if ((await cloud.settled('images', id)) === 'gone')
    await cloud.images.create(caller, { id, diskFormat, containerFormat: 'bare', properties: {} });
  try {
    await cloud.images.upload(caller, id, { stream: body(), expectedBytes: bytes.length });
    return 'done';
  } catch (error) {
    expect(await cloud.settled('images', id)).toBe('queued');
    return { failed: messageOf(error) };
  }
}

const uploading = (diskFormat: 'raw' | 'qcow2', file: () => Promise<Buffer>): Operation => ({
  name: `the upload of a ${diskFormat} image`,
  async prepare() {
    const [bytes, id] = [await file(), randomUUID()];
    return {
      run: () => upload(bytes, diskFormat, id),
      unharmed: nothing,
      async verify() {
        const { id: volume } = await cloud.volumes.create(caller, { ...volumeOrder, source: { kind: 'image', id } });
        expect(await cloud.settled('volumes', volume)).toBe('available');
        await mustHold(volume, 'first');
      },
    };
  },
});

async function imageOf(): Promise<string> {
  const id = randomUUID();
  expect(await upload(await head('first'), 'raw', id)).toBe('done');
  return id;
}

const heads = new Map<string, Buffer>();
const head = async (model: 'first' | 'second'): Promise<Buffer> => heads.get(model) as Buffer;

async function qcow2Of(model: 'first'): Promise<Buffer> {
  const target = join(work, `${model}.qcow2`);
  await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', models[model], target]);
  return await readFile(target);
}

async function newBackup(volumeId: string): Promise<string> {
  const { id } = await cloud.backups.create(caller, backupOrder({ volumeId }));
  return id;
}

async function backupOfFirst(): Promise<string> {
  const id = await newBackup(await newVolume('first'));
  expect(await cloud.settled('backups', id)).toBe('available');
  return id;
}

/** A refused restore leaves the backup usable, and says there why. */
async function restoreOutcome(backupId: string, volumeId: string): Promise<Outcome> {
  const status = await cloud.settled('volumes', volumeId);
  expect(await cloud.settled('backups', backupId)).toBe('available');
  if (status === 'available') return 'done';
  expect(status).toMatch(/^error/);
  return { failed: (await cloud.backups.get(caller, backupId)).failReason ?? 'unknown' };
}

async function settledSnapshot(volumeId: string): Promise<string> {
  const id = await newSnapshot(volumeId);
  expect(await cloud.settled('snapshots', id)).toBe('available');
  return id;
}

/** Gives up the names of all layers but the top; when they have none any more, has the volume looked at again. */
async function merge(id: string, snapshots: string[]): Promise<Outcome> {
  const gone = snapshots.splice(0);
  if (gone.length === 0) gone.push(await settledSnapshot(id));
  const before = cloud.warnings.length;
  for (const snapshot of gone) await cloud.snapshots.delete(caller, snapshot);
  return await mergeOutcome(id, before);
}

/** Two layers are left of a volume without snapshots, or the log says why not. */
async function mergeOutcome(volumeId: string, warningsBefore: number): Promise<Outcome> {
  const layersLeft = async () => (await readdir(join(cloud.paths.volumes, volumeId))).filter((name) => name.endsWith('.qcow2')).length;
  const complaint = () => cloud.warnings.slice(warningsBefore).find((message) => /merge/.test(message));
  await expect.poll(async () => complaint() !== undefined || (await layersLeft()) === 2, { timeout: 30_000, interval: 20 }).toBe(true);
  const reason = complaint();
  if (reason === undefined) return 'done';
  return { failed: reason };
}

const operations: readonly Operation[] = [
  creating('the creation of a volume', async () => ({ source: { kind: 'blank' }, holds: 'blank' })),
  creating('a volume from an image', async () => ({ source: { kind: 'image', id: await imageOf() }, holds: 'first' })),
  creating('a volume from a snapshot', async () => {
    const id = await newVolume('first');
    const snapshot = await newSnapshot(id);
    await cloud.settled('snapshots', snapshot);
    return { source: { kind: 'snapshot', id: snapshot }, holds: 'first', unharmed: () => mustHold(id, 'first') };
  }),
  creating('the clone of a volume', async () => {
    const id = await newVolume('first');
    return { source: { kind: 'volume', id }, holds: 'first', unharmed: () => mustHold(id, 'first') };
  }),
  {
    name: 'the snapshot of a volume',
    async prepare() {
      const id = await newVolume('first');
      return {
        run: async () => outcomeOf('snapshots', await newSnapshot(id), 'available'),
        unharmed: () => mustHold(id, 'first'),
        verify: () => mustHold(id, 'first'),
      };
    },
  },
  {
    name: 'the snapshot of a connected volume',
    async prepare() {
      const id = await newVolume('first');
      const uri = await connect(id);
      return {
        run: async () => outcomeOf('snapshots', await newSnapshot(id), 'available'),
        unharmed: () => mustHold(id, 'first', uri),
        async verify() {
          await writeThrough(uri, 'second');
          await mustHold(id, 'second', uri);
          await disconnect(id);
          await mustHold(id, 'second');
        },
      };
    },
  },
  {
    name: 'a backup',
    async prepare() {
      const id = await newVolume('first');
      let backup = '';
      return {
        async run() {
          backup = await newBackup(id);
          const outcome = await outcomeOf('backups', backup, 'available');
          expect(await cloud.settled('volumes', id)).toBe('available');
          return outcome;
        },
        unharmed: () => mustHold(id, 'first'),
        async verify() {
          const { volumeId } = await cloud.backups.restore(caller, backup, { volumeId: null, name: null });
          expect(await restoreOutcome(backup, volumeId)).toBe('done');
          await mustHold(volumeId, 'first');
        },
      };
    },
  },
  {
    name: 'a restore to a new volume',
    async prepare() {
      const backup = await backupOfFirst();
      let target = '';
      return {
        async run() {
          target = (await cloud.backups.restore(caller, backup, { volumeId: null, name: null })).volumeId;
          return await restoreOutcome(backup, target);
        },
        unharmed: nothing,
        verify: () => mustHold(target, 'first'),
      };
    },
  },
  {
    name: 'a restore to a volume that holds something else',
    async prepare() {
      const [backup, target] = [await backupOfFirst(), await newVolume('second')];
      return {
        async run() {
          await cloud.volumes.resetStatus(caller, target, { status: 'available', attachStatus: null });
          await cloud.backups.restore(caller, backup, { volumeId: target, name: null });
          return await restoreOutcome(backup, target);
        },
        async unharmed() {
          const restored = (await cloud.settled('volumes', target)) === 'available';
          await mustHold(target, restored ? 'first' : 'second');
        },
        verify: () => mustHold(target, 'first'),
      };
    },
  },
  {
    name: 'the extension of a volume',
    async prepare() {
      const id = await newVolume('first');
      return {
        async run() {
          await cloud.volumes.resetStatus(caller, id, { status: 'available', attachStatus: null });
          if ((await cloud.volumes.get(caller, id)).sizeGib === 1) await cloud.volumes.extend(caller, id, 3);
          return await outcomeOf('volumes', id, 'available');
        },
        unharmed: () => mustHoldGrown(id),
        verify: () => mustHoldGrown(id),
      };
    },
  },
  {
    name: 'a revert to a snapshot',
    async prepare() {
      const id = await newVolume('first');
      const snapshotId = await newSnapshot(id);
      await cloud.settled('snapshots', snapshotId);
      await write(id, 'second');
      return {
        async run() {
          await cloud.volumes.resetStatus(caller, id, { status: 'available', attachStatus: null });
          await cloud.snapshots.revert(caller, { volumeId: id, snapshotId, latestOnly: false });
          return await outcomeOf('volumes', id, 'available');
        },
        async unharmed() {
          const reverted = (await cloud.settled('volumes', id)) === 'available';
          await mustHold(id, reverted ? 'first' : 'second');
        },
        verify: () => mustHold(id, 'first'),
      };
    },
  },
  uploading('raw', () => head('first')),
  uploading('qcow2', () => qcow2Of('first')),
  {
    name: 'the deletion of a snapshot, and the merge after it',
    alwaysWorks: true,
    async prepare() {
      const id = await newVolume('first');
      const snapshots = [await newSnapshot(id)];
      await cloud.settled('snapshots', snapshots[0] as string);
      await write(id, 'second');
      snapshots.push(await newSnapshot(id));
      await cloud.settled('snapshots', snapshots[1] as string);
      return {
        async run() {
          for (const snapshot of snapshots) await cloud.snapshots.delete(caller, snapshot);
          for (const snapshot of snapshots) expect(await cloud.settled('snapshots', snapshot)).toBe('gone');
          return 'done';
        },
        unharmed: () => mustHold(id, 'second'),
        verify: () => mustHold(id, 'second'),
      };
    },
  },
  {
    name: 'the merge of layers',
    async prepare() {
      const id = await newVolume('first');
      const snapshots = [await settledSnapshot(id)];
      await write(id, 'second', dataBytes);
      snapshots.push(await settledSnapshot(id));
      return { run: () => merge(id, snapshots), unharmed: () => mustHold(id, 'both'), verify: () => mustHold(id, 'both') };
    },
  },
  {
    name: 'the merge of layers of a connected volume',
    async prepare() {
      const id = await newVolume('first');
      const uri = await connect(id);
      const snapshots = [await settledSnapshot(id)];
      await writeThrough(uri, 'second', 'raw', dataBytes);
      snapshots.push(await settledSnapshot(id));
      return {
        run: () => merge(id, snapshots),
        unharmed: () => mustHold(id, 'both', uri),
        async verify() {
          await mustHold(id, 'both', uri);
          await disconnect(id);
          await mustHold(id, 'both');
          await mustRun('qemu-img', ['check', '-q', await topOf(id)]);
        },
      };
    },
  },
  {
    name: 'the deletion of a volume and an image',
    alwaysWorks: true,
    async prepare() {
      const [image, volume] = [await imageOf(), await newVolume('first')];
      return {
        async run() {
          await cloud.images.delete(caller, image);
          await cloud.volumes.delete(caller, volume, { cascade: true, force: false });
          expect([await cloud.settled('images', image), await cloud.settled('volumes', volume)]).toEqual(['gone', 'gone']);
          return 'done';
        },
        unharmed: nothing,
        verify: nothing,
      };
    },
  },
  {
    name: 'a connection',
    async prepare() {
      const id = await newVolume('first');
      return {
        async run() {
          try {
            await disconnectAfter(id, await connect(id));
            return 'done';
          } catch (error) {
            await cloud.volumes.unreserve(caller, id);
            expect(await cloud.settled('volumes', id)).toBe('available');
            return { failed: messageOf(error) };
          }
        },
        unharmed: () => mustHold(id, 'first'),
        verify: () => mustHold(id, 'first'),
      };
    },
  },
  {
    name: 'a disconnection',
    alwaysWorks: true,
    async prepare() {
      const id = await newVolume('first');
      await writeThrough(await connect(id), 'second');
      return {
        async run() {
          await disconnect(id);
          expect(await cloud.settled('volumes', id)).toBe('available');
          return 'done';
        },
        unharmed: () => mustHold(id, 'second'),
        verify: () => mustHold(id, 'second'),
      };
    },
  },
];

async function mustHoldGrown(id: string): Promise<void> {
  const { sizeGib } = await cloud.volumes.get(caller, id);
  const { stdout } = await run('qemu-img', ['info', '--output=json', await topOf(id)]);
  expect(JSON.parse(stdout)['virtual-size']).toBe(sizeGib * gib);
  // A longer disk is equal when the rest is zeroes.
  await mustHold(id, 'first');
}

/** Ends what an attempt made, so that the disk does not fill up with it. */
async function cleanUp(): Promise<void> {
  const idsOf = async (table: 'volumes' | 'images' | 'backups') =>
    (await cloud.held.database.sql.selectFrom(table).select('id').execute()).map(({ id }) => id).filter((id) => id !== bystander);
  for (const id of await idsOf('backups')) {
    await cloud.backups.delete(caller, id);
    expect(await cloud.settled('backups', id)).toBe('gone');
  }
  for (const id of await idsOf('volumes')) {
    await cloud.volumes.resetStatus(caller, id, { status: 'error', attachStatus: 'detached' });
    await cloud.volumes.delete(caller, id, { cascade: true, force: false });
    expect(await cloud.settled('volumes', id)).toBe('gone');
  }
  for (const id of await idsOf('images')) {
    await cloud.images.delete(caller, id);
    await cloud.settled('images', id);
  }
  // What goes later would make space in the next attempt.
  await cloud.mustHaveNoStrays();
}

describe.runIf(mayMount)('a file system that becomes full', { timeout: 300_000 }, () => {
  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'sp-work-'));
    for (const model of ['first', 'second'] as const) {
      heads.set(model, randomBytes(dataBytes));
      await writeFile(join(work, `${model}.head`), heads.get(model) as Buffer);
      await makeModel(model, heads.get(model) as Buffer);
    }
    await makeModel('blank', Buffer.alloc(0));
    await makeModel('both', Buffer.concat([await head('first'), await head('second')]));
    disk = await makeSmallDisk(128);
    cloud = await startWholeCloud(join(disk.path, 's'));
    bystander = await newVolume('first');
  });
  afterAll(async () => {
    await cloud?.stop();
    await disk?.unmount();
    await rm(work, { recursive: true, force: true });
  });
  afterEach(async () => {
    await disk.empty();
    await cleanUp();
  });

  async function attemptWith(operation: Operation, fillAt: string): Promise<Outcome> {
    const attempt = await operation.prepare();
    const recording = recordCrashPoints((name) => {
      if (name === fillAt) disk.fill();
    });
    if (fillAt === beforeIt) disk.fill();
    const outcome = await attempt.run();
    recording.stop();
    await cloud.mustBeSettled();
    await attempt.unharmed();
    await mustHold(bystander, 'first');
    await disk.empty();
    await cloud.mustHaveNoStrays();
    if (outcome !== 'done') expect(await attempt.run()).toBe('done');
    await attempt.verify();
    await cloud.mustHaveNoStrays();
    await cleanUp();
    return outcome;
  }

  it.each(operations.map((operation) => [operation.name, operation] as const))(
    'during %s leaves all settled and whole',
    async (_name, operation) => {
      const smooth = await operation.prepare();
      const recording = recordCrashPoints();
      expect(await smooth.run()).toBe('done');
      // Between the runner's own points and those of the steps nothing happens.
      const points = recording.stop().filter((name) => !/:(?:start|done)$/.test(name));
      await smooth.verify();
      await cleanUp();
      const outcomes: string[] = [];
      for (const point of [beforeIt, ...points]) {
        const outcome = await attemptWith(operation, point);
        outcomes.push(`${point}: ${outcome === 'done' ? outcome : outcome.failed}`);
      }
      console.log(`${operation.name}\n  ${outcomes.join('\n  ')}`);
      const failed = outcomes.filter((outcome) => !outcome.endsWith(': done'));
      if (operation.alwaysWorks === true) expect(failed).toEqual([]);
      else expect(failed.length).toBeGreaterThan(0);
      for (const reason of failed) expect(reason).toMatch(/No space left on the disk|Not enough space|Image storage media is full/);
    },
  );

  it('fails what a client writes, and serves it on when there is space', async () => {
    const id = await newVolume('first');
    const uri = await connect(id);
    const large = ['-f', 'raw', '-c', 'write -q -P 9 8M 16M', '-c', 'flush', uri];
    disk.fill();
    expect((await run('qemu-io', large)).stdout).toMatch(/No space left on device/);
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read -q 0 1M', uri]);
    const snapshot = await newSnapshot(id);
    expect(await cloud.settled('snapshots', snapshot)).toBe('error');
    expect((await cloud.volumes.get(caller, id)).status).toBe('in-use');
    await disk.empty();
    await mustRun('qemu-io', large);
    await writeThrough(uri, 'second');
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read -q -P 9 8M 16M', uri]);
    await disconnect(id);
    await mustRun('qemu-img', ['check', '-q', await topOf(id)]);
    await mustHold(bystander, 'first');
  });
});
