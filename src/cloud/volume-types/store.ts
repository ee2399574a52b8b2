/** The SQL of volume types, of who may use them, and of projects' defaults. */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import { json, type Schema, type StringMap } from '../database/service.ts';
import { type DefaultType, type TypeChanges, type TypeColumn, type TypeOrder, typeColumns, type VolumeType } from './contract.ts';

export type Queries = Kysely<Schema>;

/** Whose public and own types count; undefined: all types, for administrators. */
export type Onlooker = string | undefined;

const fields = sql.raw(`
  volume_types.id, volume_types.name, volume_types.description, volume_types.is_public AS "isPublic",
  volume_types.extra_specs AS "extraSpecs", volume_types.qos_specs_id AS "qosSpecsId"`);

function usableBy(projectId: Onlooker): RawBuilder<boolean> {
  if (projectId === undefined) return sql<boolean>`true`;
  return sql<boolean>`(volume_types.is_public OR EXISTS (SELECT FROM volume_type_access AS access
    WHERE access.volume_type_id = volume_types.id AND access.project_id = ${projectId}))`;
}

export async function listTypes(
  db: Queries,
  onlooker: Onlooker,
  list: ListQuery<TypeColumn>,
  extraSpecs: StringMap,
): Promise<VolumeType[]> {
  const { page } = listSql('volume_types', typeColumns, list);
  const { rows } = await sql<VolumeType>`
    SELECT ${fields} FROM (SELECT * FROM volume_types WHERE ${usableBy(onlooker)} AND extra_specs @> ${json(extraSpecs)}::jsonb) AS volume_types
    ${page}`.execute(db);
  return rows;
}

export async function findType(db: Queries, onlooker: Onlooker, by: { id: string } | { name: string }): Promise<VolumeType | undefined> {
  const match = 'id' in by ? sql`volume_types.id = ${by.id}` : sql`volume_types.name = ${by.name}`;
  const { rows } = await sql<VolumeType>`
    SELECT ${fields} FROM volume_types WHERE ${match} AND ${usableBy(onlooker)}`.execute(db);
  return rows[0];
}

/** `change`: nobody else changes it; `use`: nobody deletes it. Until the transaction ends. */
export async function lockType(db: Queries, id: string, why: 'change' | 'use'): Promise<VolumeType | undefined> {
  const lock = why === 'change' ? sql`FOR UPDATE` : sql`FOR SHARE`;
  return (await sql<VolumeType>`SELECT ${fields} FROM volume_types WHERE volume_types.id = ${id} ${lock}`.execute(db)).rows[0];
}

export async function insertType(db: Queries, id: string, { name, description, isPublic, extraSpecs }: TypeOrder): Promise<void> {
  await db
    .insertInto('volume_types')
    .values({ id, name, description, is_public: isPublic, extra_specs: json(extraSpecs) })
    .execute();
}

export async function updateType(
  db: Queries,
  id: string,
  changes: TypeChanges & { readonly extraSpecs?: StringMap; readonly qosSpecsId?: string | null },
): Promise<void> {
  await db
    .updateTable('volume_types')
    .set({
      ...(changes.name !== undefined && { name: changes.name }),
      ...(changes.description !== undefined && { description: changes.description }),
      ...(changes.isPublic !== undefined && { is_public: changes.isPublic }),
      ...(changes.extraSpecs !== undefined && { extra_specs: json(changes.extraSpecs) }),
      ...(changes.qosSpecsId !== undefined && { qos_specs_id: changes.qosSpecsId }),
      updated_at: sql<string>`clock_timestamp()`,
    })
    .where('id', '=', id)
    .execute();
}

export async function deleteType(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('volume_types').where('id', '=', id).execute();
}

/** Whether any volume is of the type. */
export async function isInUse(db: Queries, id: string): Promise<boolean> {
  const { rows } = await sql<{ used: boolean }>`SELECT EXISTS (SELECT FROM volumes WHERE volume_type_id = ${id}) AS used`.execute(db);
  return rows[0]?.used ?? false;
}

export async function listAccess(db: Queries, typeId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('volume_type_access')
    .select('project_id')
    .where('volume_type_id', '=', typeId)
    .orderBy('project_id')
    .execute();
  return rows.map((row) => row.project_id);
}

/** False: it was there already. */
export async function insertAccess(db: Queries, typeId: string, projectId: string): Promise<boolean> {
  const inserted = await db
    .insertInto('volume_type_access')
    .values({ volume_type_id: typeId, project_id: projectId })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (inserted.numInsertedOrUpdatedRows ?? 0n) > 0n;
}

/** False: there was none. */
export async function deleteAccess(db: Queries, typeId: string, projectId: string): Promise<boolean> {
  const deleted = await db
    .deleteFrom('volume_type_access')
    .where('volume_type_id', '=', typeId)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
  return deleted.numDeletedRows > 0n;
}

export async function listDefaults(db: Queries): Promise<DefaultType[]> {
  return await db
    .selectFrom('default_volume_types')
    .select(['project_id as projectId', 'volume_type_id as volumeTypeId'])
    .orderBy('project_id')
    .execute();
}

export async function findDefault(db: Queries, projectId: string): Promise<string | undefined> {
  const row = await db.selectFrom('default_volume_types').select('volume_type_id').where('project_id', '=', projectId).executeTakeFirst();
  return row?.volume_type_id;
}

export async function isSomeDefault(db: Queries, typeId: string): Promise<boolean> {
  const row = await db.selectFrom('default_volume_types').select('project_id').where('volume_type_id', '=', typeId).executeTakeFirst();
  return row !== undefined;
}

export async function writeDefault(db: Queries, { projectId, volumeTypeId }: DefaultType): Promise<void> {
  await db
    .insertInto('default_volume_types')
    .values({ project_id: projectId, volume_type_id: volumeTypeId })
    .onConflict((conflict) => conflict.column('project_id').doUpdateSet({ volume_type_id: volumeTypeId }))
    .execute();
}

export async function deleteDefault(db: Queries, projectId: string): Promise<boolean> {
  const deleted = await db.deleteFrom('default_volume_types').where('project_id', '=', projectId).executeTakeFirst();
  return deleted.numDeletedRows > 0n;
}
