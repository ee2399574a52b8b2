/** Backups as users see them: what may be asked, and what it begins. The long work is in the `*.job.ts` files beside this one. */
import type { SpaceAccount } from '../../engine/space/contract.ts';
import type { DataMover } from '../../engine/transfer/contract.ts';
import { badRequest, notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import type { ListQuery } from '../database/lists.ts';
import type { Database, StringMap, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/contract.ts';
import { createEvents } from '../events/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee, projectOfList } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { SnapshotsForBackups } from '../snapshots/contract.ts';
import type { Volume, VolumesForBackups } from '../volumes/contract.ts';
import type { Backup } from './backup.ts';
import { beginCreate } from './begin-create.ts';
import { beginRestore, beginVolume } from './begin-restore.ts';
import { createBackupSaga } from './create.job.ts';
import { type DeleteInput, deleteBackupSaga, deleteKind } from './delete.job.ts';
import { discardSessionsSaga } from './discard.job.ts';
import { importRecordSaga } from './import.job.ts';
import { beginImport } from './import.ts';
import type { BackupColumn } from './list-query.ts';
import type { CreateBackupOrder, Restore, RestoreBackupOrder, VolumeOrder } from './orders.ts';
import { type BackupRecord, recordOf } from './record.ts';
import { createRepositories, type RepositoryPlace, type RepositoryView } from './repositories.ts';
import { restoreBackupSaga, restoreKind } from './restore.job.ts';
import { can } from './states.ts';
import { countBackups, describeBackup, findBackup, hasChildren, hasSiblings, listBackups, lockBackup, move } from './store.ts';

export interface BackupsDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly disks: DisksService;
  readonly volumes: VolumesForBackups;
  readonly snapshots: SnapshotsForBackups;
  readonly mover: DataMover;
  readonly placement: Placement;
  readonly availabilityZone: string;
  /** The folder of this machine in which each repository gets one for what can be derived anew. */
  readonly cacheRoot: string;
  readonly space: SpaceAccount;
  readonly log: Log;
}

export interface BackupPage {
  readonly backups: readonly Backup[];
  /** All that match, whatever the page: only when asked for. */
  readonly count?: number;
}

export interface BackupListOrder extends Omit<ListQuery<BackupColumn>, 'projectId' | 'markerId' | 'metadata'> {
  /** Has a meaning for administrators only. */
  readonly allProjects: boolean;
  readonly marker: string | undefined;
  readonly withCount: boolean;
}

export interface BackupChanges {
  readonly name?: string | null;
  readonly description?: string | null;
  /** Replaces all. */
  readonly metadata?: StringMap;
}

export interface BackupsService {
  /** At start, before anything is backed up. */
  ensureDefaultRepository(place: RepositoryPlace): Promise<void>;
  repositories(): Promise<RepositoryView[]>;
  list(caller: Caller, order: BackupListOrder): Promise<BackupPage>;
  get(caller: Caller, id: string): Promise<Backup>;
  create(caller: Caller, order: CreateBackupOrder): Promise<Backup>;
  update(caller: Caller, id: string, changes: BackupChanges): Promise<Backup>;
  restore(caller: Caller, id: string, order: RestoreBackupOrder): Promise<Restore>;
  /** A new volume that starts as what the backup holds. */
  createVolume(caller: Caller, id: string, order: VolumeOrder): Promise<Volume>;
  /** What another database needs to know of an available backup. For administrators. */
  exportRecord(caller: Caller, id: string): Promise<BackupRecord>;
  /** A backup whose record another database, or this one, has exported; the caller's project owns it. For administrators. */
  importRecord(caller: Caller, record: BackupRecord): Promise<Backup>;
  delete(caller: Caller, id: string): Promise<void>;
  /** Deletion from any state; of a backup that is being created: its cancellation. */
  forceDelete(caller: Caller, id: string): Promise<void>;
  /** Ends a restore or a creation that is under way. A backup without a commit stays as it is when it is called available. */
  resetStatus(caller: Caller, id: string, status: 'available' | 'error'): Promise<void>;
}

const unknownBackup = (id: string) => notFound(`Backup ${id} could not be found.`);

/** Also defines the sagas of backups, so it comes before `jobs.startWorking`. */
export function createBackupsService(deps: BackupsDeps): BackupsService {
  const { database, jobs } = deps;
  const repositories = createRepositories(deps);
  const withRepositories = { ...deps, repositories, events: createEvents({ database }) };
  jobs.define(createBackupSaga(withRepositories));
  jobs.define(restoreBackupSaga(withRepositories));
  jobs.define(deleteBackupSaga(withRepositories));
  jobs.define(discardSessionsSaga(withRepositories));
  jobs.define(importRecordSaga(withRepositories));

  const visible = (caller: Caller, id: string, backup: Backup | undefined, action: Action): Backup => {
    if (backup === undefined || !canSee(caller, backup)) throw unknownBackup(id);
    authorise(caller, action, backup);
    return backup;
  };

  const get = async (caller: Caller, id: string, action: Action): Promise<Backup> =>
    visible(caller, id, isUuid(id) ? await findBackup(database.sql, id) : undefined, action);

  const getLocked = async (tx: Tx, caller: Caller, id: string, action: Action): Promise<Backup> =>
    visible(caller, id, isUuid(id) ? await lockBackup(tx.sql, id) : undefined, action);

  return {
    ensureDefaultRepository: repositories.ensureDefault,
    repositories: repositories.list,

    async list(caller, order) {
      authorise(caller, 'backup:list', { projectId: caller.projectId });
      const projectId = projectOfList(caller, order.allProjects);
      const query = { ...order, projectId, metadata: {}, markerId: order.marker };
      if (order.marker !== undefined) await get(caller, order.marker, 'backup:get');
      const backups = order.limit === 0 ? [] : await listBackups(database.sql, query);
      return order.withCount ? { backups, count: await countBackups(database.sql, query) } : { backups };
    },

    get: (caller, id) => get(caller, id, 'backup:get'),

    async create(caller, order) {
      const owner = { ...caller, projectId: projectOf(caller) };
      const repositoryId = await repositories.defaultId();
      const id = await database.transact((tx) => beginCreate(deps, tx, owner, repositoryId, order));
      return await get(caller, id, 'backup:get');
    },

    async update(caller, id, changes) {
      await database.transact(async (tx) => {
        const backup = await getLocked(tx, caller, id, 'backup:update');
        await describeBackup(tx.sql, backup.id, changes);
      });
      return await get(caller, id, 'backup:get');
    },

    async restore(caller, id, order) {
      const backup = await get(caller, id, 'backup:restore');
      return await database.transact((tx) => beginRestore(deps, tx, caller, backup, order));
    },

    async createVolume(caller, id, order) {
      const backup = await get(caller, id, 'backup:restore');
      return await database.transact((tx) => beginVolume(deps, tx, caller, backup, order));
    },

    async exportRecord(caller, id) {
      const backup = await get(caller, id, 'backup:export');
      if (backup.status !== 'available') {
        throw badRequest(`Invalid backup: Backup status must be available and not ${backup.status}.`);
      }
      return recordOf(backup);
    },

    async importRecord(caller, record) {
      const owner = { ...caller, projectId: projectOf(caller) };
      authorise(caller, 'backup:import', owner);
      const id = await database.transact((tx) => beginImport(deps, tx, owner, record));
      return await get(caller, id, 'backup:get');
    },

    delete: (caller, id) =>
      database.transact(async (tx) => {
        const backup = await getLocked(tx, caller, id, 'backup:delete');
        if (!can.delete(backup)) throw badRequest('Invalid backup: Backup status must be available or error');
        await deps.placement.requireBackups(tx.sql);
        await beginDelete(deps, tx, caller, backup, 'deleteBegun');
      }),

    forceDelete: (caller, id) =>
      database.transact(async (tx) => {
        const backup = await getLocked(tx, caller, id, 'backup:force_delete');
        // Asked twice: the first one is at work.
        if (!can.forceDelete(backup)) return;
        await deps.placement.requireBackups(tx.sql);
        await beginDelete(deps, tx, caller, backup, 'forceDeleteBegun');
      }),

    resetStatus: (caller, id, status) =>
      database.transact(async (tx) => {
        const backup = await getLocked(tx, caller, id, 'backup:reset_status');
        await resetStatus(deps, tx, backup, status);
      }),
  };
}

function projectOf(caller: Caller): string {
  if (caller.projectId === null) throw badRequest('Malformed request url');
  return caller.projectId;
}

async function beginDelete(
  deps: BackupsDeps,
  tx: Tx,
  { requestId }: Caller,
  backup: Backup,
  transition: 'deleteBegun' | 'forceDeleteBegun',
): Promise<void> {
  if (await hasChildren(tx.sql, backup.id)) throw badRequest('Invalid backup: Incremental backups exist for this backup.');
  await move(tx.sql, backup.id, transition);
  if (backup.status === 'creating') {
    // Its saga finds the state changed: it cleans up and removes the row.
    await deps.jobs.requestCancel(tx, backup.id);
    return;
  }
  if (backup.status === 'restoring') await deps.jobs.requestCancel(tx, backup.id, restoreKind);
  // From this moment no new incremental starts from the commit that is about to die.
  const { id, session } = backup;
  if (session !== null && !(await hasSiblings(tx.sql, { id, session }, 'kept'))) await deps.disks.forgetSession(tx, session);
  const input: DeleteInput = { backupId: backup.id };
  await deps.jobs.start(tx, { kind: deleteKind, subjectId: backup.id, projectId: backup.projectId, input, requestId });
}

async function resetStatus(deps: BackupsDeps, tx: Tx, backup: Backup, status: 'available' | 'error'): Promise<void> {
  if (backup.status === 'creating') {
    // There is nothing yet that could be called available; `error` is where a cancelled creation ends by itself.
    if (status === 'error') await deps.jobs.requestCancel(tx, backup.id);
    return;
  }
  if (!can.beReset(backup, status)) return;
  if (backup.status === 'restoring') await deps.jobs.requestCancel(tx, backup.id, restoreKind);
  await move(tx.sql, backup.id, status === 'error' ? 'resetToError' : 'resetToAvailable', { restoringTo: [] });
}
