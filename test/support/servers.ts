/** Servers of the test guest, made as operators do: a kernel, a ramdisk and a disk as images, through the public APIs. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Api } from './api.ts';
import { buildGuest, type GuestOptions, readyLine } from './guest/build-guest.ts';
import { makeFormattedDisk } from './guest/disk-images.ts';

export interface GuestImages {
  readonly kernelId: string;
  readonly ramdiskId: string;
  /** An image of a disk with an empty ext4, which starts that kernel. */
  diskImage(options?: GuestOptions, properties?: Readonly<Record<string, string>>): Promise<string>;
}

/** The smallest flavor in which the guest boots. */
export const guestFlavor = { name: 'guest', ram: 256, vcpus: 1, disk: 1 } as const;

export async function uploadGuest(api: Api, facts: object = {}): Promise<GuestImages> {
  const { kernelPath, initrdPath, appendFor } = await buildGuest();
  const upload = async (order: object, path: string): Promise<string> => {
    const { id } = await api.image('POST', '/images', { ...facts, ...order });
    const status = await api.uploadFile(id, path);
    if (status !== 204) throw new Error(`upload of ${path}: ${status}`);
    return id;
  };
  const kernelId = await upload({ name: 'guest-kernel', disk_format: 'aki', container_format: 'aki' }, kernelPath);
  const ramdiskId = await upload({ name: 'guest-ramdisk', disk_format: 'ari', container_format: 'ari' }, initrdPath);
  return {
    kernelId,
    ramdiskId,
    async diskImage(options = {}, properties = {}) {
      const folder = await mkdtemp(join(tmpdir(), 'stillpoint-disk-'));
      try {
        const path = join(folder, 'disk');
        await makeFormattedDisk(path, 'ext4');
        const kernel = { kernel_id: kernelId, ramdisk_id: ramdiskId, os_command_line: appendFor(options) };
        const order = { name: 'guest', disk_format: 'raw', container_format: 'bare', hw_qemu_guest_agent: 'yes', ...kernel, ...properties };
        return await upload(order, path);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  };
}

export async function makeFlavor(api: Api, facts: object = {}): Promise<string> {
  const order = { ...guestFlavor, name: `guest-${Math.random().toString(36).slice(2)}`, ...facts };
  return (await api.compute('POST', '/flavors', { flavor: order })).flavor.id;
}

export async function orderServer(api: Api, facts: object): Promise<string> {
  return (await api.compute('POST', '/servers', { server: { name: 'server', networks: 'none', ...facts } })).server.id;
}

const waitMs = 120_000;

/** Polls until nothing is being done to the server. Undefined: it is gone. */
export async function settledServer(api: Api, id: string): Promise<Answer | undefined> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const { status, body } = await api.raw('GET', `/compute/v2.1/servers/${id}`, undefined, 'compute 2.79');
    if (status === 404) return undefined;
    const { server } = body;
    if (server.status !== 'BUILD' && server['OS-EXT-STS:task_state'] === null) return server;
    if (performance.now() > deadline) throw new Error(`server ${id} is still ${server.status}, ${server['OS-EXT-STS:task_state']}`);
    await sleep(50);
  }
}

/** Polls until its owner sees that. */
export async function serverBecomes(api: Api, id: string, wanted: string): Promise<Answer> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const server = await settledServer(api, id);
    if (server?.status === wanted) return server;
    if (server === undefined || server.status === 'ERROR' || performance.now() > deadline)
      throw new Error(`server ${id} does not become ${wanted}: ${JSON.stringify(server)}`);
    await sleep(50);
  }
}

/** Does an action, and waits for what comes of it. */
export async function act(api: Api, id: string, action: object): Promise<Answer> {
  await api.compute('POST', `/servers/${id}/action`, action);
  return await settledServer(api, id);
}

export const consoleOf = async (api: Api, id: string): Promise<string> =>
  (await api.compute('POST', `/servers/${id}/action`, { 'os-getConsoleOutput': {} })).output;

/** Polls until the guest said so on its console, from `since` characters on. */
export async function guestSays(api: Api, id: string, pattern: RegExp, since = 0): Promise<RegExpExecArray> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const said = await consoleOf(api, id);
    const match = pattern.exec(said.slice(since));
    if (match !== null) return match;
    if (performance.now() > deadline) throw new Error(`server ${id} did not say ${pattern}: ${said.slice(-3000)}`);
    await sleep(100);
  }
}

export const guestIsReady = (api: Api, id: string, since = 0): Promise<unknown> => guestSays(api, id, new RegExp(readyLine), since);

export async function deleteServer(api: Api, id: string): Promise<void> {
  await api.compute('DELETE', `/servers/${id}`);
  const left = await settledServer(api, id);
  if (left !== undefined) throw new Error(`server ${id} was not deleted: ${JSON.stringify(left)}`);
}
