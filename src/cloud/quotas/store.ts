/**
 * The SQL of quotas. It reads the tables of volumes, snapshots and backups, which come later in the order of folders: usage is always
 * counted from the rows themselves, so that no counter can drift away from them, and counting needs no call back up.
 *
 * Every row counts, whatever its status, until it is gone. Nothing temporary has a row in these tables.
 */
import { type Kysely, sql } from 'kysely';
import type { Schema } from '../database/schema.ts';
import type { Tx } from '../database/service.ts';
import { type ProjectUsage, perTypeKeys, type QuotaLimits, type TypeUsage } from './keys.ts';

/** The key space of two-number advisory locks that quotas use. */
const lockSpace = 0x5350;

/** Where `quota_limits` keeps the defaults that differ from the built-in ones. */
export const defaultsOwner = '';

/** One reservation of a project at a time, until its transaction ends; then the next one sees the rows that it wrote. */
export async function lockProject(tx: Tx, projectId: string): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock(${lockSpace}, hashtext(${projectId}))`.execute(tx.sql);
}

export async function readUsage(db: Kysely<Schema>, projectId: string): Promise<ProjectUsage> {
  const { rows } = await sql<{ resource: string; type_name: string; count: number; gib: number }>`
    SELECT 'volumes' AS resource, t.name AS type_name, count(*) AS count, sum(v.size_gib)::bigint AS gib
      FROM volumes v JOIN volume_types t ON t.id = v.volume_type_id WHERE v.project_id = ${projectId} GROUP BY t.name
    UNION ALL
    SELECT 'snapshots', t.name, count(*), sum(s.size_gib)::bigint
      FROM snapshots s JOIN volumes v ON v.id = s.volume_id JOIN volume_types t ON t.id = v.volume_type_id
     WHERE s.project_id = ${projectId} GROUP BY t.name
    UNION ALL
    SELECT 'backups', '', count(*), coalesce(sum(size_gib), 0)::bigint FROM backups WHERE project_id = ${projectId}
    UNION ALL
    SELECT 'groups', '', count(*), 0 FROM volume_groups WHERE project_id = ${projectId}`.execute(db);
  const of = (resource: string): TypeUsage[] =>
    rows.filter((row) => row.resource === resource).map((row) => ({ typeName: row.type_name, count: row.count, gib: row.gib }));
  const [backups] = of('backups');
  const [groups] = of('groups');
  return {
    volumes: of('volumes'),
    snapshots: of('snapshots'),
    backupCount: backups?.count ?? 0,
    backupGib: backups?.gib ?? 0,
    groupCount: groups?.count ?? 0,
  };
}

export async function readTypeNames(db: Kysely<Schema>): Promise<string[]> {
  const rows = await db.selectFrom('volume_types').select('name').orderBy('name').execute();
  return rows.map((row) => row.name);
}

/** The limits that were set: the project's own, and the defaults. */
export async function readLimits(db: Kysely<Schema>, projectId: string): Promise<{ own: QuotaLimits; defaults: QuotaLimits }> {
  const rows = await db.selectFrom('quota_limits').selectAll().where('project_id', 'in', [projectId, defaultsOwner]).execute();
  const of = (owner: string): QuotaLimits =>
    Object.fromEntries(rows.filter((row) => row.project_id === owner).map((row) => [row.resource, row.hard_limit]));
  return { own: of(projectId), defaults: of(defaultsOwner) };
}

/** What was set for any of these owners, the later ones over the earlier. */
export async function readLimitsOver(db: Kysely<Schema>, owners: readonly string[]): Promise<QuotaLimits> {
  const rows = await db.selectFrom('quota_limits').selectAll().where('project_id', 'in', owners).execute();
  const inOrder = rows.toSorted((a, b) => owners.indexOf(a.project_id) - owners.indexOf(b.project_id));
  return Object.fromEntries(inOrder.map((row) => [row.resource, row.hard_limit]));
}

/** `userId` undefined: of all users. */
export async function countServerGroups(
  db: Kysely<Schema>,
  { projectId, userId }: { readonly projectId: string; readonly userId?: string | undefined },
): Promise<number> {
  let query = db.selectFrom('server_groups').where('project_id', '=', projectId);
  if (userId !== undefined) query = query.where('user_id', '=', userId);
  const row = await query.select((eb) => eb.fn.countAll<number>().as('count')).executeTakeFirst();
  return row?.count ?? 0;
}

export async function writeLimits(tx: Tx, owner: string, limits: QuotaLimits): Promise<void> {
  const rows = Object.entries(limits).map(([resource, limit]) => ({ project_id: owner, resource, hard_limit: limit }));
  if (rows.length === 0) return;
  await tx.sql
    .insertInto('quota_limits')
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(['project_id', 'resource']).doUpdateSet((eb) => ({ hard_limit: eb.ref('excluded.hard_limit') })),
    )
    .execute();
}

const keysOf = (typeName: string): string[] => perTypeKeys.map((key) => `${key}_${typeName}`);

/** Limits on a type go with its name: of every project, and the defaults. */
export async function renameTypeLimits(tx: Tx, oldName: string, newName: string): Promise<void> {
  await dropTypeLimits(tx, newName);
  for (const key of perTypeKeys) {
    const renamed = { resource: `${key}_${newName}` };
    await tx.sql.updateTable('quota_limits').set(renamed).where('resource', '=', `${key}_${oldName}`).execute();
  }
}

/** A later type of the same name is another one. */
export async function dropTypeLimits(tx: Tx, typeName: string): Promise<void> {
  await tx.sql.deleteFrom('quota_limits').where('resource', 'in', keysOf(typeName)).execute();
}

export async function deleteLimits(tx: Tx, owner: string): Promise<void> {
  await tx.sql.deleteFrom('quota_limits').where('project_id', '=', owner).execute();
}
