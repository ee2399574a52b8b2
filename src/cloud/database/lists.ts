/**
 * Lists that are cut into pages by key: after the marker's row, in the order of the sort keys. The fragments fit any table whose rows have an `id`.
 *
 * The order has to be total and free of NULL (a comparison with NULL would lose rows between two pages): the sort ends with the id, and a
 * missing value counts as the least one.
 */
import { type RawBuilder, sql } from 'kysely';
import type { StringMap } from './schema.ts';

/** `pairs`: a JSON object of strings, which a filter asks to hold all of another; nothing is sorted by it. */
export type ListKind = 'text' | 'number' | 'uuid' | 'time' | 'boolean' | 'pairs';

export interface ListColumn {
  readonly column: string;
  readonly kind: ListKind;
  readonly nullable?: true;
}

/** By the name that services and fronts use. */
export type ListColumns = Readonly<Record<string, ListColumn>>;

export const comparisons = { eq: '=', neq: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=', like: 'like' } as const;
export type Comparison = keyof typeof comparisons;

export interface ListFilter<Name extends string = string> {
  readonly column: Name;
  readonly comparison: Comparison;
  /** As it came from outside. For times ISO 8601, for pairs JSON, both checked by the caller. */
  readonly value: string;
}

export interface ListQuery<Name extends string = string> {
  /** Undefined: of all projects. */
  readonly projectId: string | undefined;
  readonly filters: readonly ListFilter<Name>[];
  /** Pairs that the metadata must hold. */
  readonly metadata: StringMap;
  readonly sort: readonly { readonly column: Name; readonly direction: 'asc' | 'desc' }[];
  readonly markerId: string | undefined;
  readonly limit: number;
  readonly offset: number;
}

const leastValues: Record<ListKind, RawBuilder<unknown>> = {
  text: sql`''`,
  number: sql`0`,
  uuid: sql`'00000000-0000-0000-0000-000000000000'::uuid`,
  time: sql`'-infinity'::timestamptz`,
  boolean: sql`false`,
  pairs: sql`'{}'::jsonb`,
};

export type Condition = RawBuilder<boolean>;

export interface ListSql {
  /** Which rows match, whatever the page. */
  readonly matches: Condition;
  /** The rest of the statement for one page, from WHERE on. */
  readonly page: RawBuilder<unknown>;
  /** What follows ORDER BY, for a statement that takes its page from a subquery of the table's own name. */
  readonly order: RawBuilder<unknown>;
}

/** `also`: further conditions on the rows. */
export function listSql<Name extends string>(
  table: string,
  columns: Readonly<Record<Name, ListColumn>>,
  list: ListQuery<Name>,
  also: readonly Condition[] = [],
): ListSql {
  const own = (name: Name): RawBuilder<unknown> => sql.ref(`${table}.${columns[name].column}`);
  const sorted = (name: Name): RawBuilder<unknown> =>
    columns[name].nullable ? sql`coalesce(${own(name)}, ${leastValues[columns[name].kind]})` : own(name);

  const conditions: Condition[] = [sql<boolean>`true`, ...also];
  if (list.projectId !== undefined) conditions.push(sql<boolean>`${sql.ref(`${table}.project_id`)} = ${list.projectId}`);
  if (Object.keys(list.metadata).length > 0) {
    conditions.push(sql<boolean>`${sql.ref(`${table}.metadata`)} @> ${JSON.stringify(list.metadata)}::jsonb`);
  }
  for (const filter of list.filters) conditions.push(matching(own(filter.column), columns[filter.column], filter));
  const matches = sql<boolean>`${sql.join(conditions, sql` AND `)}`;

  const behind = list.markerId === undefined ? sql<boolean>`true` : behindMarker(table, list.sort, sorted, list.markerId);
  const order = sql.join(list.sort.map(({ column, direction }) => sql`${sorted(column)} ${sql.raw(direction === 'asc' ? 'ASC' : 'DESC')}`));
  const page = sql`WHERE ${matches} AND ${behind} ORDER BY ${order} LIMIT ${list.limit} OFFSET ${list.offset}`;
  return { matches, page, order };
}

/** Values come from outside and are compared as text where that is the same: what is no uuid or number then matches nothing, instead of being an error. */
function matching(own: RawBuilder<unknown>, { kind }: ListColumn, { comparison, value }: ListFilter): Condition {
  if (comparison === 'like') return sql<boolean>`position(${value} in ${own}::text) > 0`;
  if (kind === 'pairs') return sql<boolean>`${own} @> ${value}::jsonb`;
  const operator = sql.raw(comparisons[comparison]);
  if (kind === 'time') return sql<boolean>`${own} ${operator} ${value}::timestamptz`;
  return sql<boolean>`${own}::text ${operator} ${value}`;
}

/**
 * `a >= x AND (a > x OR (a = x AND (b > y OR …)))`, from the last key to the first. What stands before the AND follows from the rest: an index takes it
 * as the place to begin at, where it would read all rows before the marker for the OR alone.
 */
function behindMarker<Name extends string>(
  table: string,
  sort: ListQuery<Name>['sort'],
  sorted: (name: Name) => RawBuilder<unknown>,
  markerId: string,
): Condition {
  const keys = sort.map(({ column, direction }) => {
    const own = sorted(column);
    return {
      own,
      beyond: sql.raw(direction === 'desc' ? '<' : '>'),
      marker: sql`(SELECT ${own} FROM ${sql.table(table)} WHERE id = ${markerId})`,
    };
  });
  const behind = keys.reduceRight(
    (rest, { own, beyond, marker }) => sql<boolean>`(${own} ${beyond} ${marker} OR (${own} = ${marker} AND ${rest}))`,
    sql<boolean>`false`,
  );
  const [first] = keys;
  return first === undefined ? behind : sql<boolean>`${first.own} ${first.beyond}= ${first.marker} AND ${behind}`;
}
