/**
 * The catalogue of metadata definitions: which properties make sense on which resources, for forms that people fill in. Nothing in the
 * product depends on it. Administrators write it; everybody reads what is public, and what belongs to their own project.
 */
import type { Clock } from '../../../lib/clock.ts';
import { badRequest, conflict, forbidden, notFound } from '../../../lib/errors.ts';
import { type Database, isUniqueViolation, type Timestamp, type Tx } from '../../database/service.ts';
import type { Caller } from '../../identity/caller.ts';
import { canSee, isAllowed, projectOfList } from '../../identity/policy.ts';
import type { Queries } from '../store.ts';
import type { NamespaceQuery } from './namespace-query.ts';
import {
  type Association,
  deleteAssociation,
  deleteItems,
  deleteNamespace,
  findItem,
  findNamespace,
  type ItemKind,
  insertAssociation,
  insertItems,
  insertNamespace,
  lockNamespace,
  type MetadefItem,
  type Namespace,
  type NamespaceValues,
  type NewAssociation,
  type NewItem,
  saveItem,
  saveNamespace,
  selectAssociations,
  selectItems,
  selectNamespaces,
  selectResourceTypes,
} from './store.ts';

export type { Association, ItemKind, MetadefItem, Namespace, NamespaceValues, NewAssociation, NewItem } from './store.ts';

export interface ListedNamespace extends Namespace {
  readonly associations: readonly Association[];
}

export interface WholeNamespace extends ListedNamespace {
  readonly items: Readonly<Record<ItemKind, readonly MetadefItem[]>>;
}

/** Whose, unless an owner is named: of the caller's project. */
export interface NewNamespace extends Omit<NamespaceValues, 'owner'> {
  readonly owner: string | undefined;
  readonly associations: readonly NewAssociation[];
  readonly items: Readonly<Record<ItemKind, readonly NewItem[]>>;
}

export interface Metadefs {
  listNamespaces(caller: Caller, query: NamespaceQuery): Promise<ListedNamespace[]>;
  showNamespace(caller: Caller, name: string): Promise<WholeNamespace>;
  createNamespace(caller: Caller, order: NewNamespace): Promise<WholeNamespace>;
  updateNamespace(caller: Caller, name: string, change: Omit<NewNamespace, 'associations' | 'items'>): Promise<Namespace>;
  deleteNamespace(caller: Caller, name: string): Promise<void>;

  items(caller: Caller, namespace: string, kind: ItemKind): Promise<MetadefItem[]>;
  item(caller: Caller, namespace: string, kind: ItemKind, name: string): Promise<MetadefItem>;
  addItem(caller: Caller, namespace: string, kind: ItemKind, item: NewItem): Promise<MetadefItem>;
  /** The item may get another name. */
  replaceItem(caller: Caller, namespace: string, kind: ItemKind, name: string, item: NewItem): Promise<MetadefItem>;
  removeItem(caller: Caller, namespace: string, kind: ItemKind, name: string): Promise<void>;
  removeItems(caller: Caller, namespace: string, kind: ItemKind): Promise<void>;
  /** These tags, and with `append` those that were there before. */
  setTags(caller: Caller, namespace: string, tags: readonly string[], options: { readonly append: boolean }): Promise<void>;

  resourceTypes(caller: Caller): Promise<{ name: string; createdAt: Timestamp; updatedAt: Timestamp }[]>;
  associations(caller: Caller, namespace: string): Promise<readonly Association[]>;
  associate(caller: Caller, namespace: string, order: NewAssociation): Promise<Association>;
  dissociate(caller: Caller, namespace: string, resourceType: string): Promise<void>;
}

const itemKinds: readonly ItemKind[] = ['object', 'property', 'tag'];

export function createMetadefs({ database, clock }: { database: Database; clock: Clock }): Metadefs {
  /** What is written happens to one locked namespace. */
  async function write<T>(caller: Caller, name: string, action: string, work: (tx: Tx, namespace: Namespace) => Promise<T>): Promise<T> {
    return await database.transact(async (tx) => {
      const namespace = await visibleNamespace(tx.sql, caller, name, lockNamespace);
      authoriseChange(caller, action);
      return await work(tx, namespace);
    });
  }

  async function read(caller: Caller, name: string): Promise<Namespace> {
    const namespace = await visibleNamespace(database.sql, caller, name, findNamespace);
    authoriseReading(caller);
    return namespace;
  }

  async function withContents(db: Queries, namespace: Namespace): Promise<WholeNamespace> {
    const associations = (await selectAssociations(db, [namespace.key])).get(namespace.key) ?? [];
    const items: Record<ItemKind, readonly MetadefItem[]> = { object: [], property: [], tag: [] };
    for (const kind of itemKinds) items[kind] = await selectItems(db, namespace.key, kind);
    return { ...namespace, associations, items };
  }

  return {
    async listNamespaces(caller, query) {
      authoriseReading(caller);
      const db = database.sql;
      const marker = query.marker === undefined ? undefined : await findNamespace(db, query.marker);
      if (query.marker !== undefined && (marker === undefined || !isVisible(caller, marker))) throw noNamespace(query.marker);
      const namespaces = await selectNamespaces(db, query, projectOfList(caller, true), marker);
      const associations = await selectAssociations(
        db,
        namespaces.map((one) => one.key),
      );
      return namespaces.map((namespace) => ({ ...namespace, associations: associations.get(namespace.key) ?? [] }));
    },

    showNamespace: async (caller, name) => await withContents(database.sql, await read(caller, name)),

    async createNamespace(caller, order) {
      authoriseChange(caller, 'add_metadef_namespace');
      const owner = ownerOf(caller, order.owner);
      const { namespace: name } = order;
      return await asConflict(duplicateNamespace(name), async () =>
        database.transact(async (tx) => {
          const at = clock.nowText();
          const namespace = await insertNamespace(tx.sql, { ...order, owner }, at);
          for (const association of order.associations) await insertAssociation(tx.sql, namespace.key, association, at);
          for (const kind of itemKinds) await insertItems(tx.sql, namespace.key, kind, order.items[kind], at);
          return await withContents(tx.sql, namespace);
        }),
      );
    },

    updateNamespace: (caller, name, change) =>
      asConflict(duplicateNamespace(change.namespace), () =>
        write(caller, name, 'modify_metadef_namespace', (tx, namespace) =>
          saveNamespace(tx.sql, namespace.key, { ...change, owner: change.owner ?? namespace.owner }, clock.nowText()),
        ),
      ),

    deleteNamespace: (caller, name) =>
      write(caller, name, 'delete_metadef_namespace', async (tx, namespace) => {
        mayLoseThings(namespace);
        await deleteNamespace(tx.sql, namespace.key);
      }),

    items: async (caller, name, kind) => await selectItems(database.sql, (await read(caller, name)).key, kind),

    async item(caller, name, kind, itemName) {
      const found = await findItem(database.sql, (await read(caller, name)).key, kind, itemName);
      if (found === undefined) throw noItem(kind, itemName, name);
      return found;
    },

    addItem: (caller, name, kind, item) =>
      asConflict(duplicateItem(kind, item.name, name), () =>
        write(caller, name, `add_metadef_${kind}`, async (tx, namespace) => {
          const at = clock.nowText();
          await insertItems(tx.sql, namespace.key, kind, [item], at);
          return { ...item, createdAt: at, updatedAt: at };
        }),
      ),

    replaceItem: (caller, name, kind, itemName, item) =>
      asConflict(duplicateItem(kind, item.name, name), () =>
        write(caller, name, `modify_metadef_${kind}`, async (tx, namespace) => {
          const saved = await saveItem(tx.sql, namespace.key, kind, itemName, item, clock.nowText());
          if (saved === undefined) throw noItem(kind, itemName, name);
          return saved;
        }),
      ),

    removeItem: (caller, name, kind, itemName) =>
      write(caller, name, `delete_metadef_${kind}`, async (tx, namespace) => {
        mayLoseThings(namespace);
        if ((await deleteItems(tx.sql, namespace.key, kind, itemName)) === 0) throw noItem(kind, itemName, name);
      }),

    removeItems: (caller, name, kind) =>
      write(caller, name, `delete_metadef_${kind}s`, async (tx, namespace) => {
        mayLoseThings(namespace);
        await deleteItems(tx.sql, namespace.key, kind);
      }),

    setTags: (caller, name, tags, { append }) =>
      asConflict(conflict('Tags of one namespace have different names.'), () =>
        write(caller, name, 'add_metadef_tags', async (tx, namespace) => {
          if (!append) await deleteItems(tx.sql, namespace.key, 'tag');
          const items = tags.map((tag) => ({ name: tag, definition: {} }));
          await insertItems(tx.sql, namespace.key, 'tag', items, clock.nowText());
        }),
      ),

    async resourceTypes(caller) {
      authoriseReading(caller);
      const rows = await selectResourceTypes(database.sql);
      return rows.map((row) => ({ name: row.name, createdAt: row.created_at, updatedAt: row.updated_at }));
    },

    async associations(caller, name) {
      const { key } = await read(caller, name);
      return (await selectAssociations(database.sql, [key])).get(key) ?? [];
    },

    associate: (caller, name, order) =>
      asConflict(
        conflict(
          `The metadata definition resource-type association of resource-type=${order.resourceType} to namespace=${name} already exists.`,
        ),
        () =>
          write(caller, name, 'add_metadef_resource_type_association', (tx, namespace) =>
            insertAssociation(tx.sql, namespace.key, order, clock.nowText()),
          ),
      ),

    dissociate: (caller, name, resourceType) =>
      write(caller, name, 'remove_metadef_resource_type_association', async (tx, namespace) => {
        mayLoseThings(namespace);
        if (await deleteAssociation(tx.sql, namespace.key, resourceType)) return;
        throw notFound(
          `The metadata definition resource-type association of resource-type=${resourceType} to namespace=${name}, was not found.`,
        );
      }),
  };
}

const isVisible = (caller: Caller, namespace: Namespace): boolean =>
  namespace.visibility === 'public' || canSee(caller, { projectId: namespace.owner });

async function visibleNamespace(
  db: Queries,
  caller: Caller,
  name: string,
  find: (db: Queries, name: string) => Promise<Namespace | undefined>,
): Promise<Namespace> {
  const namespace = await find(db, name);
  if (namespace === undefined || !isVisible(caller, namespace)) throw noNamespace(name);
  return namespace;
}

function authoriseReading(caller: Caller): void {
  if (!isAllowed(caller, 'metadef:get', { projectId: null })) throw notAuthorised('get_metadef_namespaces');
}

function authoriseChange(caller: Caller, action: string): void {
  if (!isAllowed(caller, 'metadef:change', { projectId: null })) throw notAuthorised(action);
}

const notAuthorised = (action: string) => forbidden(`You are not authorized to complete ${action} action.`);

function ownerOf(caller: Caller, named: string | undefined): string {
  const owner = named ?? caller.projectId;
  if (owner === null) throw badRequest('A namespace belongs to a project: name one as its owner.');
  return owner;
}

function mayLoseThings(namespace: Namespace): void {
  if (namespace.protected) throw forbidden(`Metadata definition namespace ${namespace.namespace} is protected and cannot be deleted.`);
}

const noNamespace = (name: string) => notFound(`Metadata definition namespace=${name} was not found.`);
const duplicateNamespace = (name: string) => conflict(`The metadata definition namespace=${name} already exists.`);
const noItem = (kind: ItemKind, name: string, namespace: string) =>
  notFound(`The metadata definition ${kind} with name=${name} was not found in namespace=${namespace}.`);
const duplicateItem = (kind: ItemKind, name: string, namespace: string) =>
  conflict(`A metadata definition ${kind} with name=${name} already exists in namespace=${namespace}.`);

async function asConflict<T>(refusal: Error, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isUniqueViolation(error) ? refusal : error;
  }
}
