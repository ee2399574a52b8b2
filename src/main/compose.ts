/** What is plugged into what: the services of the cloud, their drivers, and the order in which they begin and end. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createBackupsService } from '../cloud/backups/service.ts';
import type { ConnectionTarget, Database } from '../cloud/database/service.ts';
import { createReconciler } from '../cloud/disks/reconcile.ts';
import { createDiskChecks } from '../cloud/disks/reconcile-service.ts';
import { createDisksService, type Quiescence } from '../cloud/disks/service.ts';
import { createFlavors } from '../cloud/flavors/service.ts';
import { createGroupPorts } from '../cloud/groups/ports.ts';
import { createGroupsService } from '../cloud/groups/service.ts';
import { createAggregates } from '../cloud/hosts/aggregates.ts';
import { createComputeHosts } from '../cloud/hosts/compute-hosts.ts';
import { createHosts } from '../cloud/hosts/service.ts';
import { createIdentityService } from '../cloud/identity/service.ts';

import { defaultImageLimits } from '../cloud/images/deps.ts';
import { createVolumeImages } from '../cloud/images/from-volume.ts';
import { createImagesService } from '../cloud/images/service.ts';
import { openJobs } from '../cloud/jobs/service.ts';
import { createKeypairs } from '../cloud/keypairs/service.ts';
import { createMessages, tellingUsers } from '../cloud/messages/service.ts';
import { createComputeQuotas } from '../cloud/quotas/compute-quotas.ts';
import { createImageLimitQuotas } from '../cloud/quotas/image-limits.ts';
import { createQuotas } from '../cloud/quotas/service.ts';
import { createServerGroups } from '../cloud/server-groups/service.ts';
import { createServersService, machineLoad, machineUsage, serverSources } from '../cloud/servers/service.ts';
import { createSnapshotPorts, createSnapshotsService } from '../cloud/snapshots/service.ts';
import { createTransfersService } from '../cloud/transfers/service.ts';
import { createVolumeTypes } from '../cloud/volume-types/service.ts';
import { createVolumesService, type ImageSources } from '../cloud/volumes/service.ts';
import { createConfinement } from '../engine/confinement/run-confined.ts';
import { probeAcceleration } from '../engine/hypervisor/acceleration.ts';
import { makeConfigDrive } from '../engine/hypervisor/config-drive.ts';
import { createHypervisor } from '../engine/hypervisor/create-hypervisor.ts';
import { createMachineFiles } from '../engine/hypervisor/machine-files.ts';
import { createImageIntake } from '../engine/image-intake/intake.ts';
import { createSpaceAccount } from '../engine/space/space-account.ts';
import { createDataMover } from '../engine/transfer/data-mover-client.ts';
import { createLayeredFiles } from '../engine/volumes/layered-files/create-layered-files.ts';
import { builtInCatalog } from '../fronts/openstack/identity/catalog.ts';
import { systemClock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { Ballast } from './ballast.ts';
import type { Config } from './config.ts';
import { createMachineFacts } from './machine-facts.ts';
import type { StatePaths } from './state-dir.ts';
import { createStatusSource } from './status-source.ts';

/** Bytes lie outside of the heap: what is left in it is small. */
const moverOptions = ['--max-semi-space-size=4'];
const availabilityZone = 'nova';

export interface CloudOptions {
  readonly config: Config;
  readonly paths: StatePaths;
  readonly database: Database;
  readonly connection: ConnectionTarget;
  readonly ballast: Pick<Ballast, 'figures'>;
  /** For the secrets that users keep here. */
  readonly sealingKey: Buffer;
  readonly log: Log;
}

export type Cloud = Awaited<ReturnType<typeof composeCloud>>;

export async function composeCloud({ config, paths, database, connection, ballast, sealingKey, log }: CloudOptions) {
  const clock = systemClock;
  const confinement = createConfinement({ allowUnconfined: config.allowUnconfined });
  const space = createSpaceAccount({ keptBytes: config.diskReserveBytes });
  const backend = createLayeredFiles({
    root: paths.volumes,
    runtimeDir: config.runtimeDir,
    space,
    confinement,
    log,
  });
  const mover = createDataMover({ entryPath: join(import.meta.dirname, 'data-mover.ts'), execArgv: moverOptions, log });
  const freeBytes = () => backend.freeBytes();

  const jobs = tellingUsers(await openJobs({ database, connection, log }), { database });
  const { lockout } = config;
  const identity = createIdentityService({ database, clock, lockout, sealingKey, log });
  const quotas = createQuotas({ database });
  const imageLimits = createImageLimitQuotas({ database });
  const computeQuotas = createComputeQuotas({ database, machines: machineUsage });
  const capacity = async () => {
    const { capacityBytes, availableBytes } = await space.figures(paths.volumes);
    return { totalBytes: capacityBytes, freeBytes: availableBytes };
  };
  const hosts = createHosts({ database, capacity, version: productVersion(), log, clock });
  const machine = createMachineFacts(config.listen.host);
  const computeHosts = createComputeHosts({ database, capacity, machine, load: machineLoad, clock });
  const volumeTypes = createVolumeTypes({ database, quotas });
  // Disks come before servers, whose guests can be made to stand still.
  const quiescence: Quiescence = { around: (...request) => servers.quiescence.around(...request) };
  const disks = createDisksService({ database, backend, quiescence, log });
  // Volumes come before images and snapshots, which need them; so volumes know those by their ports.
  const imageSources: ImageSources = { sourceFor: (...request) => images.sources.sourceFor(...request) };
  const snapshotPorts = createSnapshotPorts({ disks });
  const volumes = createVolumesService({
    database,
    jobs,
    quotas,
    disks,
    types: volumeTypes.choice,
    placement: hosts.placement,
    images: imageSources,
    snapshots: snapshotPorts,
    groups: createGroupPorts(),
    servers: serverSources(database),
    availabilityZone,
    log,
  });
  const snapshots = createSnapshotsService({ database, jobs, quotas, disks, volumes: volumes.forSnapshots });
  const transfers = createTransfersService({ database, quotas, volumes: volumes.forTransfers, snapshots: snapshots.forTransfers });
  const groups = createGroupsService({
    placement: hosts.placement,
    database,
    jobs,
    quotas,
    disks,
    volumes: volumes.forGroups,
    snapshots: snapshots.forGroups,
    availabilityZone,
  });
  const intake = createImageIntake({ imagesDir: paths.images, confinement, download: config.imageDownload });
  const images = createImagesService({ database, jobs, disks, intake, space, quota: imageLimits, clock, log, limits: defaultImageLimits });
  const volumeImages = createVolumeImages({
    database,
    jobs,
    disks,
    intake,
    space,
    quota: imageLimits,
    clock,
    types: volumeTypes.choice,
    volumes: volumes.forImages,
  });
  const backups = createBackupsService({
    database,
    jobs,
    quotas,
    disks,
    mover,
    placement: hosts.placement,
    volumes: volumes.forBackups,
    snapshots: snapshots.forBackups,
    cacheRoot: join(paths.root, 'cache'),
    space,
    availabilityZone,
    log,
  });
  const flavors = createFlavors({ database });
  const keypairs = createKeypairs({ database, quotas: computeQuotas, clock });
  const hypervisor = createHypervisor({ runtimeDir: config.runtimeDir, confinement, probeAcceleration: () => probeAcceleration(), log });
  const servers = createServersService({
    database,
    jobs,
    flavors: flavors.choice,
    keypairs,
    quotas: computeQuotas,
    images: images.forServers,
    volumes: volumes.forServers,
    disks,
    snapshots: snapshots.forServers,
    hypervisor,
    makeConfigDrive: (path, content) => makeConfigDrive(confinement, path, content),
    files: createMachineFiles(paths.servers),
    availabilityZone,
    zone: (db) => computeHosts.zone(db),
    log,
  });
  const { inventory } = backend;
  const reconciler = createReconciler({ database, backend, inventory, disks, volumes, clock, log, trashDays: config.trashDays });
  const diskChecks = createDiskChecks({ database, jobs, reconciler });
  const spaceInUse = async () => {
    const [figures, inUse, ballastFigures] = await Promise.all([space.figures(paths.volumes), disks.spaceInUse(), ballast.figures()]);
    return { ...figures, ...inUse, ballast: ballastFigures };
  };

  return {
    database,
    clock,
    jobs,
    identity,
    quotas,
    imageLimits,
    computeQuotas,
    hosts,
    computeHosts,
    aggregates: createAggregates({ database }),
    flavors,
    keypairs,
    serverGroups: createServerGroups({ database, quotas: computeQuotas }),
    volumeTypes,
    messages: createMessages({ database }),
    volumes,
    snapshots,
    transfers,
    groups,
    images,
    volumeImages,
    servers,
    backups,
    diskChecks,
    status: createStatusSource({ database, backups, freeBytes, space: spaceInUse, trash: reconciler.trash, version: productVersion() }),

    /** What has to be right before the first request is answered. */
    async prepare(first: { adminPassword: string; repositoryPath: string; keyFile: string }): Promise<void> {
      await identity.bootstrapIdentity({ adminPassword: first.adminPassword, catalog: builtInCatalog });
      await backups.ensureDefaultRepository({ storePath: first.repositoryPath, keyFile: first.keyFile });
      await disks.adoptExports();
      await servers.adopt();
      await volumes.recover();
      await images.recover();
    },
    /** Begins with the work that an earlier process left. */
    async startWorking(): Promise<void> {
      await jobs.startWorking();
      // Beside everything else: it may take a second where there are many disks.
      reconciler.begin();
    },
    async stop(): Promise<void> {
      images.stop();
      // Jobs before what they use: a check that is under way as a job goes on after the next start.
      await jobs.stop();
      await reconciler.stop();
      await hypervisor.stop();
      await disks.stop();
      await mover.stop();
    },
  };
}

function productVersion(): string {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string };
  return version;
}
