/** The SQL of server groups and of what is in them. */
import { type Kysely, sql } from 'kysely';
import { json, type Schema } from '../database/service.ts';
import type { ServerGroup } from './contract.ts';

export type Queries = Kysely<Schema>;

const fields = sql.raw(`
  server_groups.id, project_id AS "projectId", user_id AS "userId", name, policy, rules,
  ARRAY(SELECT server_id::text FROM server_group_members WHERE server_group_id = server_groups.id ORDER BY 1) AS members`);

/** `projectId` undefined: of all projects. */
export async function listGroups(
  db: Queries,
  projectId: string | undefined,
  { limit, offset }: { readonly limit: number; readonly offset: number },
): Promise<ServerGroup[]> {
  const own = projectId === undefined ? sql`true` : sql`project_id = ${projectId}`;
  const { rows } = await sql<ServerGroup>`
    SELECT ${fields} FROM server_groups WHERE ${own} ORDER BY created_at, id LIMIT ${limit} OFFSET ${offset}`.execute(db);
  return rows;
}

export async function findGroup(db: Queries, id: string): Promise<ServerGroup | undefined> {
  return (await sql<ServerGroup>`SELECT ${fields} FROM server_groups WHERE id = ${id}`.execute(db)).rows[0];
}

/** Nobody deletes it until the transaction ends. */
export async function holdGroup(db: Queries, id: string): Promise<ServerGroup | undefined> {
  return (await sql<ServerGroup>`SELECT ${fields} FROM server_groups WHERE id = ${id} FOR KEY SHARE`.execute(db)).rows[0];
}

export async function insertGroup(db: Queries, group: ServerGroup): Promise<void> {
  await db
    .insertInto('server_groups')
    .values({
      id: group.id,
      project_id: group.projectId,
      user_id: group.userId,
      name: group.name,
      policy: group.policy,
      rules: json(group.rules),
    })
    .execute();
}

export async function deleteGroup(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('server_groups').where('id', '=', id).execute();
}

export async function countGroups(db: Queries, projectId: string): Promise<number> {
  const row = await db
    .selectFrom('server_groups')
    .where('project_id', '=', projectId)
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirst();
  return row?.count ?? 0;
}

export async function insertMember(db: Queries, groupId: string, serverId: string): Promise<void> {
  await db.insertInto('server_group_members').values({ server_group_id: groupId, server_id: serverId }).execute();
}

export async function deleteMember(db: Queries, serverId: string): Promise<void> {
  await db.deleteFrom('server_group_members').where('server_id', '=', serverId).execute();
}

export async function groupIdsOf(db: Queries, serverId: string): Promise<string[]> {
  const rows = await db.selectFrom('server_group_members').select('server_group_id').where('server_id', '=', serverId).execute();
  return rows.map((row) => row.server_group_id);
}
