/** Groups of volumes, and their snapshots: the use cases. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { ListQuery } from '../database/lists.ts';
import type { Database, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise, projectOfList } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import { lockedGroup, lockedGroupSnapshot, visibleGroup, visibleGroupSnapshot } from './access.ts';
import type { Group, GroupColumn, GroupSnapshot, GroupSnapshotColumn } from './contract.ts';
import { createGroupSaga } from './create.job.ts';
import { deleteGroupSaga } from './delete.job.ts';
import {
  beginDelete,
  type CopyOrder,
  copyGroup,
  createGroup,
  type GroupChangesDeps,
  type GroupOrder,
  type GroupUpdate,
  requireAvailable,
  updateGroup,
} from './group-changes.ts';
import {
  type CreateSnapshotInput,
  createGroupSnapshotSaga,
  createSnapshotKind,
  type DeleteSnapshotInput,
  deleteGroupSnapshotSaga,
  deleteSnapshotKind,
} from './snapshot.job.ts';
import { isGroupSnapshotStatus, isGroupStatus } from './states.ts';
import {
  findGroup,
  findGroupSnapshot,
  insertGroupSnapshot,
  listGroupSnapshots,
  listGroups,
  moveGroupSnapshot,
  setGroupSnapshotStatus,
  setGroupStatus,
} from './store.ts';
import { createGroupTypes, type GroupTypesService } from './types.ts';

type Query<Column extends string> = Omit<ListQuery<Column>, 'projectId' | 'markerId'> & {
  readonly allProjects: boolean;
  readonly marker: string | undefined;
};

export interface SnapshotOrder {
  readonly groupId: string;
  readonly name: string | null;
  readonly description: string | null;
}

export interface GroupsService {
  list(caller: Caller, query: Query<GroupColumn>): Promise<Group[]>;
  get(caller: Caller, id: string): Promise<Group>;
  /** By the group's id. */
  memberIds(groupIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  create(caller: Caller, order: GroupOrder): Promise<Group>;
  /** A group with a copy of every volume of another, or of what a group snapshot holds. */
  copy(caller: Caller, order: CopyOrder): Promise<Group>;
  update(caller: Caller, id: string, update: GroupUpdate): Promise<void>;
  delete(caller: Caller, id: string, options: { deleteVolumes: boolean }): Promise<void>;
  resetStatus(caller: Caller, id: string, status: string): Promise<void>;
  listSnapshots(caller: Caller, query: Query<GroupSnapshotColumn>): Promise<GroupSnapshot[]>;
  getSnapshot(caller: Caller, id: string): Promise<GroupSnapshot>;
  createSnapshot(caller: Caller, order: SnapshotOrder): Promise<GroupSnapshot>;
  deleteSnapshot(caller: Caller, id: string): Promise<void>;
  resetSnapshotStatus(caller: Caller, id: string, status: string): Promise<void>;
  readonly types: GroupTypesService;
}

export interface GroupsDeps extends GroupChangesDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly disks: DisksService;
  readonly placement: Placement;
}

/** Also defines the sagas of groups, so it comes before `jobs.startWorking`. */
export function createGroupsService(deps: GroupsDeps): GroupsService {
  const { database, jobs } = deps;
  jobs.define(createGroupSaga(deps));
  jobs.define(deleteGroupSaga(deps));
  jobs.define(createGroupSnapshotSaga(deps));
  jobs.define(deleteGroupSnapshotSaga(deps));

  const scopeOf = (caller: Caller, { allProjects }: { allProjects: boolean }): string | undefined => {
    authorise(caller, 'group:list', { projectId: caller.projectId });
    return projectOfList(caller, allProjects);
  };
  const created = (work: (tx: Tx) => Promise<string>): Promise<Group> =>
    database.transact(async (tx) => (await findGroup(tx.sql, await work(tx))) as Group);

  return {
    async list(caller, query) {
      const projectId = scopeOf(caller, query);
      if (query.marker !== undefined) await visibleGroup(database.sql, caller, query.marker, 'group:get');
      return query.limit === 0 ? [] : await listGroups(database.sql, { ...query, projectId, markerId: query.marker });
    },
    get: (caller, id) => visibleGroup(database.sql, caller, id, 'group:get'),
    memberIds: (ids) => deps.volumes.memberIds(ids),
    create: (caller, order) => created((tx) => createGroup(deps, tx, caller, order)),
    copy: (caller, order) => created((tx) => copyGroup(deps, tx, caller, order)),
    update: (caller, id, update) => database.transact((tx) => updateGroup(deps, tx, caller, id, update)),
    delete: (caller, id, { deleteVolumes }) => database.transact((tx) => beginDelete(deps, tx, caller, id, deleteVolumes)),
    resetStatus: (caller, id, status) =>
      database.transact(async (tx) => {
        await lockedGroup(tx, caller, id, 'group:reset_status');
        if (!isGroupStatus(status)) throw badRequest(`Invalid group status: ${status}`);
        await setGroupStatus(tx.sql, id, status);
      }),
    async listSnapshots(caller, query) {
      const projectId = scopeOf(caller, query);
      if (query.marker !== undefined) await visibleGroupSnapshot(database.sql, caller, query.marker, 'group:get');
      return query.limit === 0 ? [] : await listGroupSnapshots(database.sql, { ...query, projectId, markerId: query.marker });
    },
    getSnapshot: (caller, id) => visibleGroupSnapshot(database.sql, caller, id, 'group:get'),
    createSnapshot: (caller, order) => database.transact((tx) => beginSnapshot(deps, tx, caller, order)),
    deleteSnapshot: (caller, id) => database.transact((tx) => beginDeleteSnapshot(deps, tx, caller, id)),
    resetSnapshotStatus: (caller, id, status) =>
      database.transact(async (tx) => {
        await lockedGroupSnapshot(tx, caller, id, 'group:reset_status');
        if (!isGroupSnapshotStatus(status)) throw badRequest(`Invalid group snapshot status: ${status}`);
        await setGroupSnapshotStatus(tx.sql, id, status);
      }),
    types: createGroupTypes(deps),
  };
}

async function beginSnapshot(deps: GroupsDeps, tx: Tx, caller: Caller, order: SnapshotOrder): Promise<GroupSnapshot> {
  const group = await lockedGroup(tx, caller, order.groupId, 'group:create');
  requireAvailable(group);
  const members = await deps.volumes.lockMembers(tx, group.id);
  if (members.length === 0) throw badRequest('Invalid group: Source group is empty. No group snapshot will be created.');
  const busy = members.find(({ status }) => status !== 'available' && status !== 'in-use');
  if (busy !== undefined) {
    throw badRequest(`Invalid volume: Volume ${busy.id} status must be available or in-use, but current status is: ${busy.status}.`);
  }
  const id = newId();
  const { name, description } = order;
  const { projectId, groupTypeId } = group;
  await insertGroupSnapshot(tx.sql, { id, projectId, userId: caller.userId, groupId: group.id, groupTypeId, name, description });
  const parts: CreateSnapshotInput['parts'][number][] = [];
  for (const volume of members) {
    const snapshotId = newId();
    await deps.snapshots.insertPart(tx, caller, { id: snapshotId, volume, groupSnapshotId: id, name, description });
    parts.push({ snapshotId, volumeId: volume.id, pointId: newId(), topLayerId: newId() });
  }
  const input: CreateSnapshotInput = { groupSnapshotId: id, parts };
  await deps.jobs.start(tx, { kind: createSnapshotKind, subjectId: id, projectId, input, requestId: caller.requestId });
  return (await findGroupSnapshot(tx.sql, id)) as GroupSnapshot;
}

async function beginDeleteSnapshot(deps: GroupsDeps, tx: Tx, caller: Caller, id: string): Promise<void> {
  const snapshot = await lockedGroupSnapshot(tx, caller, id, 'group:delete');
  for (const part of await deps.snapshots.lockParts(tx, id)) {
    if (part.status === 'deleting' || (await deps.snapshots.beginDelete(tx, part.id))) continue;
    throw badRequest(`Invalid GroupSnapshot: Snapshot ${part.id} of it is busy: its status is ${part.status}.`);
  }
  if (!(await moveGroupSnapshot(tx.sql, id, 'deleteBegun'))) {
    throw badRequest(`Invalid GroupSnapshot: GroupSnapshot status must be available or error, but current status is: ${snapshot.status}.`);
  }
  const input: DeleteSnapshotInput = { groupSnapshotId: id };
  await deps.jobs.start(tx, { kind: deleteSnapshotKind, subjectId: id, projectId: snapshot.projectId, input, requestId: caller.requestId });
}
