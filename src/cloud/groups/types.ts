/** Group types: what administrators offer to make groups of. */
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import { changedPairs, type Pairs, type PairsChange } from '../../lib/pairs.ts';
import type { ListQuery } from '../database/lists.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise, isAllowed } from '../identity/policy.ts';
import type { GroupType, GroupTypeColumn } from './contract.ts';
import {
  deleteGroupType,
  findGroupType,
  findGroupTypeByName,
  type GroupTypeChanges,
  insertGroupType,
  listGroupTypes,
  lockGroupType,
  updateGroupType,
} from './type-store.ts';

export interface GroupTypeQuery extends Omit<ListQuery<GroupTypeColumn>, 'projectId' | 'markerId'> {
  readonly marker: string | undefined;
}

export interface GroupTypesService {
  /** Others than administrators see public ones only. */
  list(caller: Caller, query: GroupTypeQuery): Promise<GroupType[]>;
  get(caller: Caller, id: string): Promise<GroupType>;
  create(caller: Caller, type: Pick<GroupType, 'name' | 'description' | 'isPublic' | 'specs'>): Promise<GroupType>;
  update(caller: Caller, id: string, changes: Omit<GroupTypeChanges, 'specs'>): Promise<GroupType>;
  /** Refused while a group is of the type. */
  delete(caller: Caller, id: string): Promise<void>;
  /** For administrators. Returns all of it afterwards. */
  changeSpecs(caller: Caller, id: string, change: PairsChange): Promise<Pairs>;
  specsOf(caller: Caller, id: string): Promise<Pairs>;
}

const anywhere = { projectId: null };
const seesAll = (caller: Caller): boolean => isAllowed(caller, 'group_type:see_all', anywhere);
const missing = (id: string) => notFound(`Group type ${id} could not be found.`);
const duplicate = (name: string) => conflict(`Group Type ${name} already exists.`);

/** By id or by name. */
export async function findUsableType(tx: Tx, caller: Caller, idOrName: string): Promise<GroupType> {
  const byId = isUuid(idOrName) ? await findGroupType(tx.sql, idOrName) : undefined;
  const type = byId ?? (await findGroupTypeByName(tx.sql, idOrName));
  if (type === undefined || !(type.isPublic || seesAll(caller))) throw missing(idOrName);
  return type;
}

export function createGroupTypes({ database }: { database: Database }): GroupTypesService {
  const changed = (caller: Caller, id: string, work: (tx: Tx, type: GroupType) => Promise<GroupTypeChanges>): Promise<GroupType> =>
    database.transact(async (tx) => {
      authorise(caller, 'group_type:change', anywhere);
      const type = isUuid(id) ? await lockGroupType(tx.sql, id) : undefined;
      if (type === undefined) throw missing(id);
      await updateGroupType(tx.sql, id, await work(tx, type)).catch((error: unknown) => {
        throw isUniqueViolation(error) ? duplicate(type.name) : error;
      });
      return (await findGroupType(tx.sql, id)) as GroupType;
    });

  async function get(caller: Caller, id: string): Promise<GroupType> {
    authorise(caller, 'group_type:list', anywhere);
    const type = isUuid(id) ? await findGroupType(database.sql, id) : undefined;
    if (type === undefined || !(type.isPublic || seesAll(caller))) throw missing(id);
    return type;
  }

  return {
    async list(caller, query) {
      authorise(caller, 'group_type:list', anywhere);
      if (query.marker !== undefined) await get(caller, query.marker);
      const publicOnly = { column: 'is_public', comparison: 'eq', value: 'true' } as const;
      const filters = seesAll(caller) ? query.filters : [...query.filters, publicOnly];
      const list = { ...query, filters, projectId: undefined, markerId: query.marker };
      return query.limit === 0 ? [] : await listGroupTypes(database.sql, list);
    },
    get,
    async create(caller, type) {
      authorise(caller, 'group_type:change', anywhere);
      const id = newId();
      await insertGroupType(database.sql, { ...type, id }).catch((error: unknown) => {
        throw isUniqueViolation(error) ? duplicate(type.name) : error;
      });
      return await get(caller, id);
    },
    update: (caller, id, changes) => changed(caller, id, async () => changes),
    async delete(caller, id) {
      authorise(caller, 'group_type:change', anywhere);
      await get(caller, id);
      await deleteGroupType(database.sql, id).catch((error: unknown) => {
        throw isForeignKeyViolation(error) ? badRequest('Target group type is still in use.') : error;
      });
    },
    changeSpecs: async (caller, id, change) =>
      (await changed(caller, id, async (_tx, { specs }) => ({ specs: changedPairs(specs, change) }))).specs,
    async specsOf(caller, id) {
      authorise(caller, 'group_type:see_specs', anywhere);
      return (await get(caller, id)).specs;
    },
  };
}
