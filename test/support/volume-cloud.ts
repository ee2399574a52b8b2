/** Volumes and snapshots on real disks and a real database, without any front. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { createDisksService, type RunningDisks } from '../../src/cloud/disks/service.ts';
import { createGroupPorts } from '../../src/cloud/groups/ports.ts';
import { createGroupsService, type GroupsService } from '../../src/cloud/groups/service.ts';
import { createHosts, type HostsService } from '../../src/cloud/hosts/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import { type Jobs, openJobs as openRealJobs } from '../../src/cloud/jobs/service.ts';
import { createQuotas, type Quotas } from '../../src/cloud/quotas/service.ts';
import { createSnapshotPorts, createSnapshotsService, type Snapshot, type SnapshotsService } from '../../src/cloud/snapshots/service.ts';
import { createVolumeTypes, type VolumeTypesService } from '../../src/cloud/volume-types/service.ts';
import { type CreateVolumeOrder, createVolumesService, type Volume, type VolumesService } from '../../src/cloud/volumes/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import { createLayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type TestDatabase, testDatabase } from './database.ts';
import { snapshotImages } from './snapshot-images.ts';

/** What it is put together from. */
export interface VolumeCloudParts {
  readonly held: TestDatabase;
  readonly jobs: Jobs;
  readonly disks: RunningDisks;
  readonly quotas: Quotas;
  readonly hosts: HostsService;
  readonly volumeTypes: VolumeTypesService;
  readonly volumes: VolumesService;
  readonly snapshots: SnapshotsService;
  readonly groups: GroupsService;
  /** Where it keeps everything but rows. */
  readonly folder: string;
}

export interface VolumeCloud extends VolumeCloudParts {
  /** The row at once, without waiting. */
  order(caller: Caller, order?: Partial<CreateVolumeOrder>): Promise<Volume>;
  /** Waits until the volume is what it is going to be. */
  volume(caller: Caller, order?: Partial<CreateVolumeOrder>): Promise<Volume>;
  snapshot(caller: Caller, volumeId: string): Promise<Snapshot>;
  settledVolume(caller: Caller, id: string): Promise<Volume>;
  settledSnapshot(caller: Caller, id: string): Promise<Snapshot>;
  gone(look: () => Promise<unknown>): Promise<void>;
  connect(caller: Caller, volumeId: string): Promise<string>;
  disconnect(caller: Caller, volumeId: string): Promise<void>;
  stop(): Promise<void>;
}

export function callerOf(projectId: string, roles: readonly string[] = ['member']): Caller {
  return { userId: `user-${projectId}`, userName: 'ada', projectId, roles, isAdmin: roles.includes('admin'), requestId: 'req-test' };
}

const transient = new Set(['creating', 'downloading', 'deleting', 'extending', 'backing-up', 'restoring-backup', 'reverting', 'restoring']);
const settleWithinMs = 20_000;

async function settled<T extends { readonly status: string }>(look: () => Promise<T>): Promise<T> {
  const until = performance.now() + settleWithinMs;
  for (;;) {
    const found = await look();
    if (!transient.has(found.status)) return found;
    if (performance.now() > until) throw new Error(`it is still ${found.status}`);
    await pause(5);
  }
}

export interface VolumeCloudOptions {
  readonly openJobs?: typeof openRealJobs;
  /** Runs before jobs begin: for services that define some of their own. */
  readonly beforeWorking?: (parts: VolumeCloudParts) => void;
}

export async function startVolumeCloud(options: VolumeCloudOptions = {}): Promise<VolumeCloud> {
  const folder = await mkdtemp(join(tmpdir(), 'sp-vol-'));
  const runtimeDir = join(folder, 'run');
  await mkdir(runtimeDir, { mode: 0o700 });
  const held = await testDatabase();
  const { database, connection } = held;
  const log = silentLog;
  const backend = createLayeredFiles({
    root: join(folder, 'volumes'),
    runtimeDir,
    log,
    space: createSpaceAccount({ keptBytes: 0 }),
    confinement: createConfinement(),
  });
  const jobs = await (options.openJobs ?? openRealJobs)({ database, connection, log, stopGraceMs: 5_000 });
  const quotas = createQuotas({ database });
  const disks = createDisksService({ database, backend, log });
  const hosts = createHosts({ database, capacity: async () => ({ totalBytes: 2 ** 40, freeBytes: 2 ** 39 }), version: 'test', log });
  const volumeTypes = createVolumeTypes({ database, quotas });
  const { placement } = hosts;
  const common = { database, jobs, quotas, disks, types: volumeTypes.choice, placement, availabilityZone: 'nova', log };
  const volumes = createVolumesService({
    ...common,
    images: snapshotImages,
    snapshots: createSnapshotPorts({ disks }),
    groups: createGroupPorts(),
  });
  const snapshots = createSnapshotsService({ ...common, volumes: volumes.forSnapshots });
  const groups = createGroupsService({ ...common, volumes: volumes.forGroups, snapshots: snapshots.forGroups });
  const parts: VolumeCloudParts = { held, jobs, disks, quotas, hosts, volumeTypes, volumes, snapshots, groups, folder };
  options.beforeWorking?.(parts);
  await jobs.startWorking();

  const order = (caller: Caller, wanted: Partial<CreateVolumeOrder> = {}) =>
    volumes.create(caller, {
      name: null,
      description: null,
      sizeGib: 1,
      volumeType: null,
      availabilityZone: null,
      metadata: {},
      source: { kind: 'blank' },
      ...wanted,
    });
  const settledVolume = (caller: Caller, id: string) => settled(() => volumes.get(caller, id));
  const settledSnapshot = (caller: Caller, id: string) => settled(() => snapshots.get(caller, id));

  return {
    ...parts,
    order,
    volume: async (caller, wanted) => settledVolume(caller, (await order(caller, wanted)).id),
    async snapshot(caller, volumeId) {
      const asked = { volumeId, name: null, description: null, metadata: {}, inUse: true };
      return await settledSnapshot(caller, (await snapshots.create(caller, asked)).id);
    },
    settledVolume,
    settledSnapshot,
    async gone(look) {
      const until = performance.now() + settleWithinMs;
      for (;;) {
        const there = await look().then(
          () => true,
          () => false,
        );
        if (!there) return;
        if (performance.now() > until) throw new Error('it is still there');
        await pause(5);
      }
    },
    async connect(caller, volumeId) {
      await volumes.reserve(caller, volumeId);
      const { socketPath } = await volumes.initializeConnection(caller, volumeId, { readOnly: false });
      await volumes.attach(caller, volumeId, { instanceId: null, hostName: 'here', mountpoint: null, mode: 'rw' });
      return socketPath;
    },
    async disconnect(caller, volumeId) {
      await volumes.beginDetaching(caller, volumeId);
      await volumes.terminateConnection(caller, volumeId);
      await volumes.detach(caller, volumeId, null);
    },
    async stop() {
      await jobs.stop();
      for (const { volume_id } of await database.sql.selectFrom('volume_exports').select('volume_id').execute()) {
        await disks.closeExport(volume_id);
      }
      await disks.stop();
      await held.drop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** When snapshots and volumes give up what is theirs, no layer, no point and no hold remains. Without sagas: those may be the changed ones. */
export async function nothingIsLeftOver(cloud: VolumeCloud): Promise<void> {
  const { database } = cloud.held;
  for (const { id, point_id: pointId } of await database.sql.selectFrom('snapshots').select(['id', 'point_id']).execute()) {
    await database.transact(async (tx) => {
      if (pointId !== null) await cloud.disks.release(tx, pointId, `snapshot:${id}`);
      await tx.sql.deleteFrom('snapshots').where('id', '=', id).execute();
    });
  }
  for (const { id } of await database.sql.selectFrom('volumes').select('id').execute()) {
    await cloud.disks.dropDisk(id);
    await database.sql.deleteFrom('volumes').where('id', '=', id).execute();
  }
  await cloud.disks.tidy();
  for (const table of ['layers', 'point_holds', 'points'] as const) {
    expect(await database.sql.selectFrom(table).selectAll().execute(), table).toEqual([]);
  }
}
