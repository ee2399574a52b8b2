/** Volumes: the use cases. What changes a disk is a saga; what it does to rows and states is in the files beside this one. */
import { notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { DisksService, DiskUsage } from '../disks/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise, canSee, projectOfList } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { TypeChoice } from '../volume-types/service.ts';
import { visibleVolume } from './access.ts';
import { type Attaching, createAttaching } from './attach.ts';
import { type AttachmentsService, createAttachments } from './attachments.ts';
import { createVolumeChanges, type VolumeChangesService } from './changes.ts';
import type {
  CreateVolumeOrder,
  Volume,
  VolumeListQuery,
  VolumePage,
  VolumesForBackups,
  VolumesForGroups,
  VolumesForImages,
  VolumesForServers,
  VolumesForSnapshots,
  VolumesForTransfers,
} from './contract.ts';
import { createVolumeSaga } from './create.job.ts';
import { beginCreate } from './create.ts';
import { deleteVolumeSaga } from './delete.job.ts';
import { beginDelete, beginForceDelete } from './delete.ts';
import { extendVolumeSaga } from './extend.job.ts';
import { createVolumesForBackups } from './for-backups.ts';
import { createVolumesForGroups } from './for-groups.ts';
import { createVolumesForImages } from './for-images.ts';
import { createVolumesForServers } from './for-servers.ts';
import { createVolumesForSnapshots } from './for-snapshots.ts';
import { createVolumesForTransfers } from './for-transfers.ts';
import { recoverAttaching } from './recover.ts';
import { reimageVolumeSaga } from './reimage.job.ts';
import { beginReimage, type ReimageOrder } from './reimage.ts';
import type { GroupSources, ImageSources, ServerSources, SnapshotSources } from './sources.ts';
import { countVolumes, findVolume, listVolumes, metadataInUse, move } from './store.ts';

export type { Attaching, AttachOrder, Connection } from './attach.ts';
export type { AttachmentsService, Connector } from './attachments.ts';
export type { ResetOrder } from './changes.ts';
export type {
  Attachment,
  CreateVolumeOrder,
  PlannedDisk,
  RestoredFacts,
  Volume,
  VolumeAttachment,
  VolumePage,
  VolumesForBackups,
  VolumesForGroups,
  VolumesForImages,
  VolumesForServers,
  VolumesForSnapshots,
  VolumesForTransfers,
} from './contract.ts';
export type { GroupSources, ImageSource, ImageSources, ServerSources, SnapshotSource, SnapshotSources } from './sources.ts';
export type { VolumeStatus } from './states.ts';

export interface VolumeQuery extends Omit<VolumeListQuery, 'projectId' | 'markerId'> {
  /** Only administrators get those of all projects; for others it is ignored. */
  readonly allProjects: boolean;
  readonly marker: string | undefined;
  readonly withCount: boolean;
}

export interface VolumeSummary {
  readonly count: number;
  readonly sizeGib: number;
  readonly metadata: Readonly<Record<string, readonly string[]>>;
}

export interface VolumesService extends Attaching, VolumeChangesService {
  list(caller: Caller, query: VolumeQuery): Promise<VolumePage>;
  get(caller: Caller, id: string): Promise<Volume>;
  summary(caller: Caller, options: { allProjects: boolean }): Promise<VolumeSummary>;
  /** What the volume's disk takes; undefined while it has none. */
  usage(caller: Caller, id: string): Promise<DiskUsage | undefined>;
  /** The row, at once; the disk follows. */
  create(caller: Caller, order: CreateVolumeOrder): Promise<Volume>;
  delete(caller: Caller, id: string, options: { cascade: boolean; force: boolean }): Promise<void>;
  forceDelete(caller: Caller, id: string): Promise<void>;
  /** The image takes the place of what the volume holds. */
  reimage(caller: Caller, order: ReimageOrder): Promise<void>;
  readonly availabilityZone: string;
  /** At start, before requests are served: volumes that a client was attaching or detaching step back. */
  recover(): Promise<void>;
  /** A layer of the volume's disk is missing or damaged: it goes to error, with the reason. False: it is in a state that somebody else has to end. */
  markDamaged(id: string, reason: string): Promise<boolean>;
  readonly forBackups: VolumesForBackups;
  readonly forSnapshots: VolumesForSnapshots;
  readonly forTransfers: VolumesForTransfers;
  readonly forGroups: VolumesForGroups;
  readonly forImages: VolumesForImages;
  readonly forServers: VolumesForServers;
  readonly attachments: AttachmentsService;
}

export interface VolumesDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly disks: DisksService;
  readonly types: TypeChoice;
  readonly placement: Placement;
  /** Wired by the composition root: those services come later in the order of `src/cloud`. */
  readonly images: ImageSources;
  readonly snapshots: SnapshotSources;
  readonly groups: GroupSources;
  /** Left out where there are none. */
  readonly servers?: ServerSources;
  readonly availabilityZone: string;
  readonly log: Log;
}

/** Also defines the sagas of volumes, so it comes before `jobs.startWorking`. */
export function createVolumesService(deps: VolumesDeps): VolumesService {
  const { database, jobs } = deps;
  jobs.define(createVolumeSaga(deps));
  jobs.define(deleteVolumeSaga(deps));
  jobs.define(extendVolumeSaga(deps));
  jobs.define(reimageVolumeSaga(deps));

  return {
    ...createAttaching(deps),
    ...createVolumeChanges(deps),
    async list(caller, query) {
      const projectId = scopeOf(caller, query.allProjects);
      if (query.marker !== undefined) await visibleMarker(database, caller, query.marker);
      const list: VolumeListQuery = { ...query, projectId, markerId: query.marker };
      const volumes = query.limit === 0 ? [] : await listVolumes(database.sql, list);
      return query.withCount ? { volumes, count: (await countVolumes(database.sql, list)).count } : { volumes };
    },
    get: (caller, id) => visibleVolume(database, caller, id, 'volume:get'),
    async summary(caller, { allProjects }) {
      const projectId = scopeOf(caller, allProjects);
      const all = { projectId, filters: [], metadata: {}, sort: [], markerId: undefined, limit: 0, offset: 0 };
      return { ...(await countVolumes(database.sql, all)), metadata: await metadataInUse(database.sql, projectId) };
    },
    usage: async (caller, id) => deps.disks.usageOf((await visibleVolume(database, caller, id, 'volume:get')).id),
    async create(caller, order) {
      return await database.transact(async (tx) => {
        const id = await beginCreate(deps, tx, caller, order);
        return (await findVolume(tx.sql, id)) as Volume;
      });
    },
    delete: (caller, id, options) => beginDelete(deps, caller, id, options),
    forceDelete: (caller, id) => beginForceDelete(deps, caller, id),
    reimage: (caller, order) => database.transact((tx) => beginReimage(deps, tx, caller, order)),
    availabilityZone: deps.availabilityZone,
    recover: () => recoverAttaching(deps),
    markDamaged: (id, reason) => move(database.sql, id, 'damaged', { statusReason: reason }),
    forBackups: createVolumesForBackups(deps),
    forSnapshots: createVolumesForSnapshots(),
    forTransfers: createVolumesForTransfers(),
    forGroups: createVolumesForGroups(deps),
    forImages: createVolumesForImages(),
    forServers: createVolumesForServers(deps),
    attachments: createAttachments(deps),
  };
}

/** Whose volumes a list is about. */
function scopeOf(caller: Caller, allProjects: boolean): string | undefined {
  authorise(caller, 'volume:list', { projectId: caller.projectId });
  return projectOfList(caller, allProjects);
}

async function visibleMarker(database: Database, caller: Caller, id: string): Promise<void> {
  const volume = isUuid(id) ? await findVolume(database.sql, id) : undefined;
  if (volume === undefined || !canSee(caller, volume)) throw notFound(`Volume ${id} could not be found.`);
}
