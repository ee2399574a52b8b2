import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/lib/random.ts';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { mustRun } from '../support/clients.ts';
import { scatteredBlocks, writeBlocks } from '../support/disks.ts';
import { processes } from '../support/processes.ts';
import {
  connect,
  disconnect,
  makeBackup,
  makeSnapshot,
  makeVolume,
  mustBecomeQuiet,
  mustHold,
  mustSettle,
  writeToVolume,
} from '../support/scenario.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/**
 * Ends processes at moments that nobody chose, while half a gigabyte of random data is on its way: the service, the data mover alone, and the
 * server of a connected disk. The marked instants are the other tests' business; this one finds what nobody thought of.
 *
 * `STILLPOINT_TEST_SEED` repeats the moments of an earlier run as far as the machine's own timing lets it.
 */

const mib = 1 << 20;
const dataMib = 512;
const dataBytes = dataMib * mib;
const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Date.now() % 2 ** 31);
const random = seededRandom(seed);
let kills = 0;

let stateDir: string;
let folder: string;
let service: ServiceUnderTest;
let api: Api;
/** What the volume must hold. */
let model: string;
let data: string;
let volumeId: string;
let imageId: string;

async function writeRandom(path: string, bytes: number): Promise<void> {
  await mustRun('dd', ['if=/dev/urandom', `of=${path}`, 'bs=1M', `count=${bytes / mib}`, 'status=none']);
}

async function begin(): Promise<void> {
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
}

async function uploadImage(name: string): Promise<string> {
  const { id } = await api.image('POST', '/images', { name, disk_format: 'raw', container_format: 'bare' });
  const status = await api.uploadFile(id, data);
  if (status !== 204) throw new Error(`upload: ${status}`);
  return id;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-random-'));
  stateDir = await makeStateDir();
  data = join(folder, 'data.raw');
  model = join(folder, 'model.raw');
  await writeRandom(data, dataBytes);
  await copyFile(data, model);
  await mustRun('truncate', ['-s', '1G', model]);
  await begin();
  const quota = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1 };
  await api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: quota });
  imageId = await uploadImage('kept');
  volumeId = await makeVolume(api, { imageRef: imageId }, 'kept');
});

afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
  await rm(folder, { recursive: true, force: true });
  process.stdout.write(`kills at random moments: ${kills}, STILLPOINT_TEST_SEED=${seed}\n`);
});

async function vanish(collection: 'volumes' | 'snapshots' | 'backups', id: string): Promise<void> {
  await api.volume('DELETE', `/${collection}/${id}`);
  expect(await api.settled(collection, id)).toBeUndefined();
}

/** A client that was cut off between its calls leaves its connection half-way; like a good client it comes back and ends it. */
async function letGo(): Promise<void> {
  const { volumes } = await api.volume('GET', '/volumes/detail');
  for (const { id, status } of volumes as Answer[]) {
    const action = (body: object) => api.volume('POST', `/volumes/${id}/action`, body);
    if (status === 'in-use') await disconnect(api, id);
    if (status === 'attaching') await action({ 'os-unreserve': null });
    if (status === 'detaching') await action({ 'os-detach': {} });
  }
}

interface Operation {
  readonly name: string;
  readonly kills: number;
  /** Makes the operation worth its time again. */
  renew?(): Promise<void>;
  /** To its end. Throws when it does not end well; a dying service makes it throw, too. */
  run(): Promise<void>;
  /** What must be so whatever became of it. */
  check?(): Promise<void>;
}

/** Other bytes all over the disk, so that a backup has all of them to read and to write. */
async function rewriteVolume(): Promise<void> {
  const head = join(folder, 'head.raw');
  await writeRandom(head, dataBytes);
  await mustRun('nbdcopy', ['--flush', head, await connect(api, volumeId)]);
  await disconnect(api, volumeId);
  await mustRun('dd', [`if=${head}`, `of=${model}`, 'bs=1M', 'conv=notrunc', 'status=none']);
  await rm(head);
}

let round = 0;
const scatter = async (count: number): Promise<void> => {
  round += 1;
  await writeToVolume(api, volumeId, model, scatteredBlocks(dataBytes, count), round);
};

async function newestBackup(): Promise<string> {
  const { backups } = await api.volume('GET', `/backups/detail?volume_id=${volumeId}`);
  for (const { id, status } of backups as Answer[])
    if (!['available', 'error'].includes(status)) throw new Error(`backup ${id} is ${status}`);
  return backups.find(({ status }: Answer) => status === 'available').id;
}

async function restore(backupId: string, target: string | null): Promise<string> {
  const order = { volume_id: target, name: 'restored' };
  const { volume_id: restored } = (await api.volume('POST', `/backups/${backupId}/restore`, { restore: order })).restore;
  await mustSettle(api, 'volumes', restored, 'available');
  await mustSettle(api, 'backups', backupId, 'available');
  return restored;
}

async function removeVolumesNamed(name: string): Promise<void> {
  const { volumes } = await api.volume('GET', `/volumes/detail?name=${name}`);
  for (const { id } of volumes) await vanish('volumes', id);
}

let target: { id: string; before: string };

const operations: readonly Operation[] = [
  {
    name: 'image upload',
    kills: 2,
    async run() {
      await api.image('DELETE', `/images/${await uploadImage('again')}`);
    },
    async check() {
      const { images } = await api.image('GET', '/images');
      for (const { id, status, name } of images) {
        expect(['active', 'queued']).toContain(status);
        if (name === 'again') await api.image('DELETE', `/images/${id}`);
      }
      expect((await api.image('GET', `/images/${imageId}`)).status).toBe('active');
    },
  },
  {
    name: 'volume from image',
    kills: 2,
    async run() {
      const id = await makeVolume(api, { imageRef: imageId }, 'made');
      await mustHold(api, id, data);
    },
    check: () => removeVolumesNamed('made'),
  },
  {
    name: 'full backup',
    kills: 2,
    renew: rewriteVolume,
    async run() {
      await makeBackup(api, volumeId);
    },
  },
  {
    name: 'incremental backup',
    kills: 2,
    renew: () => scatter(400),
    async run() {
      await makeBackup(api, volumeId, { incremental: true });
    },
  },
  {
    name: 'restore to a new volume',
    kills: 2,
    async run() {
      const restored = await restore(await newestBackup(), null);
      await mustHold(api, restored, model);
    },
    check: () => removeVolumesNamed('restored'),
  },
  {
    name: 'restore over an existing volume',
    kills: 3,
    async renew() {
      const before = join(folder, 'before.raw');
      target ??= { id: await makeVolume(api, { imageRef: imageId }, 'target'), before };
      round += 1;
      const now = (await holds(target.id, model)) ? model : data;
      await mustRun('cp', ['--sparse=always', now, before]);
      await mustRun('truncate', ['-s', '1G', before]);
      await writeToVolume(api, target.id, before, scatteredBlocks(dataBytes, 50), round);
    },
    async run() {
      await restore(await newestBackup(), target.id);
      await mustHold(api, target.id, model);
    },
    /** One of the two, whole. */
    async check() {
      await mustSettle(api, 'volumes', target.id, 'available');
      if (!(await holds(target.id, target.before))) await mustHold(api, target.id, model);
    },
  },
  {
    name: 'snapshot of a connected volume that is written to',
    kills: 3,
    async run() {
      const uri = await connect(api, volumeId);
      round += 1;
      // The server of the disk outlives the service, so the client's writes all arrive.
      const writing = writeBlocks(uri, model, scatteredBlocks(dataBytes, 1500, 4096), round);
      writing.catch(() => undefined);
      try {
        for (let count = 0; count < 3; count += 1) await makeSnapshot(api, volumeId);
      } finally {
        await writing;
      }
      await disconnect(api, volumeId);
      await removeSnapshots();
    },
    async check() {
      await mustSettle(api, 'volumes', volumeId, 'available');
      await removeSnapshots();
    },
  },
];

async function removeSnapshots(): Promise<void> {
  const { snapshots } = await api.volume('GET', `/snapshots?volume_id=${volumeId}`);
  for (const { id } of snapshots) await vanish('snapshots', id);
}

const holds = (id: string, file: string): Promise<boolean> =>
  mustHold(api, id, file).then(
    () => true,
    () => false,
  );

describe.each(operations)('$name', (operation) => {
  it(`survives ${operation.kills} kills of the service`, async () => {
    await operation.renew?.();
    const startedAt = performance.now();
    await operation.run();
    const durationMs = performance.now() - startedAt;
    await operation.check?.();
    for (let count = 0; count < operation.kills; count += 1) {
      await operation.renew?.();
      const delayMs = Math.floor(random() * durationMs);
      const running = operation.run().catch(() => undefined);
      await sleep(delayMs);
      await service.kill();
      kills += 1;
      await running;
      await begin();
      try {
        await mustBecomeQuiet(api);
        await letGo();
        await operation.check?.();
        await mustHold(api, volumeId, model);
        await operation.run();
        await operation.check?.();
      } catch (error) {
        const log = service.log().slice(-3000);
        throw new Error(`killed ${delayMs} ms after the start (seed ${seed}): ${error}\n${log}`, { cause: error });
      }
    }
  });
});

async function killMover(): Promise<void> {
  const mover = (await processes()).find(
    ({ parentId, commandLine }) => parentId === service.processId && commandLine.includes('data-mover'),
  );
  if (mover === undefined) throw new Error('the service has no data mover');
  process.kill(mover.id, 'SIGKILL');
  kills += 1;
}

describe('the data mover alone', () => {
  it('is started anew, and the transfer ends well', async () => {
    await rewriteVolume();
    for (const work of [() => makeBackup(api, volumeId), async () => await restore(await newestBackup(), null)]) {
      const done = work();
      done.catch(() => undefined);
      await sleep(200 + random() * 500);
      await killMover();
      await done;
    }
    await mustBecomeQuiet(api);
    const { volumes } = await api.volume('GET', '/volumes/detail?name=restored');
    await mustHold(api, volumes[0].id, model);
    await removeVolumesNamed('restored');
  });
});

describe('the server of a connected disk', () => {
  async function killServerOfDisk(): Promise<void> {
    const server = (await processes()).find(
      ({ commandLine }) => /^[^\0]*qemu-storage-daemon\0/.test(commandLine) && commandLine.includes(stateDir),
    );
    if (server === undefined) throw new Error('nothing serves a disk');
    process.kill(server.id, 'SIGKILL');
    kills += 1;
  }

  async function writeAndKill(): Promise<void> {
    round += 1;
    await writeBlocks(await connect(api, volumeId), model, scatteredBlocks(dataBytes, 60), round);
    await killServerOfDisk();
  }

  it('may die: what it acknowledged is there when the volume is connected again', async () => {
    await writeAndKill();
    await disconnect(api, volumeId);
    await mustHold(api, volumeId, model);
  });

  it('may die before a snapshot and a backup of the volume', async () => {
    await writeAndKill();
    const snapshotId = await makeSnapshot(api, volumeId);
    await makeBackup(api, volumeId, { force: true });
    await mustBecomeQuiet(api);
    await disconnect(api, volumeId);
    await mustHold(api, volumeId, model);
    const fromSnapshot = await makeVolume(api, { snapshot_id: snapshotId }, 'restored');
    await mustHold(api, fromSnapshot, model);
    await removeVolumesNamed('restored');
    await vanish('snapshots', snapshotId);
    const restored = await restore(await newestBackup(), null);
    await mustHold(api, restored, model);
  });

  it('may die together with the service', async () => {
    await writeAndKill();
    await service.kill();
    kills += 1;
    await begin();
    await mustBecomeQuiet(api);
    await disconnect(api, volumeId);
    await mustHold(api, volumeId, model);
  });
});
