/** Servers: their creation, their power, their disks, their end. Guests are of one sector. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Api } from '../support/api.ts';
import { oneSectorGuest } from '../support/guest/one-sector.ts';
import { makeImage, makeVolume, mustHold, mustSettle } from '../support/scenario.ts';
import { type Scene, volumeWithData } from './scene.ts';

const nano = '42';
const settlesWithinMs = 60_000;

/** With a volume of its own that is made for it, and another one that was there before. */
export const serverLife: Scene = {
  name: 'creation, stop, start and deletion of a server',
  hasHelpers: true,
  async prepare(api, folder) {
    const imageRef = await makeImage(api, 'guest', oneSectorGuest());
    const { id: volumeId, model } = await volumeWithData(api, folder, 'of a server');
    return {
      async operate(again) {
        const devices = [
          { source_type: 'image', destination_type: 'local', uuid: imageRef, boot_index: 0, delete_on_termination: true },
          { source_type: 'volume', destination_type: 'volume', uuid: volumeId },
          { source_type: 'blank', destination_type: 'volume', volume_size: 1, delete_on_termination: true },
        ];
        const id = await makeServer(again, { imageRef, block_device_mapping_v2: devices });
        await hasBooted(again, id);
        await act(again, id, { 'os-stop': null }, 'SHUTOFF');
        await act(again, id, { 'os-start': null }, 'ACTIVE');
        await removeServer(again, id);
        await mustSettle(again, 'volumes', volumeId, 'available');
      },
      async check(again) {
        await mustBeSettled(again);
        await removeServers(again);
        const { volumes } = await again.volume('GET', '/volumes/detail');
        const others = volumes.filter((one: Answer) => one.id !== volumeId);
        if (others.length > 0) throw new Error(`left of a server: ${JSON.stringify(others)}`);
        await mustHold(again, volumeId, model);
      },
    };
  },
};

export const serverDisks: Scene = {
  name: 'disks plugged into a running server, and unplugged',
  hasHelpers: true,
  async prepare(api, folder) {
    const imageRef = await makeImage(api, 'guest', oneSectorGuest());
    const { id: volumeId, model } = await volumeWithData(api, folder, 'plugged');
    const other = await makeVolume(api, {}, 'stays');
    await makeServer(api, { imageRef, block_device_mapping_v2: [{ source_type: 'volume', destination_type: 'volume', uuid: other }] });
    return {
      async operate(again) {
        const id = await runningServer(again);
        await hasBooted(again, id);
        await attach(again, id, volumeId);
        await detach(again, id, volumeId);
      },
      async check(again) {
        await mustBeSettled(again);
        const id = await runningServer(again);
        // A failed attachment is gone; one whose service was killed is there.
        const { volumeAttachments } = await again.compute('GET', `/servers/${id}/os-volume_attachments`);
        if (volumeAttachments.some((one: Answer) => one.volumeId === volumeId)) await detach(again, id, volumeId);
        await mustSettle(again, 'volumes', other, 'in-use');
        await mustHold(again, volumeId, model);
      },
    };
  },
};

async function makeServer(api: Api, order: object): Promise<string> {
  const { server } = await api.compute('POST', '/servers', { server: { name: 'server', flavorRef: nano, networks: 'none', ...order } });
  await mustBecome(api, server.id, 'ACTIVE');
  return server.id;
}

/** Waits until nothing is being done to it; undefined when it is gone. */
async function settledServer(api: Api, id: string): Promise<Answer | undefined> {
  for (const deadline = performance.now() + settlesWithinMs; ; await sleep(20)) {
    const { status, body } = await api.raw('GET', `/compute/v2.1/servers/${id}`);
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(`server ${id}: ${status}`);
    const { server } = body;
    if (server.status !== 'BUILD' && server['OS-EXT-STS:task_state'] === null) return server;
    if (performance.now() > deadline) throw new Error(`server ${id} is still ${server.status}, ${server['OS-EXT-STS:task_state']}`);
  }
}

async function mustBecome(api: Api, id: string, status: string): Promise<void> {
  const server = await settledServer(api, id);
  if (server?.status !== status) throw new Error(`server ${id} is ${server?.status}, not ${status}: ${JSON.stringify(server?.fault)}`);
}

async function act(api: Api, id: string, action: object, status: string): Promise<void> {
  await api.compute('POST', `/servers/${id}/action`, action);
  await mustBecome(api, id, status);
}

/** Only saves time: a guest that was asked for something before it heard is asked again, seconds later. */
async function hasBooted(api: Api, id: string): Promise<void> {
  for (const deadline = performance.now() + 5_000; performance.now() < deadline; await sleep(50)) {
    const { output } = await api.compute('POST', `/servers/${id}/action`, { 'os-getConsoleOutput': {} });
    if (output !== '') return;
  }
}

async function removeServer(api: Api, id: string): Promise<void> {
  await api.compute('DELETE', `/servers/${id}`);
  const left = await settledServer(api, id);
  if (left !== undefined) throw new Error(`server ${id} is ${left.status}, not gone: ${JSON.stringify(left.fault)}`);
}

const serversOf = async (api: Api): Promise<Answer[]> => (await api.compute('GET', '/servers/detail')).servers;

async function removeServers(api: Api): Promise<void> {
  for (const { id } of await serversOf(api)) await removeServer(api, id);
}

/** The only one. One whose machine was killed is started again. */
async function runningServer(api: Api): Promise<string> {
  const [server] = await serversOf(api);
  if (server.status === 'SHUTOFF') await act(api, server.id, { 'os-start': null }, 'ACTIVE');
  else if (server.status !== 'ACTIVE') throw new Error(`the server is ${server.status}`);
  return server.id;
}

async function attach(api: Api, id: string, volumeId: string): Promise<void> {
  await api.compute('POST', `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
  await mustReach(api, volumeId, 'in-use');
}

async function detach(api: Api, id: string, volumeId: string): Promise<void> {
  await api.compute('DELETE', `/servers/${id}/os-volume_attachments/${volumeId}`);
  await mustReach(api, volumeId, 'available');
}

/** Volumes are reserved, attached and detached by jobs. */
async function mustReach(api: Api, volumeId: string, status: string): Promise<void> {
  let found = '';
  for (const deadline = performance.now() + settlesWithinMs; performance.now() < deadline; await sleep(20)) {
    found = (await api.volume('GET', `/volumes/${volumeId}`)).volume.status;
    if (found === status) return;
  }
  throw new Error(`volume ${volumeId} is ${found}, not ${status}`);
}

/** Nothing is on its way, and each volume is nobody's or attached once, to a server that is there. */
async function mustBeSettled(api: Api): Promise<void> {
  const servers = await serversOf(api);
  for (const { id } of servers) {
    const server = await settledServer(api, id);
    if (!['ACTIVE', 'SHUTOFF', 'ERROR'].includes(server.status)) throw new Error(`server ${id} is ${server.status}`);
    if (server.status === 'ERROR' && server.fault === undefined) throw new Error(`server ${id} is ERROR without a reason`);
  }
  // What attaches and detaches is no task of the server.
  let wrong: string | undefined = '';
  for (const deadline = performance.now() + settlesWithinMs; wrong !== undefined; await sleep(20)) {
    wrong = await wronglyHeld(api, new Set(servers.map(({ id }) => id)));
    if (wrong !== undefined && performance.now() > deadline) throw new Error(wrong);
  }
}

async function wronglyHeld(api: Api, serverIds: ReadonlySet<string>): Promise<string | undefined> {
  for (const { id, status, attachments } of (await api.volume('GET', '/volumes/detail')).volumes) {
    const isRight = status === 'in-use' ? attachments.length === 1 : status === 'available' && attachments.length === 0;
    if (!isRight) return `volume ${id} is ${status}: ${JSON.stringify(attachments)}`;
    const stranger = attachments.find((one: Answer) => !serverIds.has(one.server_id));
    if (stranger !== undefined) return `volume ${id} is attached to ${stranger.server_id}, which is gone`;
  }
  return undefined;
}
