/** What the queries of Compute's lists have in common. */
import { badRequest } from '../../../lib/errors.ts';
import { pageLimitMax, type Query, queryValue, type SortKey } from '../shared/paging.ts';

export interface Page {
  /** 0 = an empty page. */
  readonly limit: number;
  /** What names the last item that the client has seen. */
  readonly marker: string | undefined;
}

export function parsePage(query: Query): Page {
  return { limit: Math.min(wholeNumberIn(query, 'limit') ?? pageLimitMax, pageLimitMax), marker: queryValue(query, 'marker') };
}

/** Undefined: it is not there, or empty. */
export function wholeNumberIn(query: Query, name: string): number | undefined {
  const text = queryValue(query, name) ?? '';
  if (!/^\d*$/.test(text)) {
    throw badRequest(`Invalid input for query parameters ${name}. Value: ${text}. '${text}' does not match '^[0-9]*$'`);
  }
  return text === '' ? undefined : Number(text);
}

/** One key; `last` makes the order total. `columns` are the names that may be asked for. */
export function parseSortKey<Column extends string>(
  query: Query,
  columns: Readonly<Record<Column, unknown>>,
  last: Column,
): SortKey<Column>[] {
  const column = queryValue(query, 'sort_key') || last;
  const direction = queryValue(query, 'sort_dir') || 'asc';
  if (direction !== 'asc' && direction !== 'desc') throw badRequest("Unknown sort direction, must be 'desc' or 'asc'.");
  if (!isColumn(column)) throw badRequest('Sort key supplied was not valid.');
  return column === last
    ? [{ column, direction }]
    : [
        { column, direction },
        { column: last, direction },
      ];

  function isColumn(name: string): name is Column {
    return Object.hasOwn(columns, name);
  }
}
