/** The queries of lists: paging, sorting, and which filters count, by microversion and by who asks. */
import type { Comparison, ListFilter } from '../../../cloud/database/lists.ts';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import { badRequest } from '../../../lib/errors.ts';
import type { Pairs } from '../../../lib/pairs.ts';
import { parseBoolean } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';
import { type Page, parsePage, parseSort, type Query, queryValue, type SortKey } from '../shared/paging.ts';
import { parseDictionary } from './python-dictionary.ts';

/** What differs between resources. */
export interface ListRules<Column extends string> {
  readonly columns: Readonly<Record<Column, { readonly kind: string }>>;
  /** Names on the wire that are not the columns' own. */
  readonly aliases: Readonly<Record<string, Column>>;
  /** What everybody may filter by. */
  readonly commonFilters: readonly string[];
  /** Filters that hold of every item, or of none, because there is nothing of the kind: what they hold of. */
  readonly constants: Readonly<Record<string, string>>;
  /** The minor version from which `name` may be sorted by; the column name `display_name` always may. */
  readonly sortByNameSince: number;
}

export interface ListOrder<Column extends string> extends Page {
  readonly sort: readonly SortKey<Column>[];
  readonly filters: readonly ListFilter<Column>[];
  readonly metadata: Pairs;
  readonly allProjects: boolean;
  readonly withCount: boolean;
}

export const pagingParameters = ['limit', 'offset', 'marker', 'sort', 'sort_key', 'sort_dir', 'all_tenants', 'with_count'];
const lastMinorWithPlainTimes = 59;

interface Asker {
  readonly caller: Caller;
  readonly microversion: Microversion;
}

/** Undefined: nothing can match. */
export function parseList<Column extends string>(query: Query, asker: Asker, rules: ListRules<Column>): ListOrder<Column> | undefined {
  const { microversion } = asker;
  const base = {
    ...parsePage(query),
    sort: parseSort<Column>(query, sortColumns(rules, microversion), ['created_at', 'id'] as Column[]),
    allProjects: isTrue(queryValue(query, 'all_tenants')),
    withCount: microversion.atLeast(3, 45) && isTrue(queryValue(query, 'with_count')),
  };
  const filters = parseFilters(query, asker, rules);
  return filters === undefined ? undefined : { ...base, ...filters };
}

const isTrue = (text: string | undefined): boolean => parseBoolean(text) === true;

function sortColumns<Column extends string>(rules: ListRules<Column>, microversion: Microversion): Record<string, Column> {
  const own = Object.keys(rules.columns) as Column[];
  const names = own.filter((name) => isSortable(name) && (name !== 'name' || microversion.atLeast(3, rules.sortByNameSince)));
  return { ...Object.fromEntries(names.map((name) => [name, name])), ...rules.aliases } as Record<string, Column>;

  function isSortable(name: Column): boolean {
    return name !== 'description' && rules.columns[name].kind !== 'pairs';
  }
}

interface ParsedFilters<Column extends string> {
  readonly filters: readonly ListFilter<Column>[];
  readonly metadata: Pairs;
}

function parseFilters<Column extends string>(query: Query, asker: Asker, rules: ListRules<Column>): ParsedFilters<Column> | undefined {
  const filters: ListFilter<Column>[] = [];
  let metadata: Pairs = {};
  for (const name of filterNames(query, asker, rules)) {
    const text = queryValue(query, name) ?? '';
    if (name === 'metadata' && rules.commonFilters.includes(name)) {
      const pairs = parseDictionary(text);
      if (pairs === undefined) return undefined;
      metadata = pairs;
      continue;
    }
    const constant = rules.constants[name];
    if (constant !== undefined) {
      if (text.toLowerCase() === constant) continue;
      return undefined;
    }
    const found = filtersOf(name, text, asker.microversion, rules);
    if (found === undefined) return undefined;
    filters.push(...found);
  }
  return { filters, metadata };
}

/** Which of the parameters count as filters. Those of strangers' making are dropped for users, and refused from 3.31 on. */
function filterNames<Column extends string>(query: Query, { caller, microversion }: Asker, rules: ListRules<Column>): string[] {
  const asked = Object.keys(query).filter((name) => !pagingParameters.includes(name));
  if (isAllowed(caller, 'list:filter_freely', { projectId: null })) return asked;
  const others = asked.filter((name) => !rules.commonFilters.includes(name));
  if (others.length > 0 && microversion.atLeast(3, 31)) {
    throw badRequest(`Invalid filters ${others.join(', ')} are found in query options.`);
  }
  return asked.filter((name) => rules.commonFilters.includes(name));
}

function filtersOf<Column extends string>(
  name: string,
  text: string,
  microversion: Microversion,
  rules: ListRules<Column>,
): ListFilter<Column>[] | undefined {
  const contains = name.endsWith('~') && microversion.atLeast(3, 34);
  const column = columnOf(contains ? name.slice(0, -1) : name, rules);
  if (column === undefined) return undefined;
  if (contains) return [{ column, comparison: 'like', value: text }];
  const { kind } = rules.columns[column];
  if (kind === 'pairs') return pairsFilter(column, text, microversion);
  if (kind === 'time') return timeFilters(column, text, microversion);
  if (kind === 'boolean') return booleanFilter(column, text, microversion);
  return [{ column, comparison: 'eq', value: text }];
}

function columnOf<Column extends string>(name: string, rules: ListRules<Column>): Column | undefined {
  if (Object.hasOwn(rules.aliases, name)) return rules.aliases[name];
  return Object.hasOwn(rules.columns, name) ? (name as Column) : undefined;
}

/** From 3.4 on; before, nobody looks at it. */
function pairsFilter<Column extends string>(column: Column, text: string, microversion: Microversion): ListFilter<Column>[] | undefined {
  if (!microversion.atLeast(3, 4)) return [];
  const pairs = parseDictionary(text);
  return pairs === undefined ? undefined : [{ column, comparison: 'eq', value: JSON.stringify(pairs) }];
}

function booleanFilter<Column extends string>(column: Column, text: string, microversion: Microversion): ListFilter<Column>[] {
  const value = parseBoolean(text);
  if (value === undefined && microversion.atLeast(3, 2)) {
    throw badRequest(`Invalid input received: Invalid '${column}' filter: '${text}' is no boolean.`);
  }
  return [{ column, comparison: 'eq', value: String(value ?? true) }];
}

/** `op:time,op:time` from 3.60 on; before, a time is compared as it is. */
function timeFilters<Column extends string>(column: Column, text: string, microversion: Microversion): ListFilter<Column>[] | undefined {
  if (!microversion.atLeast(3, lastMinorWithPlainTimes + 1)) {
    return isMoment(text) ? [{ column, comparison: 'eq', value: text }] : undefined;
  }
  return text.split(',').map((part) => {
    const [, word = 'eq', time = part] = /^(\w+):(.*)$/s.exec(part.trim()) ?? [];
    if (!isComparison(word) || !isMoment(time)) throw badRequest(`Invalid input received: Invalid time filter ${part} for ${column}.`);
    return { column, comparison: word, value: time };
  });
}

const isComparison = (word: string): word is Comparison => ['gt', 'gte', 'lt', 'lte', 'eq', 'neq'].includes(word);

/** What PostgreSQL takes as a time without an error. Without a zone it is UTC. */
function isMoment(text: string): boolean {
  const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?)?(?:Z|[+-](?:0\d|1[0-3]):?[0-5]\d)?$/.exec(text);
  if (match === null) return false;
  const [, day = '', minute = '00:00', second = ':00'] = match;
  const milliseconds = Date.parse(`${day}T${minute}${second.slice(0, 3)}Z`);
  // A day that the month does not have would come back as one of the next month.
  return !Number.isNaN(milliseconds) && !day.startsWith('0000') && new Date(milliseconds).toISOString().startsWith(day);
}
