/** The only SQL for groups and group snapshots. Statuses change by compare-and-set on the tables of transitions. */
import { type Kysely, sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import type { Schema, Timestamp } from '../database/service.ts';
import {
  type Group,
  type GroupColumn,
  type GroupSnapshot,
  type GroupSnapshotColumn,
  groupColumns,
  groupSnapshotColumns,
} from './contract.ts';
import {
  type GroupSnapshotStatus,
  type GroupSnapshotTransition,
  type GroupStatus,
  type GroupTransition,
  groupSnapshotTransitions,
  groupTransitions,
} from './states.ts';

export type Queries = Kysely<Schema>;

const groupFields = sql.raw(`
  id, project_id AS "projectId", user_id AS "userId", name, description, status, availability_zone AS "availabilityZone",
  group_type_id AS "groupTypeId", group_snapshot_id AS "groupSnapshotId", source_group_id AS "sourceGroupId", created_at AS "createdAt",
  ARRAY(SELECT volume_type_id::text FROM volume_group_types WHERE group_id = volume_groups.id ORDER BY 1) AS "volumeTypeIds"`);
const snapshotFields = sql.raw(`
  id, project_id AS "projectId", user_id AS "userId", group_id AS "groupId", group_type_id AS "groupTypeId", name, description, status,
  created_at AS "createdAt"`);

export async function findGroup(db: Queries, id: string): Promise<Group | undefined> {
  return (await sql<Group>`SELECT ${groupFields} FROM volume_groups WHERE id = ${id}`.execute(db)).rows[0];
}

/** Locks the row until the end of the transaction: against every change, or (`share`) against deletion and changes of its status. */
export async function lockGroup(db: Queries, id: string, how: 'update' | 'share' = 'update'): Promise<Group | undefined> {
  const lock = sql.raw(how === 'update' ? 'FOR UPDATE' : 'FOR SHARE');
  return (await sql<Group>`SELECT ${groupFields} FROM volume_groups WHERE id = ${id} ${lock}`.execute(db)).rows[0];
}

export async function listGroups(db: Queries, list: ListQuery<GroupColumn>): Promise<Group[]> {
  const { page } = listSql('volume_groups', groupColumns, list);
  return (await sql<Group>`SELECT ${groupFields} FROM volume_groups ${page}`.execute(db)).rows;
}

export async function insertGroup(db: Queries, group: Omit<Group, 'createdAt'>): Promise<void> {
  await db
    .insertInto('volume_groups')
    .values({
      id: group.id,
      project_id: group.projectId,
      user_id: group.userId,
      name: group.name,
      description: group.description,
      status: group.status,
      availability_zone: group.availabilityZone,
      group_type_id: group.groupTypeId,
      group_snapshot_id: group.groupSnapshotId,
      source_group_id: group.sourceGroupId,
    })
    .execute();
  const types = group.volumeTypeIds.map((id) => ({ group_id: group.id, volume_type_id: id }));
  if (types.length > 0) await db.insertInto('volume_group_types').values(types).execute();
}

const now = sql<Timestamp>`clock_timestamp()`;

export async function describeGroup(
  db: Queries,
  id: string,
  changes: { name?: string | null; description?: string | null },
): Promise<void> {
  await db
    .updateTable('volume_groups')
    .set({ ...changes, updated_at: now })
    .where('id', '=', id)
    .execute();
}

/** One transition, compare-and-set. False: not in a state that it may start from, or gone. */
export async function moveGroup(db: Queries, id: string, name: GroupTransition): Promise<boolean> {
  const { from, to } = groupTransitions[name];
  const set = db.updateTable('volume_groups').set({ status: to, updated_at: now });
  return (
    (
      await set
        .where('id', '=', id)
        .where('status', 'in', [...from])
        .executeTakeFirst()
    ).numUpdatedRows > 0n
  );
}

/** An administrator's word: from whatever state. */
export async function setGroupStatus(db: Queries, id: string, status: GroupStatus): Promise<void> {
  await db.updateTable('volume_groups').set({ status, updated_at: now }).where('id', '=', id).execute();
}

export async function deleteGroup(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('volume_groups').where('id', '=', id).execute();
}

export async function findGroupSnapshot(db: Queries, id: string): Promise<GroupSnapshot | undefined> {
  return (await sql<GroupSnapshot>`SELECT ${snapshotFields} FROM group_snapshots WHERE id = ${id}`.execute(db)).rows[0];
}

export async function lockGroupSnapshot(db: Queries, id: string): Promise<GroupSnapshot | undefined> {
  return (await sql<GroupSnapshot>`SELECT ${snapshotFields} FROM group_snapshots WHERE id = ${id} FOR UPDATE`.execute(db)).rows[0];
}

export async function listGroupSnapshots(db: Queries, list: ListQuery<GroupSnapshotColumn>): Promise<GroupSnapshot[]> {
  const { page } = listSql('group_snapshots', groupSnapshotColumns, list);
  return (await sql<GroupSnapshot>`SELECT ${snapshotFields} FROM group_snapshots ${page}`.execute(db)).rows;
}

export async function hasGroupSnapshots(db: Queries, groupId: string): Promise<boolean> {
  return (await db.selectFrom('group_snapshots').select('id').where('group_id', '=', groupId).limit(1).executeTakeFirst()) !== undefined;
}

export async function insertGroupSnapshot(db: Queries, snapshot: Omit<GroupSnapshot, 'createdAt' | 'status'>): Promise<void> {
  await db
    .insertInto('group_snapshots')
    .values({
      id: snapshot.id,
      project_id: snapshot.projectId,
      user_id: snapshot.userId,
      group_id: snapshot.groupId,
      group_type_id: snapshot.groupTypeId,
      name: snapshot.name,
      description: snapshot.description,
      status: 'creating',
    })
    .execute();
}

export async function moveGroupSnapshot(db: Queries, id: string, name: GroupSnapshotTransition): Promise<boolean> {
  const { from, to } = groupSnapshotTransitions[name];
  const set = db.updateTable('group_snapshots').set({ status: to, updated_at: now });
  return (
    (
      await set
        .where('id', '=', id)
        .where('status', 'in', [...from])
        .executeTakeFirst()
    ).numUpdatedRows > 0n
  );
}

export async function setGroupSnapshotStatus(db: Queries, id: string, status: GroupSnapshotStatus): Promise<void> {
  await db.updateTable('group_snapshots').set({ status, updated_at: now }).where('id', '=', id).execute();
}

export async function deleteGroupSnapshot(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('group_snapshots').where('id', '=', id).execute();
}
