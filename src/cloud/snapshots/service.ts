/** Snapshots: the use cases. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { changedPairs, type Pairs, type PairsChange } from '../../lib/pairs.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, projectOfList } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { SnapshotSources, VolumesForSnapshots } from '../volumes/service.ts';
import { lockedSnapshot, visibleSnapshot } from './access.ts';
import type {
  Snapshot,
  SnapshotListQuery,
  SnapshotPage,
  SnapshotsForBackups,
  SnapshotsForGroups,
  SnapshotsForServers,
  SnapshotsForTransfers,
} from './contract.ts';
import { type CreateInput, createKind, createSnapshotSaga } from './create.job.ts';
import { type DeleteInput, deleteKind, deleteSnapshotSaga } from './delete.job.ts';
import { createSnapshotsForGroups, createSnapshotsForServers, createSnapshotsForTransfers } from './for-groups.ts';
import { quotaOfSnapshot } from './quota.ts';
import { revertVolumeSaga } from './revert.job.ts';
import { beginRevert, type RevertOrder } from './revert.ts';
import { createSnapshotSources } from './sources.ts';
import { isSnapshotStatus, reportableChanges, type TransitionName } from './states.ts';
import { countSnapshots, findSnapshot, insertSnapshot, listSnapshots, move, setStatus, updateSnapshot } from './store.ts';

export type {
  Snapshot,
  SnapshotPage,
  SnapshotsForBackups,
  SnapshotsForGroups,
  SnapshotsForServers,
  SnapshotsForTransfers,
} from './contract.ts';

export interface SnapshotQuery extends Omit<SnapshotListQuery, 'projectId' | 'markerId'> {
  /** Only administrators get those of all projects; for others it is ignored. */
  readonly allProjects: boolean;
  readonly marker: string | undefined;
  readonly withCount: boolean;
}

export interface CreateSnapshotOrder {
  readonly volumeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly metadata: Pairs;
  /** Whether the volume may be in use. */
  readonly inUse: boolean;
}

export interface SnapshotsService {
  list(caller: Caller, query: SnapshotQuery): Promise<SnapshotPage>;
  get(caller: Caller, id: string): Promise<Snapshot>;
  create(caller: Caller, order: CreateSnapshotOrder): Promise<Snapshot>;
  update(caller: Caller, id: string, changes: { name?: string | null; description?: string | null }): Promise<Snapshot>;
  /** Returns all of it afterwards. */
  changeMetadata(caller: Caller, id: string, change: PairsChange): Promise<Pairs>;
  delete(caller: Caller, id: string): Promise<void>;
  /** Puts a volume back to what it held at one of its snapshots. Returns the id of the job. */
  revert(caller: Caller, order: RevertOrder): Promise<string>;
  forceDelete(caller: Caller, id: string): Promise<void>;
  /** A point cannot live without its row: refused, as by any backend that cannot do it. */
  unmanage(caller: Caller, id: string): Promise<void>;
  resetStatus(caller: Caller, id: string, status: string): Promise<void>;
  /** What a driver reports of a snapshot that it makes or deletes. */
  reportStatus(caller: Caller, id: string, status: string, progress: string | null): Promise<void>;
  readonly forBackups: SnapshotsForBackups;
  readonly forGroups: SnapshotsForGroups;
  readonly forServers: SnapshotsForServers;
  readonly forTransfers: SnapshotsForTransfers;
}

export interface SnapshotsDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly disks: DisksService;
  readonly volumes: VolumesForSnapshots;
}

/** Volumes are made before this service, which needs them; so they get this port first. */
export function createSnapshotPorts(deps: Pick<SnapshotsDeps, 'disks'>): SnapshotSources {
  return createSnapshotSources(deps);
}

/** Also defines the sagas of snapshots, so it comes before `jobs.startWorking`. */
export function createSnapshotsService(deps: SnapshotsDeps): SnapshotsService {
  const { database, jobs } = deps;
  jobs.define(createSnapshotSaga(deps));
  jobs.define(deleteSnapshotSaga(deps));
  jobs.define(revertVolumeSaga(deps));
  const locked = <T>(caller: Caller, id: string, action: Action, work: (tx: Tx, snapshot: Snapshot) => Promise<T>): Promise<T> =>
    database.transact(async (tx) => await work(tx, await lockedSnapshot(tx, caller, id, action)));

  return {
    async list(caller, query) {
      authorise(caller, 'snapshot:list', { projectId: caller.projectId });
      if (query.marker !== undefined) await visibleSnapshot(database.sql, caller, query.marker, 'snapshot:get');
      const projectId = projectOfList(caller, query.allProjects);
      const list: SnapshotListQuery = { ...query, projectId, markerId: query.marker };
      const snapshots = query.limit === 0 ? [] : await listSnapshots(database.sql, list);
      return query.withCount ? { snapshots, count: await countSnapshots(database.sql, list) } : { snapshots };
    },
    get: (caller, id) => visibleSnapshot(database.sql, caller, id, 'snapshot:get'),
    create: (caller, order) => database.transact((tx) => beginCreate(deps, tx, caller, order)),
    update: (caller, id, changes) =>
      locked(caller, id, 'snapshot:update', async (tx) => {
        await updateSnapshot(tx.sql, id, changes);
        return (await findSnapshot(tx.sql, id)) as Snapshot;
      }),
    changeMetadata: (caller, id, change) =>
      locked(caller, id, 'snapshot:update', async (tx, snapshot) => {
        const metadata = changedPairs(snapshot.metadata, change);
        await updateSnapshot(tx.sql, id, { metadata });
        return metadata;
      }),
    delete: (caller, id) => locked(caller, id, 'snapshot:delete', (tx, snapshot) => beginDelete(deps, tx, caller, snapshot, 'deleteBegun')),
    revert: (caller, order) => database.transact((tx) => beginRevert(deps, tx, caller, order)),
    forceDelete: (caller, id) =>
      locked(caller, id, 'snapshot:force_delete', async (tx, snapshot) => {
        await jobs.requestCancel(tx, id);
        await beginDelete(deps, tx, caller, snapshot, 'forceDeleteBegun');
      }),
    unmanage: (caller, id) =>
      locked(caller, id, 'volume:manage', async () => {
        throw badRequest('Invalid snapshot: The volume backend does not support unmanaging snapshots.');
      }),
    resetStatus: (caller, id, status) =>
      locked(caller, id, 'snapshot:reset_status', async (tx) => {
        if (!isSnapshotStatus(status)) throw badRequest(`Invalid snapshot: Invalid snapshot status: ${status}`);
        await setStatus(tx.sql, id, status);
      }),
    reportStatus: (caller, id, status, progress) =>
      locked(caller, id, 'snapshot:update', async (tx, snapshot) => {
        const wanted = reportableChanges[snapshot.status]?.find((possible) => possible === status);
        if (wanted === undefined) {
          throw badRequest(
            `Invalid snapshot: Snapshot status ${snapshot.status} not allowed for update_snapshot_status, or not to ${status}.`,
          );
        }
        await setStatus(tx.sql, id, wanted, progress === null ? {} : { progress });
      }),
    forBackups: createForBackups(deps),
    forGroups: createSnapshotsForGroups(deps),
    forServers: createSnapshotsForServers(deps),
    forTransfers: createSnapshotsForTransfers(),
  };
}

async function beginCreate(deps: SnapshotsDeps, tx: Tx, caller: Caller, order: CreateSnapshotOrder): Promise<Snapshot> {
  const volume = await deps.volumes.lockForSnapshot(tx, caller, order.volumeId, { inUse: order.inUse });
  authorise(caller, 'snapshot:create', volume);
  const { id: volumeId, projectId, sizeGib } = volume;
  await deps.quotas.reserve(tx, projectId, quotaOfSnapshot(volume.volumeType.name, sizeGib));
  const id = newId();
  const { name, description, metadata } = order;
  await insertSnapshot(tx.sql, { id, projectId, userId: caller.userId, volumeId, name, description, sizeGib, metadata });
  const input: CreateInput = { snapshotId: id, volumeId, pointId: newId(), topLayerId: newId() };
  await deps.jobs.start(tx, { kind: createKind, subjectId: id, projectId, input, requestId: caller.requestId });
  return (await findSnapshot(tx.sql, id)) as Snapshot;
}

async function beginDelete(
  { jobs }: Pick<SnapshotsDeps, 'jobs'>,
  tx: Tx,
  { requestId }: Caller,
  { id, projectId, groupSnapshotId }: Snapshot,
  name: Extract<TransitionName, 'deleteBegun' | 'forceDeleteBegun'>,
): Promise<void> {
  if (groupSnapshotId !== null || !(await move(tx.sql, id, name))) {
    throw badRequest('Invalid snapshot: Snapshot status must be available or error and must not be part of a group.');
  }
  const input: DeleteInput = { snapshotId: id };
  await jobs.start(tx, { kind: deleteKind, subjectId: id, projectId, input, requestId });
}

function createForBackups({ volumes }: Pick<SnapshotsDeps, 'volumes'>): SnapshotsForBackups {
  const find = async (tx: Tx, caller: Caller, id: string): Promise<Snapshot> => {
    const { volumeId } = await visibleSnapshot(tx.sql, caller, id, 'snapshot:get');
    await volumes.lock(tx, caller, volumeId);
    return await lockedSnapshot(tx, caller, id, 'snapshot:get');
  };
  return {
    getForUpdate: find,
    async beginBackup(tx, caller, id) {
      const snapshot = await find(tx, caller, id);
      if (await move(tx.sql, id, 'backupBegun')) return snapshot;
      throw badRequest(`Invalid snapshot: Snapshot to be backed up must be available, but the current status is "${snapshot.status}".`);
    },
    async endBackup(tx, id) {
      await move(tx.sql, id, 'backupEnded');
    },
  };
}
