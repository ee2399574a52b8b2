/** Paging of Block Storage lists: `limit`, `offset`, `marker`, `sort`, and the link to the next page. */
import type { FastifyRequest } from 'fastify';
import { badRequest } from '../../../lib/errors.ts';
import { type Link, publicBase } from './links.ts';

export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Of a repeated parameter the last one counts. */
export function queryValue(query: Query, name: string): string | undefined {
  const value = query[name];
  return typeof value === 'string' || value === undefined ? value : value.at(-1);
}

export const queryOf = (request: FastifyRequest): Query => request.query as Query;

export const pageLimitMax = 1000;
const offsetMax = 2 ** 31 - 1;

export interface Page {
  /** 0 = an empty page. */
  readonly limit: number;
  readonly offset: number;
  /** The id of the last item that the client has seen. */
  readonly marker: string | undefined;
}

export function parsePage(query: Query): Page {
  return { limit: parseLimit(query), offset: parseOffset(query), marker: queryValue(query, 'marker') };
}

function parseLimit(query: Query): number {
  const text = queryValue(query, 'limit');
  if (text === undefined) return pageLimitMax;
  const limit = integerOf(text);
  if (limit === undefined) throw badRequest('limit param must be an integer');
  if (limit < 0) throw badRequest('limit param must be positive');
  return Math.min(limit, pageLimitMax);
}

function parseOffset(query: Query): number {
  const text = queryValue(query, 'offset');
  if (text === undefined) return 0;
  const offset = integerOf(text);
  if (offset === undefined) throw badRequest('offset must be an integer');
  if (offset < 0) throw badRequest('offset must be >= 0');
  if (offset > offsetMax) throw badRequest(`offset must be <= ${offsetMax}`);
  return offset;
}

function integerOf(text: string): number | undefined {
  return /^\s*[+-]?\d{1,30}\s*$/.test(text) ? Number(text) : undefined;
}

export interface SortKey<Column extends string = string> {
  readonly column: Column;
  readonly direction: 'asc' | 'desc';
}

/**
 * `sort=key:dir,key2` or the older `sort_key` and `sort_dir`. `columns` maps the names that the wire knows to columns of ours.
 * The creation time and the id always come last, in the direction of the first key, so that the order is total.
 */
export function parseSort<Column extends string>(
  query: Query,
  columns: Readonly<Record<string, Column>>,
  tieBreakers: readonly Column[],
): SortKey<Column>[] {
  const keys = askedSort(query).map(({ name, direction }) => {
    if (direction !== 'asc' && direction !== 'desc') {
      throw badRequest("Invalid input received: Unknown sort direction, must be 'desc' or 'asc'.");
    }
    const column = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (column === undefined) throw badRequest(`Invalid input received: Invalid sort key ${name}`);
    return { column, direction } as const;
  });
  const first = keys[0]?.direction ?? 'desc';
  return firstOfEach([...keys, ...tieBreakers.map((column) => ({ column, direction: first }))], ({ column }) => column);
}

/** A key that occurred before decides nothing any more, and each one makes the statement longer. */
export function firstOfEach<T>(keys: readonly T[], nameOf: (key: T) => string): T[] {
  const seen = new Set<string>();
  return keys.filter((key) => !seen.has(nameOf(key)) && seen.add(nameOf(key)));
}

function askedSort(query: Query): { name: string; direction: string }[] {
  const sort = queryValue(query, 'sort');
  const sortKey = queryValue(query, 'sort_key');
  const sortDirection = queryValue(query, 'sort_dir');
  if (sort === undefined) return [{ name: sortKey ?? 'created_at', direction: sortDirection ?? 'desc' }];
  if (sortKey !== undefined || sortDirection !== undefined) {
    throw badRequest("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.");
  }
  return sort.split(',').map((part) => {
    const [name = '', direction = ''] = part.split(':', 2);
    return { name: name.trim(), direction: direction.trim() || 'desc' };
  });
}

/**
 * The `<collection>_links` of a page: a next link when the page is full. `total` is the number of all matches, when it was asked for: then the
 * comparison uses it, as the original does, so that a last page may still carry a link.
 */
export function nextLinks(
  request: FastifyRequest,
  options: { publicUrl: string | undefined; limit: number; itemIds: readonly string[]; total?: number | undefined },
): Link[] | undefined {
  const last = options.itemIds.at(-1);
  if (last === undefined || options.limit === 0 || options.limit > (options.total ?? options.itemIds.length)) return undefined;
  const url = new URL(request.url, publicBase(request, options.publicUrl));
  url.searchParams.delete('offset');
  url.searchParams.set('marker', last);
  return [{ rel: 'next', href: publicBase(request, options.publicUrl) + url.pathname + url.search }];
}
