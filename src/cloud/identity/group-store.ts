/** The SQL of groups and of who is in them. */
import type { Kysely, Selectable } from 'kysely';
import type { GroupsTable } from '../database/schema.ts';
import { json, type Schema } from '../database/service.ts';
import { userOf } from './directory-store.ts';
import type { Group, User } from './entities.ts';

type Db = Kysely<Schema>;

export interface GroupFilter {
  readonly name?: string | undefined;
  readonly domainId?: string | undefined;
}

const groupOf = (row: Selectable<GroupsTable>): Group => ({
  id: row.id,
  domainId: row.domain_id,
  name: row.name,
  description: row.description,
  extra: row.extra,
});

const groupValues = (group: Group) => ({
  domain_id: group.domainId,
  name: group.name,
  description: group.description,
  extra: json(group.extra),
});

export async function listGroups(db: Db, filter: GroupFilter): Promise<Group[]> {
  let query = db.selectFrom('groups').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.domainId !== undefined) query = query.where('domain_id', '=', filter.domainId);
  return (await query.execute()).map(groupOf);
}

export async function findGroup(db: Db, id: string): Promise<Group | undefined> {
  const row = await db.selectFrom('groups').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : groupOf(row);
}

export async function lockGroup(db: Db, id: string): Promise<Group | undefined> {
  const row = await db.selectFrom('groups').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : groupOf(row);
}

export async function insertGroup(db: Db, group: Group): Promise<void> {
  await db
    .insertInto('groups')
    .values({ id: group.id, ...groupValues(group) })
    .execute();
}

export async function updateGroup(db: Db, group: Group): Promise<void> {
  await db.updateTable('groups').set(groupValues(group)).where('id', '=', group.id).execute();
}

export async function deleteGroup(db: Db, id: string): Promise<void> {
  await db.deleteFrom('groups').where('id', '=', id).execute();
}

export async function insertMember(db: Db, groupId: string, userId: string): Promise<void> {
  await db
    .insertInto('group_members')
    .values({ group_id: groupId, user_id: userId })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function deleteMember(db: Db, groupId: string, userId: string): Promise<boolean> {
  const query = db.deleteFrom('group_members').where('group_id', '=', groupId).where('user_id', '=', userId);
  return (await query.executeTakeFirst()).numDeletedRows > 0n;
}

export async function isMember(db: Db, groupId: string, userId: string): Promise<boolean> {
  const query = db.selectFrom('group_members').select('user_id').where('group_id', '=', groupId).where('user_id', '=', userId);
  return (await query.executeTakeFirst()) !== undefined;
}

export async function listMembers(db: Db, groupId: string): Promise<User[]> {
  const query = db
    .selectFrom('group_members as m')
    .innerJoin('users as u', 'u.id', 'm.user_id')
    .selectAll('u')
    .where('m.group_id', '=', groupId)
    .orderBy('u.name');
  return (await query.execute()).map(userOf);
}

export async function listGroupsOfUser(db: Db, userId: string): Promise<Group[]> {
  const query = db
    .selectFrom('group_members as m')
    .innerJoin('groups as g', 'g.id', 'm.group_id')
    .selectAll('g')
    .where('m.user_id', '=', userId)
    .orderBy('g.name');
  return (await query.execute()).map(groupOf);
}
