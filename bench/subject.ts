/** The service as the benchmark drives it: over its public APIs, in a project of its own for each disk, so that no round profits from another. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExtentSet } from '../src/engine/disk/extent-set.ts';
import { type Answer, type Api, signIn } from '../test/support/api.ts';
import { mustRun } from '../test/support/clients.ts';
import { connect, disconnect, mustSettle } from '../test/support/scenario.ts';
import type { ServiceUnderTest } from '../test/support/service.ts';
import { childrenOf, peakMemory, storedBytes } from './measure.ts';

export interface BenchDisk {
  readonly volumeId: string;
  /** Writes what the image file holds in these ranges into the volume, durably. */
  apply(imagePath: string, changed: ExtentSet): Promise<void>;
  /** Seconds from the request to `available`. */
  backUp(options: { incremental: boolean }): Promise<number>;
  /** The newest backup to a new volume; seconds from the request to `available`. */
  restore(): Promise<number>;
  /** The restored volume holds the bytes of the image. */
  mustEqual(imagePath: string): Promise<void>;
  remove(): Promise<void>;
}

export interface Subject {
  readonly service: ServiceUnderTest;
  readonly api: Api;
  makeDisk(imagePath: string): Promise<BenchDisk>;
  stored(): number;
  /** Of the service and the data mover. */
  peakMemory(): { readonly service: number; readonly mover: number };
}

const pollMs = 2;
const unlimited = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1 };

export async function createSubject(service: ServiceUnderTest): Promise<Subject> {
  const api = await signIn(service);
  await api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: unlimited });
  return {
    service,
    api,
    makeDisk: (imagePath) => makeDisk(service, imagePath),
    stored: () => storedBytes(join(service.stateDir, 'repositories')),
    peakMemory: () => ({
      service: peakMemory(service.processId),
      mover: Math.max(0, ...childrenOf(service.processId).map(peakMemory)),
    }),
  };
}

/** A project is its own domain of deduplication. */
async function newProject(service: ServiceUnderTest): Promise<Api> {
  const admin = await signIn(service);
  const name = `bench-${Math.random().toString(36).slice(2)}`;
  const { project } = await must(admin, 'POST', '/identity/v3/projects', { project: { name, domain_id: 'default' } });
  const { users } = await must(admin, 'GET', '/identity/v3/users?name=admin');
  const { roles } = await must(admin, 'GET', '/identity/v3/roles?name=admin');
  await must(admin, 'PUT', `/identity/v3/projects/${project.id}/users/${users[0].id}/roles/${roles[0].id}`);
  const api = await signIn(service, name);
  await admin.volume('PUT', `/os-quota-sets/${project.id}`, { quota_set: unlimited });
  return api;
}

async function must(api: Api, method: string, path: string, body?: unknown): Promise<Answer> {
  const reply = await api.raw(method, path, body);
  if (reply.status >= 400) throw new Error(`${method} ${path}: ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body;
}

async function makeDisk(service: ServiceUnderTest, imagePath: string): Promise<BenchDisk> {
  const api = await newProject(service);
  const image = await api.image('POST', '/images', { name: 'bench', disk_format: 'raw', container_format: 'bare' });
  const status = await api.uploadFile(image.id, imagePath);
  if (status !== 204) throw new Error(`upload: ${status}`);
  const { volume } = await api.volume('POST', '/volumes', { volume: { name: 'bench', size: 4, imageRef: image.id } });
  await mustSettle(api, 'volumes', volume.id, 'available');
  let backupId = '';
  let restoredId = '';
  return {
    volumeId: volume.id,
    apply: (path, changed) => applyChanges(api, volume.id, path, changed),
    async backUp({ incremental }) {
      const startedAt = performance.now();
      const { backup } = await api.volume('POST', '/backups', { backup: { volume_id: volume.id, name: 'bench', incremental } });
      backupId = backup.id;
      await untilAvailable(api, `/backups/${backup.id}`, 'backup');
      return (performance.now() - startedAt) / 1000;
    },
    async restore() {
      const startedAt = performance.now();
      const { restore } = await api.volume('POST', `/backups/${backupId}/restore`, { restore: { name: 'restored', volume_id: null } });
      restoredId = restore.volume_id;
      await untilAvailable(api, `/volumes/${restoredId}`, 'volume');
      return (performance.now() - startedAt) / 1000;
    },
    async mustEqual(path) {
      const uri = await connect(api, restoredId);
      await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, path]);
      await disconnect(api, restoredId);
    },
    async remove() {
      for (const id of [restoredId, volume.id]) await api.volume('DELETE', `/volumes/${id}`);
      await api.image('DELETE', `/images/${image.id}`);
      for (const id of [restoredId, volume.id]) await api.settled('volumes', id);
    },
  };
}

export async function untilAvailable(api: Api, path: string, noun: string): Promise<void> {
  for (;;) {
    const resource = (await api.volume('GET', path))[noun];
    if (resource.status === 'available') return;
    if (resource.status.startsWith('error')) throw new Error(`${path}: ${resource.status} ${resource.fail_reason ?? ''}`);
    await sleep(pollMs);
  }
}

const commandsAtOnce = 1000;

/** qemu-io takes the bytes of one write from a file of their own. */
async function applyChanges(api: Api, volumeId: string, imagePath: string, changed: ExtentSet): Promise<void> {
  const uri = await connect(api, volumeId);
  const image = await open(imagePath, 'r');
  const scratch = `${imagePath}.change`;
  const writes: string[] = [];
  for (const [start, end] of changed.ranges()) {
    const bytes = Buffer.alloc(end - start);
    await image.read(bytes, 0, bytes.length, start);
    const file = `${scratch}-${start}`;
    const out = await open(file, 'w');
    await out.write(bytes);
    await out.close();
    writes.push(file, `write -q -s ${file} ${start} ${end - start}`);
  }
  await image.close();
  for (let at = 0; at < writes.length; at += 2 * commandsAtOnce) {
    const commands = writes.slice(at, at + 2 * commandsAtOnce).filter((_, index) => index % 2 === 1);
    await mustRun('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), '-c', 'flush', uri]);
  }
  for (let at = 0; at < writes.length; at += 2) await rm(writes[at] ?? '');
  await disconnect(api, volumeId);
}
