/** The query of an image list, as `cloud/images/list.ts` wants it. What cannot be understood is 400; unknown names are properties. */
import { memberStatuses, visibilities } from '../../../cloud/images/image.ts';
import {
  type Comparison,
  comparisons,
  type ImageFilters,
  type ImageQuery,
  type NumberColumn,
  type SortKey,
  type SortOrder,
  sortKeys,
  type TextColumn,
} from '../../../cloud/images/list.ts';
import { badRequest } from '../../../lib/errors.ts';
import { firstOfEach, type Query, queryValue } from '../shared/paging.ts';

const limitDefault = 25;
const limitMax = 1000;

export function parseImageQuery(query: Query): ImageQuery {
  const limit = parseLimit(queryValue(query, 'limit'));
  return { filters: parseFilters(query), sort: parseSort(query), limit, marker: queryValue(query, 'marker') };
}

export function parseLimit(text: string | undefined): number {
  if (text === undefined) return limitDefault;
  if (!/^\s*[+-]?\d{1,15}\s*$/.test(text)) throw badRequest('limit param must be an integer');
  if (Number(text) < 0) throw badRequest('limit param must be positive');
  return Math.min(Number(text), limitMax);
}

function memberStatusOf(text: string): ImageFilters['memberStatus'] {
  const status = [...memberStatuses, 'all' as const].find((known) => known === text);
  if (status === undefined) throw badRequest(`Invalid status: ${text}`);
  return status;
}

const all = (query: Query, name: string): string[] => [query[name] ?? []].flat().map((value) => value.trim());

function parseSort(query: Query): SortOrder[] {
  const asked = askedSort(query);
  const fallback = asked.directions.length === 1 ? asked.directions[0] : 'desc';
  const orders = asked.keys.map((key, index) => ({
    key: sortKeyOf(key),
    direction: directionOf(asked.directions[index] ?? fallback ?? 'desc'),
  }));
  // Ties are broken by age, then by id: without that, pages would overlap.
  for (const key of ['created_at', 'id'] as const) orders.push({ key, direction: directionOf(fallback ?? 'desc') });
  return firstOfEach(orders, ({ key }) => key);
}

function askedSort(query: Query): { keys: string[]; directions: string[] } {
  const sort = queryValue(query, 'sort');
  const keys = all(query, 'sort_key');
  const directions = all(query, 'sort_dir');
  if (sort === undefined) {
    if (directions.length > 1 && directions.length !== keys.length)
      throw badRequest('Number of sort dirs does not match the number of sort keys');
    return { keys: keys.length === 0 ? ['created_at'] : keys, directions };
  }
  if (keys.length > 0 || directions.length > 0) throw badRequest('Old and new sorting syntax cannot be combined');
  const parts = sort.split(',').map((part) => part.split(':', 2).map((word) => word.trim()));
  return { keys: parts.map(([key = '']) => key), directions: parts.map(([, direction]) => direction || 'desc') };
}

function sortKeyOf(key: string): SortKey {
  const known = sortKeys.find((name) => name === key);
  if (known === undefined) throw badRequest(`Invalid sort key: ${key}. It must be one of the following: ${sortKeys.join(', ')}.`);
  return known;
}

function directionOf(direction: string): 'asc' | 'desc' {
  if (direction !== 'asc' && direction !== 'desc') throw badRequest(`Invalid sort direction: ${direction}`);
  return direction;
}

type Collected = {
  -readonly [Key in 'texts' | 'numbers' | 'times' | 'properties']: ImageFilters[Key][number][];
};

const notFilters: ReadonlySet<string> = new Set([
  'limit',
  'marker',
  'member_status',
  'tag',
  'sort',
  'sort_key',
  'sort_dir',
  'visibility',
  'os_hidden',
  'protected',
]);

function parseFilters(query: Query): ImageFilters {
  if (queryValue(query, 'changes-since')) throw badRequest('The "changes-since" filter is no longer available on v2.');
  const collected: Collected = { texts: [], numbers: [], times: [], properties: [] };
  for (const name of Object.keys(query)) {
    const value = queryValue(query, name);
    if (!notFilters.has(name) && value !== undefined) collect(collected, name, value);
  }
  const isProtected = queryValue(query, 'protected');
  return {
    ...visibilityOf(queryValue(query, 'visibility')),
    memberStatus: memberStatusOf(queryValue(query, 'member_status') ?? 'accepted'),
    hidden: booleanOf('os_hidden', (queryValue(query, 'os_hidden') ?? 'false').toLowerCase()),
    ...(isProtected === undefined ? {} : { protected: booleanOf('protected', isProtected) }),
    tags: all(query, 'tag'),
    ...collected,
  };
}

function visibilityOf(text: string | undefined): Pick<ImageFilters, 'visibility'> {
  if (text === undefined || text === '') return {};
  const visibility = [...visibilities, 'all' as const].find((known) => known === text);
  if (visibility === undefined) throw badRequest(`Invalid visibility value: ${text}`);
  return { visibility };
}

function booleanOf(name: string, text: string): boolean {
  if (text !== 'true' && text !== 'false') {
    throw badRequest(`Invalid value '${text}' for '${name}' filter. Valid values are 'true' or 'false'.`);
  }
  return text === 'true';
}

const listColumns: readonly TextColumn[] = ['name', 'id', 'status', 'container_format', 'disk_format'];
const plainColumns: readonly TextColumn[] = ['owner', 'checksum', 'os_hash_value', 'os_hash_algo'];
const numberColumns: readonly NumberColumn[] = ['size', 'virtual_size', 'min_disk', 'min_ram'];

function collect(into: Collected, name: string, value: string): void {
  const listed = listColumns.find((column) => column === name);
  if (listed !== undefined) {
    into.texts.push({ column: listed, anyOf: anyOf(value) });
    return;
  }
  const plain = plainColumns.find((column) => column === name);
  if (plain !== undefined) {
    into.texts.push({ column: plain, anyOf: [value] });
    return;
  }
  if (name === 'created_at' || name === 'updated_at') {
    into.times.push({ column: name, ...timeOf(name, value) });
    return;
  }
  const number = numberFilter(name, value);
  if (number !== undefined) into.numbers.push(number);
  else into.properties.push({ name, value });
}

/** `in:a,"b,c"`, `eq:a`, or plainly `a`. */
function anyOf(value: string): string[] {
  const [operator, operand] = splitOperator(value);
  if (operator === 'eq') return [operand];
  if (operator !== 'in') throw badRequest(`Unable to filter by unknown operator '${operator}'.`);
  return splitQuoted(operand);
}

function splitOperator(value: string): [operator: string, operand: string] {
  const colon = value.indexOf(':');
  return colon < 0 ? ['eq', value] : [value.slice(0, colon), value.slice(colon + 1)];
}

function splitQuoted(list: string): string[] {
  const isWellFormed = /^(?:"(?:[^"\\]|\\.)*"|[^",]*)(?:,(?:"(?:[^"\\]|\\.)*"|[^",]*))*$/.test(list);
  if (!isWellFormed) throw badRequest(`Invalid filter value ${list}. The quote is not closed.`);
  return [...list.matchAll(/"((?:[^"\\]|\\.)*)"|([^,]+)/g)].map((match) => match[1] ?? match[2] ?? '');
}

function timeOf(name: string, value: string): { comparison: Comparison; value: string } {
  const whole = isoTime(value);
  if (whole !== undefined) return { comparison: 'eq', value: whole };
  const [operator, operand] = splitOperator(value);
  const time = isoTime(operand);
  if (time === undefined) throw badRequest(`Bad "${name}" query filter format. Use ISO 8601 DateTime notation.`);
  if (!Object.hasOwn(comparisons, operator)) throw badRequest('Unable to filter on a unknown operator.');
  // Just asked for.
  return { comparison: operator as Comparison, value: time };
}

/** UTC, without the zone. A time without a zone is UTC. */
function isoTime(text: string): string | undefined {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*(Z|[+-]\d\d(?::?\d\d)?)?$/.exec(text.trim());
  if (match === null) return undefined;
  const zone =
    match[3] === undefined || match[3] === 'Z'
      ? 'Z'
      : match[3].replace(/^([+-]\d\d):?(\d\d)?$/, (_all, hours, minutes) => `${hours}:${minutes ?? '00'}`);
  const date = new Date(`${match[1]}T${match[2]}${zone}`);
  // Of a year that the database takes, and that has four digits; false for what is no time.
  const isKnown = date.getUTCFullYear() >= 1 && date.getUTCFullYear() <= 9999;
  return isKnown ? date.toISOString().slice(0, -1) : undefined;
}

function numberFilter(name: string, value: string): ImageFilters['numbers'][number] | undefined {
  const [, base, bound] = /^(.+?)(_min|_max)?$/.exec(name) ?? [];
  const column = numberColumns.find((known) => known === base);
  if (column === undefined) return undefined;
  if (!/^\s*[+-]?\d{1,15}\s*$/.test(value)) throw badRequest('Unable to filter on a range with a non-numeric value.');
  return { column, comparison: bound === '_min' ? 'gte' : bound === '_max' ? 'lte' : 'eq', value: Number(value) };
}
