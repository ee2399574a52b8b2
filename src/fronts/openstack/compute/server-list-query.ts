/** Which servers a list is asked for. */
import type { ListFilter } from '../../../cloud/database/lists.ts';
import { hostName } from '../../../cloud/hosts/contract.ts';
import type { ServerColumn } from '../../../cloud/servers/contract.ts';
import type { ServerQuery } from '../../../cloud/servers/service.ts';
import { vmStateOf } from '../../../cloud/servers/states.ts';
import { badRequest } from '../../../lib/errors.ts';
import { isUuid } from '../../../lib/ids.ts';
import { parseBoolean } from '../shared/body.ts';
import { firstOfEach, type Query, queryValue, type SortKey } from '../shared/paging.ts';
import { parsePage } from './list-query.ts';

/** Undefined: nothing can match. `isOperator`: may ask for hosts and other projects; what others ask of those is passed over. */
export function parseServerList(query: Query, { isOperator }: { isOperator: boolean }): ServerQuery | undefined {
  const filters: ListFilter<ServerColumn>[] = [];
  const equal = (column: ServerColumn, value: string): number => filters.push({ column, comparison: 'eq', value });
  for (const [name, column] of Object.entries(plainFilters)) {
    const value = queryValue(query, name);
    if (value !== undefined && value !== '') equal(column, value);
  }
  const image = queryValue(query, 'image');
  if (image !== undefined && image !== '') {
    const id = image.split('/').at(-1) ?? '';
    if (!isUuid(id)) return undefined;
    equal('image_id', id);
  }
  const status = queryValue(query, 'status');
  if (status !== undefined && status !== '') {
    const vmState = vmStateOf(status.toUpperCase());
    if (vmState === undefined) return undefined;
    equal('vm_state', vmState);
  }
  const since = parseTime(query, 'changes-since');
  if (since !== undefined) filters.push({ column: 'updated_at', comparison: 'gte', value: since });
  const allProjects = parseAllTenants(queryValue(query, 'all_tenants'));
  const project = queryValue(query, 'project_id') || queryValue(query, 'tenant_id');
  if (isOperator && allProjects && project) equal('project_id', project);
  const host = queryValue(query, 'host');
  if (isOperator && host && host !== hostName) return undefined;
  // Nobody has an address, and what was deleted is gone.
  if (queryValue(query, 'ip') || queryValue(query, 'ip6') || parseBoolean(queryValue(query, 'deleted')) === true) return undefined;
  return {
    ...parsePage(query),
    offset: 0,
    metadata: {},
    filters,
    sort: parseSort(query),
    allProjects,
    namePattern: queryValue(query, 'name'),
    flavorId: queryValue(query, 'flavor')?.split('/').at(-1),
    tags: {
      ...tagsIn(query, 'tags', 'all'),
      ...tagsIn(query, 'tags-any', 'any'),
      ...tagsIn(query, 'not-tags', 'notAll'),
      ...tagsIn(query, 'not-tags-any', 'notAny'),
    },
  };
}

const time = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;

/** ISO 8601. */
export function parseTime(query: Query, name: string): string | undefined {
  const value = queryValue(query, name);
  if (value === undefined || value === '') return undefined;
  if (!time.test(value) || Number.isNaN(Date.parse(value)))
    throw badRequest(`Invalid input for query parameters ${name}. Value: ${value}. '${value}' is not a 'date-time'`);
  return value;
}

const plainFilters = {
  hostname: 'hostname',
  description: 'description',
  reservation_id: 'reservation_id',
  availability_zone: 'availability_zone',
  key_name: 'key_name',
  user_id: 'user_id',
  vm_state: 'vm_state',
  task_state: 'task_state',
} as const satisfies Record<string, ServerColumn>;

function tagsIn(query: Query, parameter: string, name: keyof ServerQuery['tags']): ServerQuery['tags'] {
  const text = queryValue(query, parameter);
  return text === undefined ? {} : { [name]: text.split(',') };
}

function parseAllTenants(text: string | undefined): boolean {
  if (text === undefined) return false;
  if (text === '') return true;
  const isAll = parseBoolean(text);
  if (isAll === undefined) throw badRequest(`Invalid value '${text}'`);
  return isAll;
}

const sortKeys: Readonly<Record<string, ServerColumn>> = {
  uuid: 'id',
  display_name: 'name',
  display_description: 'description',
  created_at: 'created_at',
  updated_at: 'updated_at',
  launched_at: 'launched_at',
  vm_state: 'vm_state',
  task_state: 'task_state',
  power_state: 'power_state',
  image_ref: 'image_id',
  key_name: 'key_name',
  availability_zone: 'availability_zone',
  user_id: 'user_id',
  project_id: 'project_id',
  hostname: 'hostname',
  locked: 'locked',
};

/** Keys and directions are repeated parameters, which belong together by their places; the newest first when nothing is said. */
function parseSort(query: Query): SortKey<ServerColumn>[] {
  const directions = valuesOf(query, 'sort_dir');
  const asked = valuesOf(query, 'sort_key').map((name, index) => {
    const column = Object.hasOwn(sortKeys, name) ? sortKeys[name] : undefined;
    if (column === undefined)
      throw badRequest(`Invalid input for query parameters sort_key. Value: ${name}. '${name}' is not a key that servers are sorted by`);
    const direction = directions[index] ?? directions.at(-1) ?? 'desc';
    if (direction !== 'asc' && direction !== 'desc') throw badRequest("Unknown sort direction, must be 'desc' or 'asc'.");
    return { column, direction } as const;
  });
  const direction = asked[0]?.direction ?? 'desc';
  return firstOfEach([...asked, { column: 'created_at', direction }, { column: 'id', direction }] as const, ({ column }) => column);
}

function valuesOf(query: Query, name: string): readonly string[] {
  const value = query[name];
  return value === undefined ? [] : [value].flat();
}
