/**
 * Lists of images: what the caller may see, filtered, sorted, cut into pages by key.
 *
 * A page starts after the marker's row in the order of the sort keys. Columns that may be null sort as the empty text or as -1, so that
 * the comparison with the marker is total.
 */
import { type Expression, type ExpressionBuilder, type RawBuilder, type SqlBool, sql } from 'kysely';
import { badRequest } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Schema, Timestamp } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { projectOfList } from '../identity/policy.ts';
import type { Image, MemberStatus, Visibility } from './image.ts';
import { imageOf, type Queries } from './store.ts';

export const sortKeys = ['name', 'status', 'container_format', 'disk_format', 'size', 'id', 'created_at', 'updated_at'] as const;
export type SortKey = (typeof sortKeys)[number];

export interface SortOrder {
  readonly key: SortKey;
  readonly direction: 'asc' | 'desc';
}

export const comparisons = { gt: '>', gte: '>=', lt: '<', lte: '<=', eq: '=', neq: '<>' } as const;
export type Comparison = keyof typeof comparisons;

export type TextColumn =
  | 'id'
  | 'name'
  | 'status'
  | 'container_format'
  | 'disk_format'
  | 'owner'
  | 'checksum'
  | 'os_hash_value'
  | 'os_hash_algo';
export type NumberColumn = 'size' | 'virtual_size' | 'min_disk' | 'min_ram';

/** All of them have to hold. */
export interface ImageFilters {
  /** Left out: everything visible but other projects' community images. */
  readonly visibility?: Visibility | 'all';
  /** Images that others share with the caller are listed when its answer to them was this. */
  readonly memberStatus: MemberStatus | 'all';
  readonly hidden: boolean;
  readonly protected?: boolean;
  readonly tags: readonly string[];
  readonly texts: readonly { readonly column: TextColumn; readonly anyOf: readonly string[] }[];
  readonly numbers: readonly { readonly column: NumberColumn; readonly comparison: Comparison; readonly value: number }[];
  readonly times: readonly { readonly column: 'created_at' | 'updated_at'; readonly comparison: Comparison; readonly value: Timestamp }[];
  readonly properties: readonly { readonly name: string; readonly value: string }[];
}

export interface ImageQuery {
  readonly filters: ImageFilters;
  readonly sort: readonly SortOrder[];
  readonly limit: number;
  /** The id of the last image that the caller has seen. */
  readonly marker: string | undefined;
}

type Builder = ExpressionBuilder<Schema, 'images'>;
type Condition = Expression<SqlBool>;

const columns = { size: 'size_bytes', virtual_size: 'virtual_bytes', min_disk: 'min_disk', min_ram: 'min_ram' } as const;

export async function listImages(db: Queries, caller: Caller, query: ImageQuery): Promise<Image[]> {
  const marker = query.marker === undefined ? undefined : await markerValues(db, caller, query.marker, query.sort);
  let select = db
    .selectFrom('images')
    .selectAll()
    .where((eb) => eb.and([visibleTo(eb, caller, query.filters.memberStatus), ...filtersOf(eb, caller, query.filters)]))
    .limit(query.limit);
  for (const { key, direction } of query.sort) select = select.orderBy(sortExpression(key), direction);
  if (marker !== undefined) select = select.where((eb) => after(eb, query.sort, marker));
  return (await select.execute()).map(imageOf);
}

function visibleTo(eb: Builder, caller: Caller, memberStatus: ImageFilters['memberStatus']): Condition {
  const project = projectOfList(caller, true);
  if (project === undefined) return eb.lit(true);
  let shared = eb.selectFrom('image_members').select('image_id').where('member_id', '=', project);
  if (memberStatus !== 'all') shared = shared.where('status', '=', memberStatus);
  return eb.or([
    eb('visibility', 'in', ['public', 'community']),
    eb('owner', '=', project),
    eb.and([eb('visibility', '=', 'shared'), eb('id', 'in', shared)]),
  ]);
}

function filtersOf(eb: Builder, caller: Caller, filters: ImageFilters): Condition[] {
  const conditions: Condition[] = [visibilityFilter(eb, caller, filters.visibility), eb('hidden', '=', filters.hidden)];
  if (filters.protected !== undefined) conditions.push(eb('protected', '=', filters.protected));
  for (const tag of filters.tags) conditions.push(sql<SqlBool>`${tag}::text = ANY (tags)`);
  for (const { column, anyOf } of filters.texts) conditions.push(textFilter(eb, column, anyOf));
  for (const { column, comparison, value } of filters.numbers) conditions.push(eb(columns[column], comparisons[comparison], value));
  for (const { column, comparison, value } of filters.times) conditions.push(eb(column, comparisons[comparison], value));
  for (const { name, value } of filters.properties) conditions.push(sql<SqlBool>`properties ->> ${name}::text = ${value}`);
  return conditions;
}

function visibilityFilter(eb: Builder, caller: Caller, visibility: ImageFilters['visibility']): Condition {
  if (visibility === 'all') return eb.lit(true);
  if (visibility !== undefined) return eb('visibility', '=', visibility);
  return eb.or([eb('visibility', '<>', 'community'), eb('owner', '=', caller.projectId ?? '')]);
}

function textFilter(eb: Builder, column: TextColumn, anyOf: readonly string[]): Condition {
  const values = column === 'id' ? anyOf.filter(isUuid) : anyOf;
  return values.length === 0 ? eb.lit(false) : eb(column, 'in', values);
}

function sortExpression(key: SortKey): RawBuilder<unknown> {
  switch (key) {
    case 'size':
      return sql`coalesce(size_bytes, -1)`;
    case 'name':
    case 'container_format':
    case 'disk_format':
      return sql`coalesce(${sql.ref(key)}, '')`;
    default:
      return sql`${sql.ref(key)}`;
  }
}

/** The marker's own place in the order. It has to be an image that the caller sees, else it would tell of its existence. */
async function markerValues(db: Queries, caller: Caller, marker: string, sort: readonly SortOrder[]): Promise<unknown[]> {
  const row = isUuid(marker)
    ? await db
        .selectFrom('images')
        .select(sort.map(({ key }, index) => sortExpression(key).as(`key${index}`)))
        .where('id', '=', marker)
        .where((eb) => visibleTo(eb, caller, 'all'))
        .executeTakeFirst()
    : undefined;
  if (row === undefined) throw badRequest(`No image found with ID ${marker}`);
  return sort.map((_, index) => (row as Record<string, unknown>)[`key${index}`]);
}

/** Beyond the marker in the first key, or level in the first and beyond in the second, and so on. */
function after(eb: Builder, sort: readonly SortOrder[], marker: readonly unknown[]): Condition {
  const cases = sort.map(({ key, direction }, index) => {
    const level = sort.slice(0, index).map((order, earlier) => sql<SqlBool>`${sortExpression(order.key)} = ${marker[earlier]}`);
    const operator = sql.raw(direction === 'asc' ? '>' : '<');
    return eb.and([...level, sql<SqlBool>`${sortExpression(key)} ${operator} ${marker[index]}`]);
  });
  // Says no more than the cases do, but in a form that an index can begin at.
  const [first] = sort;
  if (first === undefined) return eb.lit(true);
  const bound = sql<SqlBool>`${sortExpression(first.key)} ${sql.raw(first.direction === 'asc' ? '>=' : '<=')} ${marker[0]}`;
  return eb.and([bound, eb.or(cases)]);
}
