/** The SQL of flavors, and of who may use those that are not public. */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import { listSql } from '../database/lists.ts';
import { json, type Schema, type StringMap } from '../database/service.ts';
import { type Flavor, type FlavorListQuery, flavorColumns } from './contract.ts';

export type Queries = Kysely<Schema>;

const fields = sql.raw(`
  flavors.id, flavors.name, flavors.description, flavors.vcpus, flavors.ram_mib AS "ramMib", flavors.disk_gib AS "diskGib",
  flavors.ephemeral_gib AS "ephemeralGib", flavors.swap_mib AS "swapMib", flavors.rxtx_factor AS "rxtxFactor",
  flavors.is_public AS "isPublic", flavors.extra_specs AS "extraSpecs"`);

const isGranted = (projectId: string): RawBuilder<boolean> =>
  sql<boolean>`EXISTS (SELECT FROM flavor_access AS access WHERE access.flavor_id = flavors.id AND access.project_id = ${projectId})`;

/** `projectId`: whose own flavors are listed beside the public ones, or beside those that are not when that is asked for. */
export async function listFlavors(db: Queries, projectId: string, query: FlavorListQuery): Promise<Flavor[]> {
  const { isPublic, marker, minRamMib, minDiskGib } = query;
  const list = { ...query, projectId: undefined, filters: [], metadata: {}, markerId: marker, offset: 0 };
  const visible = isPublic === undefined ? sql<boolean>`true` : sql<boolean>`(is_public = ${isPublic} OR ${isGranted(projectId)})`;
  const { page } = listSql('flavors', flavorColumns, list);
  const { rows } = await sql<Flavor>`
    SELECT ${fields} FROM
      (SELECT * FROM flavors WHERE ${visible} AND ram_mib >= ${minRamMib}::bigint AND disk_gib >= ${minDiskGib}::bigint) AS flavors
    ${page}`.execute(db);
  return rows;
}

/** `projectId` undefined: whoever may use it. */
export async function findFlavor(db: Queries, projectId: string | undefined, id: string): Promise<Flavor | undefined> {
  const usable = projectId === undefined ? sql<boolean>`true` : sql<boolean>`(is_public OR ${isGranted(projectId)})`;
  return (await sql<Flavor>`SELECT ${fields} FROM flavors WHERE flavors.id = ${id} AND ${usable}`.execute(db)).rows[0];
}

/** Nobody else changes it until the transaction ends. */
export async function lockFlavor(db: Queries, id: string): Promise<Flavor | undefined> {
  return (await sql<Flavor>`SELECT ${fields} FROM flavors WHERE flavors.id = ${id} FOR UPDATE`.execute(db)).rows[0];
}

export async function insertFlavor(db: Queries, flavor: Flavor): Promise<void> {
  await db
    .insertInto('flavors')
    .values({
      id: flavor.id,
      name: flavor.name,
      description: flavor.description,
      vcpus: flavor.vcpus,
      ram_mib: flavor.ramMib,
      disk_gib: flavor.diskGib,
      ephemeral_gib: flavor.ephemeralGib,
      swap_mib: flavor.swapMib,
      rxtx_factor: flavor.rxtxFactor,
      is_public: flavor.isPublic,
      extra_specs: json(flavor.extraSpecs),
    })
    .execute();
}

export async function idIsTaken(db: Queries, id: string): Promise<boolean> {
  return (await db.selectFrom('flavors').select('id').where('id', '=', id).executeTakeFirst()) !== undefined;
}

export async function updateFlavor(
  db: Queries,
  id: string,
  changes: { readonly description?: string | null; readonly extraSpecs?: StringMap },
): Promise<void> {
  await db
    .updateTable('flavors')
    .set({
      ...(changes.description !== undefined && { description: changes.description }),
      ...(changes.extraSpecs !== undefined && { extra_specs: json(changes.extraSpecs) }),
      updated_at: sql<string>`clock_timestamp()`,
    })
    .where('id', '=', id)
    .execute();
}

export async function deleteFlavor(db: Queries, id: string): Promise<boolean> {
  return (await db.deleteFrom('flavors').where('id', '=', id).executeTakeFirst()).numDeletedRows > 0n;
}

export async function listAccess(db: Queries, flavorId: string): Promise<string[]> {
  const rows = await db.selectFrom('flavor_access').select('project_id').where('flavor_id', '=', flavorId).orderBy('project_id').execute();
  return rows.map((row) => row.project_id);
}

/** False: it was there already. */
export async function insertAccess(db: Queries, flavorId: string, projectId: string): Promise<boolean> {
  const inserted = await db
    .insertInto('flavor_access')
    .values({ flavor_id: flavorId, project_id: projectId })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (inserted.numInsertedOrUpdatedRows ?? 0n) > 0n;
}

/** False: there was none. */
export async function deleteAccess(db: Queries, flavorId: string, projectId: string): Promise<boolean> {
  const deleted = await db
    .deleteFrom('flavor_access')
    .where('flavor_id', '=', flavorId)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
  return deleted.numDeletedRows > 0n;
}
