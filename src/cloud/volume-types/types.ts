/** Volume types, their extra specs, and who may use them: the use cases. */
import { newId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type StringMap, type Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Quotas } from '../quotas/service.ts';
import { configuredDefaultId, defaultTypeId, findByIdOrName, onlookerOf } from './choice.ts';
import type { TypeChanges, TypeListQuery, TypeOrder, VolumeType } from './contract.ts';
import { lockedType, visibleType } from './lookup.ts';
import {
  accessThere,
  isDefault,
  nameTaken,
  noAccess,
  noAccessList,
  noSpec,
  publicNeedsNoAccess,
  specsInUse,
  stillInUse,
} from './refusals.ts';
import { deleteAccess, deleteType, insertAccess, insertType, isInUse, isSomeDefault, listAccess, listTypes, updateType } from './store.ts';

export interface TypesService {
  list(caller: Caller, query: TypeListQuery): Promise<VolumeType[]>;
  get(caller: Caller, id: string): Promise<VolumeType>;
  /** By id, or by name. */
  find(caller: Caller, idOrName: string): Promise<VolumeType>;
  /** What a volume of the caller's project is of when nobody says anything. */
  getDefault(caller: Caller): Promise<VolumeType>;
  create(caller: Caller, order: TypeOrder): Promise<VolumeType>;
  update(caller: Caller, id: string, changes: TypeChanges): Promise<VolumeType>;
  delete(caller: Caller, id: string): Promise<void>;
  /** Refused while volumes of the type exist. */
  mergeSpecs(caller: Caller, id: string, specs: StringMap): Promise<void>;
  removeSpec(caller: Caller, id: string, key: string): Promise<void>;
  accessOf(caller: Caller, id: string): Promise<string[]>;
  addAccess(caller: Caller, id: string, projectId: string): Promise<void>;
  removeAccess(caller: Caller, id: string, projectId: string): Promise<void>;
}

export interface TypesDeps {
  readonly database: Database;
  /** Limits on types go by their names. */
  readonly quotas: Pick<Quotas, 'renameType' | 'dropType'>;
}

export function createTypes({ database, quotas }: TypesDeps): TypesService {
  const change = <T>(caller: Caller, id: string, work: (tx: Tx, type: VolumeType) => Promise<T>): Promise<T> => {
    authorise(caller, 'volume_type:change', { projectId: null });
    return database.transact(async (tx) => await work(tx, await lockedType(tx, id)));
  };
  const restricted = (caller: Caller, id: string, work: (tx: Tx) => Promise<void>): Promise<void> =>
    change(caller, id, async (tx, type) => {
      if (type.isPublic) throw publicNeedsNoAccess();
      await work(tx);
    });

  return {
    async list(caller, query) {
      authorise(caller, 'volume_type:list', { projectId: null });
      if (query.marker !== undefined) await visibleType(database.sql, caller, query.marker);
      const list = { ...query, projectId: undefined, metadata: {}, markerId: query.marker };
      return query.limit === 0 ? [] : await listTypes(database.sql, onlookerOf(caller), list, query.extraSpecs);
    },
    async get(caller, id) {
      authorise(caller, 'volume_type:get', { projectId: null });
      return await visibleType(database.sql, caller, id);
    },
    async find(caller, idOrName) {
      authorise(caller, 'volume_type:get', { projectId: null });
      return await findByIdOrName(database.sql, onlookerOf(caller), idOrName);
    },
    async getDefault(caller) {
      authorise(caller, 'volume_type:get', { projectId: null });
      return await visibleType(database.sql, caller, await defaultTypeId(database.sql, caller.projectId));
    },
    async create(caller, order) {
      authorise(caller, 'volume_type:change', { projectId: null });
      const id = newId();
      await namedOnce(order.name, () => insertType(database.sql, id, order));
      return { id, ...order, qosSpecsId: null };
    },
    update: (caller, id, changes) =>
      change(caller, id, async (tx, type) => {
        const { name = type.name } = changes;
        await namedOnce(name, () => updateType(tx.sql, id, changes));
        if (name !== type.name) await quotas.renameType(tx, type.name, name);
        return { ...type, ...changes };
      }),
    delete: (caller, id) =>
      change(caller, id, async (tx, type) => {
        if (id === configuredDefaultId || (await isSomeDefault(tx.sql, id))) throw isDefault(id);
        if (await isInUse(tx.sql, id)) throw stillInUse(id);
        await deleteType(tx.sql, id).catch((error: unknown) => {
          throw isForeignKeyViolation(error) ? stillInUse(id) : error;
        });
        await quotas.dropType(tx, type.name);
      }),
    mergeSpecs: (caller, id, specs) =>
      change(caller, id, async (tx, { extraSpecs }) => {
        if (await isInUse(tx.sql, id)) throw specsInUse();
        await updateType(tx.sql, id, { extraSpecs: { ...extraSpecs, ...specs } });
      }),
    removeSpec: (caller, id, key) =>
      change(caller, id, async (tx, { extraSpecs }) => {
        if (await isInUse(tx.sql, id)) throw specsInUse();
        if (!Object.hasOwn(extraSpecs, key)) throw noSpec(id, key);
        const rest = Object.entries(extraSpecs).filter(([name]) => name !== key);
        await updateType(tx.sql, id, { extraSpecs: Object.fromEntries(rest) });
      }),
    async accessOf(caller, id) {
      authorise(caller, 'volume_type:change', { projectId: null });
      const type = await visibleType(database.sql, caller, id);
      if (type.isPublic) throw noAccessList();
      return await listAccess(database.sql, type.id);
    },
    addAccess: (caller, id, projectId) =>
      restricted(caller, id, async (tx) => {
        if (!(await insertAccess(tx.sql, id, projectId))) throw accessThere(id, projectId);
      }),
    removeAccess: (caller, id, projectId) =>
      restricted(caller, id, async (tx) => {
        if (!(await deleteAccess(tx.sql, id, projectId))) throw noAccess(id, projectId);
      }),
  };
}

async function namedOnce(name: string, write: () => Promise<void>): Promise<void> {
  await write().catch((error: unknown) => {
    throw isUniqueViolation(error) ? nameTaken(name) : error;
  });
}
