/** Flavors, their extra specs, and who may use them: the use cases. */
import { newId } from '../../lib/ids.ts';
import { type Database, isUniqueViolation, type StringMap, type Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise, isAllowed } from '../identity/policy.ts';
import { projectExists } from '../identity/project-exists.ts';
import type { Flavor, FlavorChoice, FlavorListQuery, FlavorOrder } from './contract.ts';
import {
  accessThere,
  idTaken,
  nameTaken,
  noAccess,
  noAccessList,
  noFlavor,
  noMarker,
  noProject,
  noSpec,
  publicNeedsNoAccess,
} from './refusals.ts';
import {
  deleteAccess,
  deleteFlavor,
  findFlavor,
  idIsTaken,
  insertAccess,
  insertFlavor,
  listAccess,
  listFlavors,
  lockFlavor,
  type Queries,
  updateFlavor,
} from './store.ts';

export type { Flavor, FlavorChoice } from './contract.ts';

export interface FlavorsService {
  list(caller: Caller, query: FlavorListQuery): Promise<Flavor[]>;
  get(caller: Caller, id: string): Promise<Flavor>;
  create(caller: Caller, order: FlavorOrder): Promise<Flavor>;
  describe(caller: Caller, id: string, description: string | null): Promise<Flavor>;
  /** Servers that were made with it stay what they are. */
  delete(caller: Caller, id: string): Promise<void>;
  mergeSpecs(caller: Caller, id: string, specs: StringMap): Promise<void>;
  removeSpec(caller: Caller, id: string, key: string): Promise<void>;
  /** The ids of the projects that may use it. 404 for one that everybody may use. */
  accessOf(caller: Caller, id: string): Promise<string[]>;
  /** `publicToo`: giving access to a flavor that everybody may use is no mistake. */
  addAccess(caller: Caller, id: string, projectId: string, options: { readonly publicToo: boolean }): Promise<string[]>;
  removeAccess(caller: Caller, id: string, projectId: string): Promise<string[]>;
  readonly choice: FlavorChoice;
}

/** Whose flavors the caller may use beside the public ones; undefined: all. */
const onlookerOf = (caller: Caller): string | undefined =>
  isAllowed(caller, 'flavor:see_all', { projectId: null }) ? undefined : (caller.projectId ?? '');

const choice: FlavorChoice = { find: (db, caller, id) => findFlavor(db, onlookerOf(caller), id) };

async function visibleFlavor(db: Queries, caller: Caller, id: string): Promise<Flavor> {
  const flavor = await choice.find(db, caller, id);
  if (flavor === undefined) throw noFlavor(id);
  return flavor;
}

export function createFlavors({ database }: { readonly database: Database }): FlavorsService {
  const change = <T>(caller: Caller, id: string, work: (tx: Tx, flavor: Flavor) => Promise<T>): Promise<T> => {
    authorise(caller, 'flavor:change', { projectId: null });
    return database.transact(async (tx) => {
      const flavor = await lockFlavor(tx.sql, id);
      if (flavor === undefined) throw noFlavor(id);
      return await work(tx, flavor);
    });
  };

  return {
    choice,
    async list(caller, query) {
      authorise(caller, 'flavor:list', { projectId: null });
      const { marker } = query;
      if (marker !== undefined && (await choice.find(database.sql, caller, marker)) === undefined) throw noMarker(marker);
      const isPublic = onlookerOf(caller) === undefined ? query.isPublic : true;
      return query.limit === 0 ? [] : await listFlavors(database.sql, caller.projectId ?? '', { ...query, isPublic });
    },
    async get(caller, id) {
      authorise(caller, 'flavor:get', { projectId: null });
      return await visibleFlavor(database.sql, caller, id);
    },
    async create(caller, order) {
      authorise(caller, 'flavor:change', { projectId: null });
      const flavor: Flavor = { ...order, id: order.id ?? newId(), extraSpecs: {} };
      try {
        await insertFlavor(database.sql, flavor);
      } catch (error) {
        if (!isUniqueViolation(error)) throw error;
        throw (await idIsTaken(database.sql, flavor.id)) ? idTaken(flavor.id) : nameTaken(flavor.name);
      }
      return flavor;
    },
    describe: (caller, id, description) =>
      change(caller, id, async (tx, flavor) => {
        await updateFlavor(tx.sql, id, { description });
        return { ...flavor, description };
      }),
    async delete(caller, id) {
      authorise(caller, 'flavor:change', { projectId: null });
      if (!(await deleteFlavor(database.sql, id))) throw noFlavor(id);
    },
    mergeSpecs: (caller, id, specs) =>
      change(caller, id, (tx, { extraSpecs }) => updateFlavor(tx.sql, id, { extraSpecs: { ...extraSpecs, ...specs } })),
    removeSpec: (caller, id, key) =>
      change(caller, id, async (tx, { extraSpecs }) => {
        if (!Object.hasOwn(extraSpecs, key)) throw noSpec(id, key);
        const rest = Object.entries(extraSpecs).filter(([name]) => name !== key);
        await updateFlavor(tx.sql, id, { extraSpecs: Object.fromEntries(rest) });
      }),
    async accessOf(caller, id) {
      authorise(caller, 'flavor:see_all', { projectId: null });
      const flavor = await visibleFlavor(database.sql, caller, id);
      if (flavor.isPublic) throw noAccessList();
      return await listAccess(database.sql, id);
    },
    addAccess: (caller, id, projectId, { publicToo }) =>
      change(caller, id, async (tx, { isPublic }) => {
        if (isPublic && !publicToo) throw publicNeedsNoAccess();
        if (!(await projectExists(tx.sql, projectId))) throw noProject(projectId);
        if (!(await insertAccess(tx.sql, id, projectId))) throw accessThere(id, projectId);
        return await listAccess(tx.sql, id);
      }),
    // The project may be gone: then this takes away what it left.
    removeAccess: (caller, id, projectId) =>
      change(caller, id, async (tx) => {
        if (!(await deleteAccess(tx.sql, id, projectId))) throw noAccess(id, projectId);
        return await listAccess(tx.sql, id);
      }),
  };
}
