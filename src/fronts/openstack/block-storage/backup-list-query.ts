/** The query of a list of backups: which filters count depends on the microversion and on who asks. */
import { type BackupColumn, isBackupColumn, listColumns } from '../../../cloud/backups/list-query.ts';
import type { BackupListOrder } from '../../../cloud/backups/service.ts';
import type { ListFilter } from '../../../cloud/database/lists.ts';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBoolean } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';
import { parsePage, parseSort, type Query, queryValue } from '../shared/paging.ts';
import { pagingParameters } from './list-query.ts';
import { resourceFilters } from './resource-filters.ts';

/** What everybody may filter by. */
const commonFilters: readonly string[] = resourceFilters.backup;

const aliases: Readonly<Record<string, BackupColumn>> = { display_name: 'name', display_description: 'description' };

const columnOf = (name: string): BackupColumn | undefined =>
  Object.hasOwn(aliases, name) ? aliases[name] : isBackupColumn(name) ? name : undefined;

const isKnown = (entry: readonly [string, BackupColumn | undefined]): entry is [string, BackupColumn] => entry[1] !== undefined;

const sortNames = [
  'id',
  'display_name',
  'display_description',
  'status',
  'fail_reason',
  'volume_id',
  'snapshot_id',
  'parent_id',
  'restore_volume_id',
  'project_id',
  'user_id',
  'container',
  'availability_zone',
  'size',
  'object_count',
  'data_timestamp',
  'created_at',
  'updated_at',
];

const isTime = (column: BackupColumn): boolean => listColumns[column].kind === 'time';
const isMoment = (text: string): boolean =>
  /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?Z?$/.test(text) &&
  !Number.isNaN(Date.parse(`${text.slice(0, 10)}T${text.slice(11, 19)}Z`));

/** Undefined: nothing can match. */
export function parseBackupList(query: Query, caller: Caller, microversion: Microversion): BackupListOrder | undefined {
  const names = microversion.atLeast(3, 37) ? [...sortNames, 'name'] : sortNames;
  const columns = Object.fromEntries(names.map((name) => [name, columnOf(name)] as const).filter(isKnown));
  const order = {
    ...parsePage(query),
    sort: parseSort<BackupColumn>(query, columns, ['created_at', 'id']),
    allProjects: parseAllTenants(query),
    withCount: microversion.atLeast(3, 45) && parseBoolean(queryValue(query, 'with_count') ?? 'false') === true,
  };
  const filters = parseFilters(query, caller, microversion);
  return filters === undefined ? undefined : { ...order, filters };
}

function parseAllTenants(query: Query): boolean {
  const text = queryValue(query, 'all_tenants');
  if (text === undefined) return false;
  const value = parseBoolean(text);
  if (value === undefined)
    throw badRequest(`Invalid input received: Invalid value '${text}' for all_tenants. Accepted values: true or false.`);
  return value;
}

function parseFilters(query: Query, caller: Caller, microversion: Microversion): BackupListOrder['filters'] | undefined {
  const asked = Object.keys(query).filter((name) => !pagingParameters.includes(name));
  const isFree = isAllowed(caller, 'list:filter_freely', { projectId: null });
  if (!isFree && microversion.atLeast(3, 31)) {
    const invalid = asked.filter((name) => !commonFilters.includes(name));
    if (invalid.length > 0) throw badRequest(`Invalid filters ${invalid.join(', ')} are found in query options.`);
  }
  const filters: ListFilter<BackupColumn>[] = [];
  for (const name of isFree ? asked : asked.filter((item) => commonFilters.includes(item))) {
    const contains = name.endsWith('~') && microversion.atLeast(3, 34);
    const column = columnOf(contains ? name.slice(0, -1) : name);
    const value = queryValue(query, name) ?? '';
    if (column === undefined || (isTime(column) && !contains && !isMoment(value))) return undefined;
    filters.push({ column, comparison: contains ? 'like' : 'eq', value });
  }
  return filters;
}
