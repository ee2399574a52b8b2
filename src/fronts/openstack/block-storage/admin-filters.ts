/** Sorting and filtering of the lists that operators read: by any column; nothing matches an unknown one. */
import type { ListColumn, ListFilter } from '../../../cloud/database/lists.ts';
import { parseBoolean } from '../shared/body.ts';
import { type Query, queryValue } from '../shared/paging.ts';
import { pagingParameters } from './list-query.ts';

/** Every column may be sorted by. */
export const sortNamesOf = <Column extends string>(columns: Readonly<Record<Column, ListColumn>>): Record<string, Column> =>
  Object.fromEntries((Object.keys(columns) as Column[]).map((name) => [name, name]));

/** `apart`: parameters that the caller reads itself. Undefined: nothing can match. */
export function parseAdminFilters<Column extends string>(
  query: Query,
  columns: Readonly<Record<Column, ListColumn>>,
  apart: readonly string[],
): ListFilter<Column>[] | undefined {
  const filters: ListFilter<Column>[] = [];
  for (const name of Object.keys(query).filter((key) => !pagingParameters.includes(key) && !apart.includes(key))) {
    if (!Object.hasOwn(columns, name)) return undefined;
    const column = name as Column;
    const { kind } = columns[column];
    const value = queryValue(query, name) ?? '';
    // Times are asked for in no form that anybody uses.
    if (kind === 'time') return undefined;
    filters.push({ column, comparison: 'eq', value: kind === 'boolean' ? String(parseBoolean(value) ?? true) : value });
  }
  return filters;
}
