/** Servers on real machines, disks and rows, without any front. Guests are of one sector, and images are what snapshots hold. */
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { createFlavors } from '../../src/cloud/flavors/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import type { Image, ImagesForServers } from '../../src/cloud/images/service.ts';
import type { openJobs as openRealJobs } from '../../src/cloud/jobs/service.ts';
import { createKeypairs } from '../../src/cloud/keypairs/service.ts';
import { createComputeQuotas } from '../../src/cloud/quotas/compute-quotas.ts';
import {
  type BlockDeviceOrder,
  type CreateServerOrder,
  createServersService,
  machineUsage,
  type Server,
  type ServersService,
} from '../../src/cloud/servers/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { makeConfigDrive } from '../../src/engine/hypervisor/config-drive.ts';
import type { Hypervisor, Machine } from '../../src/engine/hypervisor/contract.ts';
import { createHypervisor } from '../../src/engine/hypervisor/create-hypervisor.ts';
import { createMachineFiles } from '../../src/engine/hypervisor/machine-files.ts';
import { silentLog } from '../../src/lib/log.ts';
import { oneSectorGuest } from './guest/one-sector.ts';
import { connectNbd } from './nbd-client.ts';
import { snapshotImages } from './snapshot-images.ts';
import { nothingIsLeftOver, startVolumeCloud, type VolumeCloud, type VolumeCloudParts } from './volume-cloud.ts';

export interface ServerCloud extends VolumeCloud {
  readonly servers: ServersService;
  readonly hypervisor: Hypervisor;
  /** An image that boots. */
  bootable(caller: Caller): Promise<string>;
  /** The row at once, without waiting. */
  orderServer(caller: Caller, wanted: Partial<CreateServerOrder>): Promise<string>;
  /** Waits until nothing is being done to it. */
  settledServer(caller: Caller, id: string): Promise<Server>;
  server(caller: Caller, wanted: Partial<CreateServerOrder>): Promise<Server>;
  /** The machine of a server that has one. */
  machineOf(id: string): Promise<Machine>;
}

export interface ServerCloudOptions {
  readonly openJobs?: typeof openRealJobs;
  /** How long guests may take to turn themselves off, and to let go of a disk. */
  readonly guestMs?: number;
}

const nano = '42';
const settleWithinMs = 30_000;
const emulated = { kind: 'tcg', obstacle: 'missing', reason: 'tests run everywhere' } as const;

export async function startServerCloud({ openJobs, guestMs = 10_000 }: ServerCloudOptions = {}): Promise<ServerCloud> {
  const made: { servers?: ServersService; hypervisor?: Hypervisor } = {};
  const cloud = await startVolumeCloud({
    ...(openJobs !== undefined && { openJobs }),
    beforeWorking: (parts) => Object.assign(made, serversOn(parts, guestMs)),
  });
  const { servers, hypervisor } = made;
  if (servers === undefined || hypervisor === undefined) throw new Error('nothing was made');
  await mkdir(filesOf(cloud), { recursive: true });
  const orderServer = async (caller: Caller, wanted: Partial<CreateServerOrder>): Promise<string> =>
    (await servers.create(caller, { ...plainOrder, ...wanted })).ids[0] as string;
  const settledServer = async (caller: Caller, id: string): Promise<Server> => {
    const until = performance.now() + settleWithinMs;
    for (;;) {
      const server = await servers.get(caller, id);
      if (server.taskState === null && server.vmState !== 'building') return server;
      if (performance.now() > until) throw new Error(`the server is still ${server.vmState}, ${server.taskState}`);
      await pause(5);
    }
  };
  return {
    ...cloud,
    servers,
    hypervisor,
    async bootable(caller) {
      const { id } = await cloud.volume(caller);
      await writeBytes(cloud, caller, id, oneSectorGuest());
      return (await cloud.snapshot(caller, id)).id;
    },
    orderServer,
    settledServer,
    server: async (caller, wanted) => settledServer(caller, await orderServer(caller, wanted)),
    async machineOf(id) {
      const row = await cloud.held.database.sql.selectFrom('servers').selectAll().where('id', '=', id).executeTakeFirst();
      if (!row?.machine_id || row.process_id === null) throw new Error(`server ${id} has no machine`);
      return { id: row.machine_id, processId: row.process_id };
    },
    async stop() {
      await cloud.jobs.stop();
      await hypervisor.stop();
      for (const { name } of await hypervisor.listMachines()) await hypervisor.endFound(name);
      await cloud.stop();
    },
  };
}

const filesOf = ({ folder }: VolumeCloudParts): string => join(folder, 'servers');

function serversOn(parts: VolumeCloudParts, guestMs: number): { servers: ServersService; hypervisor: Hypervisor } {
  const { held, jobs, volumes, folder } = parts;
  const { database } = held;
  const log = silentLog;
  const confinement = createConfinement();
  const quotas = createComputeQuotas({ database, machines: machineUsage });
  const hypervisor = createHypervisor({ runtimeDir: join(folder, 'run'), confinement, probeAcceleration: async () => emulated, log });
  const servers = createServersService({
    database,
    jobs,
    flavors: createFlavors({ database }).choice,
    keypairs: createKeypairs({ database, quotas }),
    quotas,
    images: imagesOfSnapshots,
    volumes: volumes.forServers,
    disks: parts.disks,
    snapshots: parts.snapshots.forServers,
    hypervisor,
    makeConfigDrive: (path, content) => makeConfigDrive(confinement, path, content),
    files: createMachineFiles(filesOf(parts)),
    availabilityZone: 'nova',
    zone: async () => ({ name: 'nova' }),
    guestMs,
    log,
  });
  return { servers, hypervisor };
}

const imagesOfSnapshots: ImagesForServers = {
  async get(tx, caller, imageId) {
    const { pointId, virtualSizeBytes } = await snapshotImages.sourceFor(tx, caller, imageId);
    const image: Partial<Image> = { id: imageId, pointId, virtualBytes: virtualSizeBytes, minDiskGib: 0, minRamMib: 0, properties: {} };
    return image as Image;
  },
  async copyTo(imageId) {
    throw new Error(`image ${imageId} is no kernel`);
  },
  async register() {
    throw new Error('nothing makes images here');
  },
  drop: async () => undefined,
  point: {} as ImagesForServers['point'],
};

const plainOrder: CreateServerOrder = {
  name: 'server',
  description: null,
  hostname: null,
  accessIpV4: '',
  accessIpV6: '',
  flavorRef: nano,
  imageRef: null,
  blockDevices: [],
  keyName: null,
  userData: null,
  metadata: {},
  tags: [],
  diskConfig: 'MANUAL',
  availabilityZone: null,
  minCount: 1,
  maxCount: 1,
};

/** One device of a server that nothing boots from. */
export const device = (wanted: Pick<BlockDeviceOrder, 'source' | 'id'> & Partial<BlockDeviceOrder>): BlockDeviceOrder => ({
  destination: 'volume',
  bootIndex: null,
  sizeGib: null,
  deleteOnTermination: false,
  device: null,
  tag: null,
  volumeType: null,
  ...wanted,
});

/** Into the beginning of a volume that nobody uses. */
export async function writeBytes(cloud: VolumeCloud, caller: Caller, volumeId: string, bytes: Buffer): Promise<void> {
  const client = await connectNbd(await cloud.connect(caller, volumeId));
  await client.write(0, bytes, { durable: true });
  await client.close();
  await cloud.disconnect(caller, volumeId);
}

/** From the beginning of a volume that nobody uses. */
export async function readBytes(cloud: VolumeCloud, caller: Caller, volumeId: string, length: number): Promise<Buffer> {
  const client = await connectNbd(await cloud.connect(caller, volumeId));
  const bytes = await client.read(0, length);
  await client.close();
  await cloud.disconnect(caller, volumeId);
  return bytes;
}

/**
 * What must hold of every server that nothing is being done to: rows, machines, disks, servers of disks and files say the same, nothing is held twice,
 * and nothing is left of what is not there.
 */
export async function serversAreConsistent(cloud: ServerCloud): Promise<void> {
  const { sql } = cloud.held.database;
  const servers = await sql.selectFrom('servers').selectAll().execute();
  expect(servers.filter(({ task_state: task }) => task !== null)).toEqual([]);
  expect((await sql.selectFrom('server_actions').select(['action', 'finished_at']).execute()).filter((one) => !one.finished_at)).toEqual(
    [],
  );
  await disksAreHeldOnce(cloud);
  const running = servers.filter(({ vm_state: state }) => ['active', 'paused'].includes(state));
  const machines = await cloud.hypervisor.listMachines();
  expect(machines.map(({ machine }) => machine?.id).sort()).toEqual(running.map(({ machine_id: id }) => id).sort());
  expect(servers.filter((one) => one.machine_id !== null).map(({ id }) => id)).toEqual(running.map(({ id }) => id));
  const served: string[] = [];
  for (const { id, vm_state: state } of running) {
    const { power, diskIds } = await cloud.hypervisor.inspect(await cloud.machineOf(id));
    const disks = await sql.selectFrom('server_disks').select('volume_id').where('server_id', '=', id).execute();
    expect(power).toBe(state === 'paused' ? 'paused' : 'running');
    expect([...diskIds].sort()).toEqual(disks.map(({ volume_id: volumeId }) => volumeId).sort());
    served.push(...diskIds);
  }
  const exports = await sql.selectFrom('volume_exports').select(['volume_id', 'process_id']).execute();
  expect(exports.map(({ volume_id: volumeId }) => volumeId).sort()).toEqual(served.sort());
  for (const { process_id: processId } of exports) expect(existsSync(`/proc/${processId}`)).toBe(true);
  const known = new Set(servers.map(({ id }) => id));
  expect((await readdir(filesOf(cloud))).filter((name) => !known.has(name))).toEqual([]);
}

/** Each volume that a server has is attached to it and to nobody else; nothing else is attached to a server, and no server's own disk is without one. */
async function disksAreHeldOnce({ held: { database } }: ServerCloud): Promise<void> {
  const volumes = await database.sql.selectFrom('volumes').select(['id', 'status', 'project_id']).orderBy('id').execute();
  const disks = await database.sql.selectFrom('server_disks').selectAll().execute();
  const attachments = await database.sql.selectFrom('volume_attachments').selectAll().execute();
  expect(disks.filter((disk) => disk.is_leaving)).toEqual([]);
  for (const { id, status, project_id: projectId } of volumes) {
    const own = disks.filter((disk) => disk.volume_id === id);
    expect(attachments.filter((one) => one.volume_id === id).map((one) => one.id)).toEqual(own.map((one) => one.attachment_id));
    if (projectId === '') expect(own, `disk ${id} of no server`).toHaveLength(1);
    expect({ id, status }).toEqual({ id, status: own.length === 1 ? 'in-use' : 'available' });
  }
}

/** Once servers are deleted, nothing remains of them, and nothing of what they were made from. */
export async function nothingOfServersIsLeftOver(cloud: ServerCloud, caller: Caller): Promise<void> {
  const { sql } = cloud.held.database;
  for (const { id } of await sql.selectFrom('servers').select('id').execute()) {
    await cloud.servers.delete(caller, id);
    await cloud.gone(() => cloud.servers.get(caller, id));
  }
  await serversAreConsistent(cloud);
  expect(await sql.selectFrom('volume_exports').selectAll().execute()).toEqual([]);
  await nothingIsLeftOver(cloud);
}
