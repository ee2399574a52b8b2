/** The only SQL on `group_types`. */
import { sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import { json, type StringMap, type Timestamp } from '../database/service.ts';
import { type GroupType, type GroupTypeColumn, groupTypeColumns } from './contract.ts';
import type { Queries } from './store.ts';

const fields = sql.raw('id, name, description, is_public AS "isPublic", group_specs AS specs, created_at AS "createdAt"');

export async function findGroupType(db: Queries, id: string): Promise<GroupType | undefined> {
  return (await sql<GroupType>`SELECT ${fields} FROM group_types WHERE id = ${id}`.execute(db)).rows[0];
}

/** Locks the row until the end of the transaction. */
export async function lockGroupType(db: Queries, id: string): Promise<GroupType | undefined> {
  return (await sql<GroupType>`SELECT ${fields} FROM group_types WHERE id = ${id} FOR UPDATE`.execute(db)).rows[0];
}

export async function findGroupTypeByName(db: Queries, name: string): Promise<GroupType | undefined> {
  return (await sql<GroupType>`SELECT ${fields} FROM group_types WHERE name = ${name}`.execute(db)).rows[0];
}

export async function listGroupTypes(db: Queries, list: ListQuery<GroupTypeColumn>): Promise<GroupType[]> {
  const { page } = listSql('group_types', groupTypeColumns, list);
  return (await sql<GroupType>`SELECT ${fields} FROM group_types ${page}`.execute(db)).rows;
}

export async function insertGroupType(db: Queries, type: Omit<GroupType, 'createdAt'>): Promise<void> {
  const { id, name, description, isPublic, specs } = type;
  await db
    .insertInto('group_types')
    .values({ id, name, description, is_public: isPublic, group_specs: json(specs) })
    .execute();
}

export interface GroupTypeChanges {
  readonly name?: string;
  readonly description?: string | null;
  readonly isPublic?: boolean;
  readonly specs?: StringMap;
}

export async function updateGroupType(db: Queries, id: string, changes: GroupTypeChanges): Promise<void> {
  await db
    .updateTable('group_types')
    .set({
      ...(changes.name !== undefined && { name: changes.name }),
      ...(changes.description !== undefined && { description: changes.description }),
      ...(changes.isPublic !== undefined && { is_public: changes.isPublic }),
      ...(changes.specs !== undefined && { group_specs: json(changes.specs) }),
      updated_at: sql<Timestamp>`clock_timestamp()`,
    })
    .where('id', '=', id)
    .execute();
}

export async function deleteGroupType(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('group_types').where('id', '=', id).execute();
}
