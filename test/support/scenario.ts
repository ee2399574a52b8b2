import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Api } from './api.ts';
import { mustRun } from './clients.ts';
import { type Block, writeBlocks } from './disks.ts';

/** Steps that tests of the whole service are made of, over the public APIs. */

const oneGib = 1 << 30;
const quietTimeoutMs = 60_000;

export async function makeImage(api: Api, name: string, bytes: Buffer, format = 'raw'): Promise<string> {
  const image = await api.image('POST', '/images', { name, disk_format: format, container_format: 'bare' });
  const status = await api.upload(image.id, bytes);
  if (status !== 204) throw new Error(`upload of ${name}: ${status}`);
  return image.id;
}

export async function makeVolume(api: Api, source: object, name = 'volume'): Promise<string> {
  const { volume } = await api.volume('POST', '/volumes', { volume: { name, size: 1, ...source } });
  await mustSettle(api, 'volumes', volume.id, 'available');
  return volume.id;
}

export async function makeSnapshot(api: Api, volumeId: string): Promise<string> {
  const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: volumeId, name: 'snapshot' } });
  await mustSettle(api, 'snapshots', snapshot.id, 'available');
  return snapshot.id;
}

export async function makeBackup(api: Api, volumeId: string, options: object = {}): Promise<string> {
  const { backup } = await api.volume('POST', '/backups', { backup: { volume_id: volumeId, name: 'backup', ...options } });
  await mustSettle(api, 'backups', backup.id, 'available');
  return backup.id;
}

export async function mustSettle(api: Api, collection: 'volumes' | 'snapshots' | 'backups', id: string, wanted: string): Promise<Answer> {
  const resource = await api.settled(collection, id);
  if (resource?.status !== wanted)
    throw new Error(`${collection} ${id}: ${resource?.status ?? 'gone'} (${resource?.fail_reason ?? ''}), not ${wanted}`);
  return resource;
}

const connector = { host: 'test-host', initiator: null };

/** The address of the volume's bytes. It is `in-use` from now on. */
export async function connect(api: Api, volumeId: string, mode: 'rw' | 'ro' = 'rw'): Promise<string> {
  const action = (body: object) => api.volume('POST', `/volumes/${volumeId}/action`, body);
  await action({ 'os-reserve': null });
  const { connection_info: info } = await action({ 'os-initialize_connection': { connector: { ...connector, mode } } });
  await action({ 'os-attach': { host_name: connector.host, mountpoint: '/dev/vdb', mode } });
  return info.data.uri;
}

export async function disconnect(api: Api, volumeId: string): Promise<void> {
  const action = (body: object) => api.volume('POST', `/volumes/${volumeId}/action`, body);
  await action({ 'os-begin_detaching': null });
  await action({ 'os-terminate_connection': { connector } });
  await action({ 'os-detach': {} });
  await mustSettle(api, 'volumes', volumeId, 'available');
}

export async function writeToVolume(api: Api, volumeId: string, model: string, blocks: readonly Block[], seed: number): Promise<void> {
  await writeBlocks(await connect(api, volumeId), model, blocks, seed);
  await disconnect(api, volumeId);
}

/** What a client does that lost its service on the way: it disconnects before it begins again. */
export async function letGo(api: Api, volumeId: string): Promise<void> {
  const { volume } = await api.volume('GET', `/volumes/${volumeId}`);
  const action = (body: object) => api.volume('POST', `/volumes/${volumeId}/action`, body);
  if (volume.status === 'in-use') await disconnect(api, volumeId);
  if (volume.status === 'attaching') await action({ 'os-unreserve': null });
  if (volume.status === 'detaching') await action({ 'os-detach': {} });
}

/** Compares every byte of a volume with a raw file that may be shorter: then the rest must be zeroes. */
export async function mustHold(api: Api, volumeId: string, model: string): Promise<void> {
  await letGo(api, volumeId);
  const uri = await connect(api, volumeId);
  try {
    await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, model]);
  } finally {
    await disconnect(api, volumeId);
  }
}

/** A raw model of a 1 GiB volume that begins with `bytes`. */
export async function makeModel(folder: string, name: string, bytes: Buffer): Promise<string> {
  const path = join(folder, name);
  await rm(path, { force: true });
  await writeFile(path, bytes);
  await truncate(path, oneGib);
  return path;
}

const transient = /^(creating|downloading|deleting|backing-up|restoring|restoring-backup|extending|uploading|reverting|saving)$/;

/** Waits until no resource is on its way to another state. */
export async function mustBecomeQuiet(api: Api): Promise<void> {
  const deadline = performance.now() + quietTimeoutMs;
  for (;;) {
    const moving = await resourcesInMotion(api);
    if (moving.length === 0) return;
    if (performance.now() > deadline) throw new Error(`still in motion: ${moving.join(', ')}`);
    await sleep(30);
  }
}

async function resourcesInMotion(api: Api): Promise<string[]> {
  const moving: string[] = [];
  for (const collection of ['volumes', 'snapshots', 'backups', 'groups', 'group_snapshots']) {
    const answer = await api.volume('GET', `/${collection}/detail`);
    for (const one of answer[collection]) if (transient.test(one.status)) moving.push(`${collection} ${one.id} ${one.status}`);
  }
  const { servers } = await api.compute('GET', '/servers/detail');
  for (const one of servers) {
    const task = one['OS-EXT-STS:task_state'];
    if (one.status === 'BUILD' || task !== null) moving.push(`servers ${one.id} ${one.status} ${task}`);
  }
  const { images } = await api.image('GET', '/images');
  for (const one of images) if (transient.test(one.status)) moving.push(`images ${one.id} ${one.status}`);
  return moving;
}
