/** Volumes, snapshots and backups on real disks, a real repository and a real database, without any front. */

import { copyFile, mkdir, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Backup } from '../../src/cloud/backups/backup.ts';
import type { CreateBackupOrder } from '../../src/cloud/backups/orders.ts';
import { type BackupsService, createBackupsService } from '../../src/cloud/backups/service.ts';
import { createDisksService, type RunningDisks } from '../../src/cloud/disks/service.ts';
import { createGroupPorts } from '../../src/cloud/groups/ports.ts';
import { createGroupsService, type GroupsService } from '../../src/cloud/groups/service.ts';
import { createHosts, type HostsService } from '../../src/cloud/hosts/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import type { VolumeImages } from '../../src/cloud/images/from-volume.ts';
import { type Jobs, openJobs as openRealJobs } from '../../src/cloud/jobs/service.ts';
import { createMessages, type MessagesService, tellingUsers } from '../../src/cloud/messages/service.ts';
import { createQuotas, type Quotas } from '../../src/cloud/quotas/service.ts';
import { createSnapshotPorts, createSnapshotsService, type Snapshot, type SnapshotsService } from '../../src/cloud/snapshots/service.ts';
import { createTransfersService, type TransfersService } from '../../src/cloud/transfers/service.ts';
import { createVolumeTypes, type VolumeTypesService } from '../../src/cloud/volume-types/service.ts';
import { createVolumesService, type Volume, type VolumesService } from '../../src/cloud/volumes/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import type { SpaceAccount } from '../../src/engine/space/contract.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { BackupOutcome, DataMover, RestoreOntoOutcome } from '../../src/engine/transfer/contract.ts';
import { createDataMover } from '../../src/engine/transfer/data-mover-client.ts';
import { createLayeredFiles, type LayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { type Log, silentLog } from '../../src/lib/log.ts';
import { mustRun } from './clients.ts';
import type { TestDatabase } from './database.ts';
import { snapshotImages } from './snapshot-images.ts';

export interface BackupCloudOptions {
  /** Where volumes and the repository lie, when not in the cloud's own folder: a file system of limited size, say. */
  readonly volumesPath?: string;
  readonly repositoryPath?: string;
  readonly openJobs?: typeof openRealJobs;
  /** These were there before, and stay. */
  readonly held?: TestDatabase;
  readonly folder?: string;
  readonly mover?: DataMover;
  readonly log?: Log;
  /** Free space that volumes keep back. */
  readonly reserveBytes?: number;
  /** What backups and restores believe about the free space; the truth when left out. */
  readonly believedSpace?: SpaceAccount;
}

export interface BackupCloud {
  readonly folder: string;
  readonly repositoryPath: string;
  readonly held: TestDatabase;
  readonly jobs: Jobs;
  readonly backend: LayeredFiles;
  readonly disks: RunningDisks;
  readonly quotas: Quotas;
  readonly hosts: HostsService;
  readonly messages: MessagesService;
  readonly volumeTypes: VolumeTypesService;
  readonly volumes: VolumesService;
  readonly snapshots: SnapshotsService;
  readonly transfers: TransfersService;
  readonly groups: GroupsService;
  readonly volumeImages: VolumeImages;
  readonly backups: BackupsService;
  /** What the data mover reported of each backup, the newest last. */
  readonly outcomes: BackupOutcome[];
  /** What it reported of each restore onto an existing volume. */
  readonly restores: RestoreOntoOutcome[];
  makeVolume(caller: Caller, sizeGib?: number): Promise<Volume>;
  makeSnapshot(caller: Caller, volumeId: string): Promise<Snapshot>;
  /** Asks for a backup and waits for its end; throws with its reason when it failed. */
  backUp(caller: Caller, order: Partial<CreateBackupOrder> & { volumeId: string }): Promise<Backup>;
  settledBackup(caller: Caller, id: string): Promise<Backup>;
  settledVolume(caller: Caller, id: string): Promise<Volume>;
  gone(look: () => Promise<unknown>): Promise<void>;
  /** Writes the same bytes into the volume's disk and into a raw model of it. */
  write(volumeId: string, model: string, blocks: readonly BlockOfBytes[]): Promise<void>;
  /** The same through a server that is there already. */
  writeThrough(uri: string, model: string, blocks: readonly BlockOfBytes[]): Promise<void>;
  /** Throws when the volume's disk is not what the model is. */
  compare(volumeId: string, model: string): Promise<void>;
  makeModel(name: string, sizeGib?: number): Promise<string>;
  copyModel(model: string, name: string): Promise<string>;
  stop(): Promise<void>;
}

export interface BlockOfBytes {
  readonly offset: number;
  readonly bytes: Buffer;
}

const gib = 1024 ** 3;
const settleWithinMs = 30_000;
export const dataMoverEntry = join(import.meta.dirname, '../../src/main/data-mover.ts');

export function callerOf(projectId: string, roles: readonly string[] = ['member']): Caller {
  return { userId: `user-${projectId}`, userName: 'ada', projectId, roles, isAdmin: roles.includes('admin'), requestId: 'req-test' };
}

export async function startBackupCloud(options: BackupCloudOptions = {}): Promise<BackupCloud> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'sp-bak-')));
  // Not imported above, because plain scripts that bring their own database cannot load the test runner.
  const held = options.held ?? (await (await import('./database.ts')).testDatabase());
  const { database } = held;
  const runtimeDir = join(folder, 'run');
  await mkdir(runtimeDir, { recursive: true, mode: 0o700 });
  const log = options.log ?? silentLog;
  const space = createSpaceAccount({ keptBytes: options.reserveBytes ?? 0 });
  const backend = createLayeredFiles({
    root: options.volumesPath ?? join(folder, 'volumes'),
    runtimeDir,
    log,
    space,
    confinement: createConfinement(),
  });
  const outcomes: BackupOutcome[] = [];
  const ownMover = options.mover ?? createDataMover({ entryPath: dataMoverEntry, log });
  const restores: RestoreOntoOutcome[] = [];
  const mover = noting(ownMover, outcomes, restores);
  const jobs = tellingUsers(await (options.openJobs ?? openRealJobs)({ database, connection: held.connection, log, stopGraceMs: 5_000 }), {
    database,
  });
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
  const transfers = createTransfersService({ ...common, volumes: volumes.forTransfers, snapshots: snapshots.forTransfers });
  const groups = createGroupsService({ ...common, volumes: volumes.forGroups, snapshots: snapshots.forGroups });
  const backups = createBackupsService({
    ...common,
    volumes: volumes.forBackups,
    snapshots: snapshots.forBackups,
    mover,
    cacheRoot: join(folder, 'cache'),
    space: options.believedSpace ?? space,
  });
  const repositoryPath = options.repositoryPath ?? join(folder, 'repository');
  await backups.ensureDefaultRepository({ storePath: repositoryPath, keyFile: join(folder, 'repository.key') });
  await disks.adoptExports();
  await jobs.startWorking();

  const settled = async <T extends { status: string }>(look: () => Promise<T>): Promise<T> => {
    const until = performance.now() + settleWithinMs;
    for (;;) {
      const found = await look();
      if (!transient.has(found.status)) return found;
      if (performance.now() > until) throw new Error(`it is still ${found.status}`);
      await pause(20);
    }
  };
  const settledVolume = (caller: Caller, id: string) => settled(() => volumes.get(caller, id));
  const settledBackup = (caller: Caller, id: string) => settled(() => backups.get(caller, id));

  return {
    folder,
    repositoryPath,
    held,
    jobs,
    backend,
    disks,
    quotas,
    hosts,
    messages: createMessages({ database }),
    volumeTypes,
    volumes,
    snapshots,
    transfers,
    groups,
    // There is no room for images here: who asks for one gets an error.
    volumeImages: { create: () => Promise.reject(new Error('there are no images here')) },
    backups,
    outcomes,
    restores,
    settledBackup,
    settledVolume,
    async makeVolume(caller, sizeGib = 1) {
      const order = { name: null, description: null, sizeGib, volumeType: null, availabilityZone: null, metadata: {} };
      const { id } = await volumes.create(caller, { ...order, source: { kind: 'blank' } });
      return await settledVolume(caller, id);
    },
    async makeSnapshot(caller, volumeId) {
      const order = { volumeId, name: null, description: null, metadata: {}, inUse: true };
      const { id } = await snapshots.create(caller, order);
      return await settled(() => snapshots.get(caller, id));
    },
    async backUp(caller, order) {
      const { id } = await backups.create(caller, backupOrder(order));
      const backup = await settledBackup(caller, id);
      if (backup.status !== 'available') throw new Error(`the backup is ${backup.status}: ${backup.failReason}`);
      return backup;
    },
    async gone(look) {
      const until = performance.now() + settleWithinMs;
      for (;;) {
        const there = await look().then(
          () => true,
          () => false,
        );
        if (!there) return;
        if (performance.now() > until) throw new Error('it is still there');
        await pause(20);
      }
    },
    write: (volumeId, model, blocks) => withNbd(disks, volumeId, false, (uri) => writeBlocks(folder, uri, model, blocks)),
    writeThrough: (uri, model, blocks) => writeBlocks(folder, uri, model, blocks),
    compare: (volumeId, model) =>
      withNbd(disks, volumeId, true, async (uri) => {
        await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', model, uri]);
      }),
    async makeModel(name, sizeGib = 1) {
      const path = join(folder, name);
      await (await open(path, 'w')).close();
      await truncate(path, sizeGib * gib);
      return path;
    },
    async copyModel(model, name) {
      const path = join(folder, name);
      await mustRun('cp', ['--sparse=always', model, path]).catch(() => copyFile(model, path));
      return path;
    },
    async stop() {
      await jobs.stop();
      await disks.stop();
      if (options.mover === undefined) await ownMover.stop();
      if (options.held === undefined) await held.drop();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

const transient = new Set(['creating', 'deleting', 'restoring', 'backing-up', 'restoring-backup', 'extending']);

export function backupOrder(order: Partial<CreateBackupOrder> & { volumeId: string }): CreateBackupOrder {
  const none = { snapshotId: null, name: null, description: null, container: null, availabilityZone: null };
  return { ...none, incremental: false, force: false, metadata: {}, ...order };
}

function noting(mover: DataMover, outcomes: BackupOutcome[], restores: RestoreOntoOutcome[]): DataMover {
  return {
    ...mover,
    async backup(order, options) {
      const outcome = await mover.backup(order, options);
      outcomes.push(outcome);
      return outcome;
    },
    async restoreOnto(order, options) {
      const outcome = await mover.restoreOnto(order, options);
      restores.push(outcome);
      return outcome;
    },
  };
}

async function writeBlocks(folder: string, uri: string, model: string, blocks: readonly BlockOfBytes[]): Promise<void> {
  const file = await open(model, 'r+');
  const commands: string[] = [];
  try {
    for (const [index, { offset, bytes }] of blocks.entries()) {
      await file.write(bytes, 0, bytes.length, offset);
      const source = join(folder, `block-${index}`);
      await writeFile(source, bytes);
      commands.push('-c', `write -q -s ${source} ${offset} ${bytes.length}`);
    }
  } finally {
    await file.close();
  }
  await mustRun('qemu-io', ['-f', 'raw', ...commands, '-c', 'flush', uri]);
  for (const index of blocks.keys()) await rm(join(folder, `block-${index}`));
}

/** Opens a disk that nobody has attached, for as long as the work lasts. */
async function withNbd(disks: RunningDisks, volumeId: string, readOnly: boolean, work: (uri: string) => Promise<unknown>): Promise<void> {
  const { socketPath } = await disks.openExport(volumeId, { readOnly });
  try {
    await work(`nbd+unix:///disk?socket=${socketPath}`);
  } finally {
    await disks.closeExport(volumeId);
  }
}
