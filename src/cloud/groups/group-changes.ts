/** The requests that make, change and end groups: every check first, then rows, quota and saga in one transaction. */
import { badRequest, ProductError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { SnapshotsForGroups } from '../snapshots/service.ts';
import type { Volume, VolumesForGroups } from '../volumes/service.ts';
import { lockedGroup, lockedGroupSnapshot } from './access.ts';
import type { Group } from './contract.ts';
import { type CreateInput, createKind, holderOf } from './create.job.ts';
import { type DeleteInput, deleteKind } from './delete.job.ts';
import { describeGroup, hasGroupSnapshots, insertGroup, moveGroup } from './store.ts';
import { findUsableType } from './types.ts';

export interface GroupOrder {
  readonly name: string | null;
  readonly description: string | null;
  /** Ids or names. */
  readonly groupType: string;
  readonly volumeTypes: readonly string[];
  readonly availabilityZone: string | null;
}

export interface CopyOrder {
  readonly name: string | null;
  readonly description: string | null;
  readonly source: { readonly kind: 'group' | 'group_snapshot'; readonly id: string };
}

export interface GroupUpdate {
  readonly name?: string | null;
  readonly description?: string | null;
  readonly addVolumes: readonly string[];
  readonly removeVolumes: readonly string[];
}

export interface GroupChangesDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly disks: Pick<DisksService, 'hold'>;
  readonly volumes: VolumesForGroups;
  readonly snapshots: SnapshotsForGroups;
  readonly availabilityZone: string;
}

const gib = 2 ** 30;

function ownProject(caller: Caller): string {
  if (caller.projectId === null) throw badRequest('Malformed request url');
  authorise(caller, 'group:create', { projectId: caller.projectId });
  return caller.projectId;
}

/** Returns the id. */
export async function createGroup(deps: GroupChangesDeps, tx: Tx, caller: Caller, order: GroupOrder): Promise<string> {
  const projectId = ownProject(caller);
  const { name, description, availabilityZone } = order;
  if (availabilityZone !== null && availabilityZone !== deps.availabilityZone) {
    throw badRequest(`Invalid input received: Availability zone '${availabilityZone}' is invalid.`);
  }
  const type = await findUsableType(tx, caller, order.groupType);
  const volumeTypeIds = await deps.volumes.typeIds(tx, caller, order.volumeTypes);
  await deps.quotas.reserve(tx, projectId, { groups: 1 });
  const id = newId();
  const origin = { groupSnapshotId: null, sourceGroupId: null };
  const group = { id, projectId, userId: caller.userId, name, description, groupTypeId: type.id, volumeTypeIds, ...origin };
  await insertGroup(tx.sql, { ...group, status: 'available', availabilityZone: deps.availabilityZone });
  return id;
}

/** One member of the new group, and where it starts. */
interface Start {
  readonly like: Volume;
  readonly sizeGib: number;
  readonly snapshotId: string | null;
  readonly pointId: string;
  readonly source: { readonly volumeId: string; readonly topLayerId: string } | null;
}

/** Returns the id. */
export async function copyGroup(deps: GroupChangesDeps, tx: Tx, caller: Caller, order: CopyOrder): Promise<string> {
  const projectId = ownProject(caller);
  const { kind, id: sourceId } = order.source;
  const ofSnapshot = kind === 'group_snapshot' ? await lockedGroupSnapshot(tx, caller, sourceId, 'group:get') : undefined;
  if (ofSnapshot !== undefined && ofSnapshot.status !== 'available') {
    throw badRequest(`Invalid GroupSnapshot: Group snapshot status must be available, but current status is: ${ofSnapshot.status}.`);
  }
  const like = await lockedGroup(tx, caller, ofSnapshot?.groupId ?? sourceId, 'group:get');
  if (ofSnapshot === undefined) requireAvailable(like);
  const starts = ofSnapshot === undefined ? await startsOfGroup(deps, tx, like) : await startsOfSnapshot(deps, tx, caller, ofSnapshot.id);
  if (starts.length === 0) throw badRequest(`Invalid input received: Source ${kind} ${sourceId} has no volumes.`);
  await deps.quotas.reserve(tx, projectId, { groups: 1 });
  const groupId = newId();
  const { name, description } = order;
  await insertGroup(tx.sql, {
    ...like,
    id: groupId,
    projectId,
    userId: caller.userId,
    name,
    description,
    status: 'creating',
    groupSnapshotId: ofSnapshot?.id ?? null,
    sourceGroupId: ofSnapshot === undefined ? sourceId : null,
  });
  await startCopy(deps, tx, caller, groupId, starts);
  return groupId;
}

async function startCopy(deps: GroupChangesDeps, tx: Tx, caller: Caller, groupId: string, starts: readonly Start[]): Promise<void> {
  const named = starts.map((start) => ({ ...start, id: newId(), groupId }));
  await deps.volumes.insertCopies(tx, caller, named);
  for (const { pointId, source } of named) if (source === null) await deps.disks.hold(tx, pointId, holderOf(groupId));
  const members = named.map(({ id, sizeGib, pointId, source }) => ({
    volumeId: id,
    topLayerId: newId(),
    sizeBytes: sizeGib * gib,
    pointId,
    source,
  }));
  const input: CreateInput = { groupId, members };
  await deps.jobs.start(tx, { kind: createKind, subjectId: groupId, projectId: caller.projectId, input, requestId: caller.requestId });
}

async function startsOfGroup({ volumes }: GroupChangesDeps, tx: Tx, group: Group): Promise<Start[]> {
  const members = await volumes.lockMembers(tx, group.id);
  const busy = members.find(({ status }) => status !== 'available' && status !== 'in-use');
  if (busy !== undefined)
    throw badRequest(`Invalid volume: Volume ${busy.id} must be available or in-use, but its status is ${busy.status}.`);
  return members.map((like) => {
    const source = { volumeId: like.id, topLayerId: newId() };
    return { like, sizeGib: like.sizeGib, snapshotId: null, pointId: newId(), source };
  });
}

async function startsOfSnapshot(deps: GroupChangesDeps, tx: Tx, caller: Caller, groupSnapshotId: string): Promise<Start[]> {
  const starts: Start[] = [];
  for (const { id, volumeId, pointId, sizeGib } of await deps.snapshots.lockParts(tx, groupSnapshotId)) {
    if (pointId === null) throw badRequest(`Invalid snapshot: Snapshot ${id} of the group snapshot has no content.`);
    const like = await deps.volumes.lock(tx, caller, volumeId);
    starts.push({ like, sizeGib, snapshotId: id, pointId, source: null });
  }
  return starts;
}

export function requireAvailable(group: Group): void {
  if (group.status === 'available') return;
  throw badRequest(`Invalid group: Group status must be available, but current status is: ${group.status}.`);
}

export async function updateGroup(deps: GroupChangesDeps, tx: Tx, caller: Caller, id: string, update: GroupUpdate): Promise<void> {
  const group = await lockedGroup(tx, caller, id, 'group:update');
  requireAvailable(group);
  const members = await deps.volumes.lockMembers(tx, id);
  for (const volumeId of update.removeVolumes) {
    if (!members.some((member) => member.id === volumeId)) {
      throw badRequest(`Invalid volume: Cannot remove volume ${volumeId} from group ${id} because it is not in the group.`);
    }
    await deps.volumes.setGroup(tx, volumeId, null);
  }
  for (const volumeId of update.addVolumes) await addMember(deps, tx, caller, group, volumeId);
  const { name, description } = update;
  await describeGroup(tx.sql, id, { ...(name !== undefined && { name }), ...(description !== undefined && { description }) });
}

async function addMember({ volumes }: GroupChangesDeps, tx: Tx, caller: Caller, group: Group, volumeId: string): Promise<void> {
  const cannot = (why: string) => badRequest(`Invalid volume: Cannot add volume ${volumeId} to group ${group.id} because ${why}`);
  const volume = await volumes.lock(tx, caller, volumeId).catch((error: unknown) => {
    throw error instanceof ProductError ? cannot('volume cannot be found.') : error;
  });
  if (volume.projectId !== group.projectId) throw cannot('volume cannot be found.');
  if (volume.groupId !== null) throw cannot(`it is already in group ${volume.groupId}`);
  if (!group.volumeTypeIds.includes(volume.volumeType.id)) throw cannot('volume type is not supported by the group.');
  if (volume.status !== 'available' && volume.status !== 'in-use') {
    throw cannot(`volume is in an invalid state: ${volume.status}. Valid states are: ('available', 'in-use').`);
  }
  await volumes.setGroup(tx, volumeId, group.id);
}

export async function beginDelete(deps: GroupChangesDeps, tx: Tx, caller: Caller, id: string, deleteVolumes: boolean): Promise<void> {
  const group = await lockedGroup(tx, caller, id, 'group:delete');
  const members = await deps.volumes.lockMembers(tx, id);
  if (members.length > 0 && !deleteVolumes) {
    throw badRequest(`Invalid group: Group ${id} still contains volumes. The delete-volumes flag is required to delete it.`);
  }
  if (await hasGroupSnapshots(tx.sql, id)) throw badRequest(`Invalid group: Cannot delete group ${id}: it has group snapshots.`);
  for (const { id: volumeId, attachments } of members) {
    if (attachments.length > 0) throw badRequest(`Invalid volume: Volume in group ${id} is attached. Need to detach first.`);
    if (await deps.snapshots.hasAny(tx, volumeId)) throw badRequest(`Invalid volume: Volume in group ${id} still has dependent snapshots.`);
    if (!(await deps.volumes.beginDelete(tx, volumeId))) throw badRequest(`Invalid volume: Volume ${volumeId} of group ${id} is busy.`);
  }
  if (!(await moveGroup(tx.sql, id, 'deleteBegun'))) {
    throw badRequest(`Invalid group: Group status must be available or error, but current status is: ${group.status}.`);
  }
  const input: DeleteInput = { groupId: id, volumeIds: members.map((member) => member.id) };
  await deps.jobs.start(tx, { kind: deleteKind, subjectId: id, projectId: group.projectId, input, requestId: caller.requestId });
}
