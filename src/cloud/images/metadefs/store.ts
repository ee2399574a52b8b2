/** The only SQL on the tables of metadata definitions. */
import { type Selectable, sql } from 'kysely';
import { type JsonMap, json, type Schema, type Timestamp } from '../../database/service.ts';
import type { Queries } from '../store.ts';
import type { NamespaceQuery } from './namespace-query.ts';

export interface NamespaceValues {
  readonly namespace: string;
  readonly displayName: string | null;
  readonly description: string | null;
  readonly visibility: 'public' | 'private';
  readonly protected: boolean;
  readonly owner: string;
}

export interface Namespace extends NamespaceValues {
  readonly key: number;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

export type ItemKind = 'object' | 'property' | 'tag';

/** An object, a property or a tag. */
export interface MetadefItem {
  readonly name: string;
  /** Everything but the name. */
  readonly definition: JsonMap;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

/** Which resources a namespace is meant for. */
export interface Association {
  readonly resourceType: string;
  readonly propertiesTarget: string | null;
  readonly prefix: string | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

export type NewAssociation = Pick<Association, 'resourceType' | 'propertiesTarget' | 'prefix'>;

function namespaceOf(row: Selectable<Schema['metadef_namespaces']>): Namespace {
  return {
    key: row.id,
    namespace: row.namespace,
    displayName: row.display_name,
    description: row.description,
    visibility: row.visibility,
    protected: row.protected,
    owner: row.owner,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

const namespaceColumns = (values: NamespaceValues) => ({
  namespace: values.namespace,
  display_name: values.displayName,
  description: values.description,
  visibility: values.visibility,
  protected: values.protected,
  owner: values.owner,
});

export async function findNamespace(db: Queries, name: string): Promise<Namespace | undefined> {
  const row = await db.selectFrom('metadef_namespaces').selectAll().where('namespace', '=', name).executeTakeFirst();
  return row === undefined ? undefined : namespaceOf(row);
}

/** Locked until the transaction ends. */
export async function lockNamespace(db: Queries, name: string): Promise<Namespace | undefined> {
  const row = await db.selectFrom('metadef_namespaces').selectAll().where('namespace', '=', name).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : namespaceOf(row);
}

/** `owner`: who sees its private ones; undefined = all are seen. */
export async function selectNamespaces(
  db: Queries,
  query: NamespaceQuery,
  owner: string | undefined,
  marker: Namespace | undefined,
): Promise<Namespace[]> {
  const { sortKey, direction, resourceTypes } = query;
  let select = db.selectFrom('metadef_namespaces').selectAll().orderBy(sortKey, direction).orderBy('id', direction).limit(query.limit);
  if (owner !== undefined) select = select.where((eb) => eb.or([eb('visibility', '=', 'public'), eb('owner', '=', owner)]));
  if (query.visibility !== undefined) select = select.where('visibility', '=', query.visibility);
  if (resourceTypes !== undefined) {
    select = select.where('id', 'in', (eb) =>
      eb
        .selectFrom('metadef_associations')
        .select('namespace_id')
        .where('resource_type', 'in', [...resourceTypes]),
    );
  }
  if (marker !== undefined) {
    const place = { namespace: marker.namespace, created_at: marker.createdAt, updated_at: marker.updatedAt }[sortKey];
    const beyond = sql.raw(direction === 'asc' ? '>' : '<');
    select = select.where(sql<boolean>`(${sql.ref(sortKey)}, id) ${beyond} (${place}, ${marker.key})`);
  }
  return (await select.execute()).map(namespaceOf);
}

export async function insertNamespace(db: Queries, values: NamespaceValues, at: Timestamp): Promise<Namespace> {
  const row = await db
    .insertInto('metadef_namespaces')
    .values({ ...namespaceColumns(values), created_at: at, updated_at: at })
    .returningAll()
    .executeTakeFirstOrThrow();
  return namespaceOf(row);
}

export async function saveNamespace(db: Queries, key: number, values: NamespaceValues, at: Timestamp): Promise<Namespace> {
  const row = await db
    .updateTable('metadef_namespaces')
    .set({ ...namespaceColumns(values), updated_at: at })
    .where('id', '=', key)
    .returningAll()
    .executeTakeFirstOrThrow();
  return namespaceOf(row);
}

export async function deleteNamespace(db: Queries, key: number): Promise<void> {
  await db.deleteFrom('metadef_namespaces').where('id', '=', key).execute();
}

const itemOf = (row: Selectable<Schema['metadef_items']>): MetadefItem => ({
  name: row.name,
  definition: row.definition,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

/** All of a kind, by name. */
export async function selectItems(db: Queries, key: number, kind: ItemKind): Promise<MetadefItem[]> {
  const rows = await db
    .selectFrom('metadef_items')
    .selectAll()
    .where('namespace_id', '=', key)
    .where('kind', '=', kind)
    .orderBy('name')
    .execute();
  return rows.map(itemOf);
}

export async function findItem(db: Queries, key: number, kind: ItemKind, name: string): Promise<MetadefItem | undefined> {
  const row = await db
    .selectFrom('metadef_items')
    .selectAll()
    .where('namespace_id', '=', key)
    .where('kind', '=', kind)
    .where('name', '=', name)
    .executeTakeFirst();
  return row === undefined ? undefined : itemOf(row);
}

export type NewItem = Pick<MetadefItem, 'name' | 'definition'>;

const rowsPerInsert = 1000;

export async function insertItems(db: Queries, key: number, kind: ItemKind, items: readonly NewItem[], at: Timestamp): Promise<void> {
  const rows = items.map(({ name, definition }) => ({
    namespace_id: key,
    kind,
    name,
    definition: json(definition),
    created_at: at,
    updated_at: at,
  }));
  // The number of parameters of one statement is limited.
  for (let from = 0; from < rows.length; from += rowsPerInsert) {
    await db
      .insertInto('metadef_items')
      .values(rows.slice(from, from + rowsPerInsert))
      .execute();
  }
}

/** Undefined: there is none of that name. */
export async function saveItem(
  db: Queries,
  key: number,
  kind: ItemKind,
  name: string,
  item: NewItem,
  at: Timestamp,
): Promise<MetadefItem | undefined> {
  const row = await db
    .updateTable('metadef_items')
    .set({ name: item.name, definition: json(item.definition), updated_at: at })
    .where('namespace_id', '=', key)
    .where('kind', '=', kind)
    .where('name', '=', name)
    .returningAll()
    .executeTakeFirst();
  return row === undefined ? undefined : itemOf(row);
}

/** How many there were. `name` left out: all of the kind. */
export async function deleteItems(db: Queries, key: number, kind: ItemKind, name?: string): Promise<number> {
  let query = db.deleteFrom('metadef_items').where('namespace_id', '=', key).where('kind', '=', kind);
  if (name !== undefined) query = query.where('name', '=', name);
  return Number((await query.executeTakeFirst()).numDeletedRows);
}

export async function selectResourceTypes(db: Queries): Promise<Selectable<Schema['metadef_resource_types']>[]> {
  return await db.selectFrom('metadef_resource_types').selectAll().orderBy('name').execute();
}

/** By namespace, each list by name. */
export async function selectAssociations(db: Queries, keys: readonly number[]): Promise<Map<number, Association[]>> {
  const found = new Map<number, Association[]>(keys.map((key) => [key, []]));
  if (keys.length === 0) return found;
  const rows = await db
    .selectFrom('metadef_associations')
    .selectAll()
    .where('namespace_id', 'in', [...keys])
    .orderBy('resource_type')
    .execute();
  for (const row of rows) {
    found.get(row.namespace_id)?.push({
      resourceType: row.resource_type,
      propertiesTarget: row.properties_target,
      prefix: row.prefix,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
    });
  }
  return found;
}

/** A resource type that nobody has named before is made. */
export async function insertAssociation(db: Queries, key: number, order: NewAssociation, at: Timestamp): Promise<Association> {
  await db
    .insertInto('metadef_resource_types')
    .values({ name: order.resourceType, created_at: at, updated_at: at })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await db
    .insertInto('metadef_associations')
    .values({
      namespace_id: key,
      resource_type: order.resourceType,
      properties_target: order.propertiesTarget,
      prefix: order.prefix,
      created_at: at,
      updated_at: at,
    })
    .execute();
  return { ...order, createdAt: at, updatedAt: at };
}

/** False: there was none. */
export async function deleteAssociation(db: Queries, key: number, resourceType: string): Promise<boolean> {
  const result = await db
    .deleteFrom('metadef_associations')
    .where('namespace_id', '=', key)
    .where('resource_type', '=', resourceType)
    .executeTakeFirst();
  return result.numDeletedRows > 0n;
}
