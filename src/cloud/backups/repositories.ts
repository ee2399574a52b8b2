/**
 * The repositories that backups are kept in: rows of `repositories`, and their addresses for the data mover.
 *
 * The database knows a repository by its id and where it lies; what is in it, it says itself. There is one for now, called `default`.
 */
import { join } from 'node:path';
import type { DataMover, RepositoryAddress } from '../../engine/transfer/contract.ts';
import { newId } from '../../lib/ids.ts';
import { type Database, json } from '../database/service.ts';

export interface RepositoryPlace {
  readonly storePath: string;
  readonly keyFile: string;
}

export interface RepositoryView {
  readonly id: string;
  readonly name: string;
  readonly storePath: string;
}

export interface Repositories {
  /** At start: makes the default repository when there is none, opens it otherwise; follows it when it was moved to another folder. */
  ensureDefault(place: RepositoryPlace): Promise<void>;
  /** Where new backups go. */
  defaultId(): Promise<string>;
  nameOf(id: string): Promise<string>;
  addressOf(id: string): Promise<RepositoryAddress>;
  list(): Promise<RepositoryView[]>;
}

const defaultName = 'default';

export interface RepositoriesDeps {
  readonly database: Database;
  readonly mover: Pick<DataMover, 'initRepository'>;
  /** The folder of this machine in which each repository gets one for what can be derived anew. */
  readonly cacheRoot: string;
}

export function createRepositories({ database, mover, cacheRoot }: RepositoriesDeps): Repositories {
  const rowOf = async (column: 'id' | 'name', value: string) => {
    const row = await database.sql.selectFrom('repositories').selectAll().where(column, '=', value).executeTakeFirst();
    if (row === undefined) throw new Error(`no repository with ${column} ${value} is known`);
    return row;
  };

  const addressOf = async (id: string): Promise<RepositoryAddress> => {
    const row = await rowOf('id', id);
    return { id, store: { kind: 'filesystem', path: storePathOf(row.store) }, keyFile: row.key_file, cacheDir: join(cacheRoot, id) };
  };

  return {
    async ensureDefault({ storePath, keyFile }) {
      // The row comes first, so that two processes that start together agree on one id before either of them makes anything.
      await database.sql
        .insertInto('repositories')
        .values({ id: newId(), name: defaultName, store: json({ kind: 'filesystem', path: storePath }), key_file: keyFile })
        .onConflict((conflict) =>
          conflict.column('name').doUpdateSet({ store: json({ kind: 'filesystem', path: storePath }), key_file: keyFile }),
        )
        .execute();
      const { id } = await rowOf('name', defaultName);
      await mover.initRepository(await addressOf(id));
    },
    defaultId: async () => (await rowOf('name', defaultName)).id,
    nameOf: async (id) => (await rowOf('id', id)).name,
    addressOf,
    async list() {
      const rows = await database.sql.selectFrom('repositories').selectAll().orderBy('name').execute();
      return rows.map((row) => ({ id: row.id, name: row.name, storePath: storePathOf(row.store) }));
    },
  };
}

function storePathOf(store: { readonly [key: string]: unknown }): string {
  if (store.kind !== 'filesystem' || typeof store.path !== 'string') throw new Error('a repository row names a store of an unknown kind');
  return store.path;
}
