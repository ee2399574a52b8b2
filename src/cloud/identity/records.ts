/**
 * Things that Identity keeps for others without much of its own to say: rows with an id, read by many, changed by admins. What is special
 * about one kind is in its checks.
 */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import { conflict } from '../../lib/errors.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type JsonMap, type Schema, type Tx } from '../database/service.ts';
import { authoriseDirectory, type DirectoryAction } from './directory-policy.ts';
import { couldNotFind, duplicate } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface Kept {
  readonly id: string;
  readonly name?: string;
  /** Merged when it is changed, as far as there is one. */
  readonly extra?: JsonMap;
}

/** Undefined values of a filter do not count; of changes they leave what is there. */
export type Some<R> = { readonly [Key in keyof R]?: R[Key] | undefined };

export interface Records<R extends Kept> {
  list(asker: ValidToken, filter: Some<R>): Promise<R[]>;
  get(asker: ValidToken, id: string): Promise<R>;
  create(asker: ValidToken, record: R): Promise<R>;
  /** All of them or none. */
  createAll(asker: ValidToken, records: readonly R[]): Promise<readonly R[]>;
  update(asker: ValidToken, id: string, changes: Some<Omit<R, 'id'>>): Promise<R>;
  delete(asker: ValidToken, id: string): Promise<void>;
}

type Noun = 'service' | 'endpoint' | 'region' | 'endpoint_group' | 'policy' | 'consumer' | 'registered_limit' | 'limit';

export interface RecordKind<R extends Kept> {
  readonly noun: Noun;
  readonly listAction: DirectoryAction;
  readonly createAction: DirectoryAction;
  readonly table: keyof Schema;
  /** Column names by property. */
  readonly columns: { readonly [Key in keyof R & string]-?: string };
  /** Refuses what must not be stored. `old` is what is there, when it is changed. */
  readonly check?: (tx: Tx, record: R, old: R | undefined) => Promise<void>;
  readonly beforeDelete?: (tx: Tx, record: R) => Promise<void>;
}

type Db = Kysely<Schema>;

export function createRecords<R extends Kept>({ database }: { database: Database }, kind: RecordKind<R>): Records<R> {
  const { noun } = kind;
  const rows = recordRows(kind);

  async function existing(id: string): Promise<R> {
    const record = await rows.find(database.sql, id, sql``);
    if (record === undefined) throw couldNotFind(noun, id);
    return record;
  }

  async function locked(tx: Tx, id: string): Promise<R> {
    const record = await rows.find(tx.sql, id, sql`FOR UPDATE`);
    if (record === undefined) throw couldNotFind(noun, id);
    return record;
  }

  async function createAll(asker: ValidToken, records: readonly R[]): Promise<readonly R[]> {
    authoriseDirectory(asker, kind.createAction);
    await database.transact(async (tx) => {
      for (const record of records) {
        await kind.check?.(tx, record, undefined);
        await wording(noun, record, () => rows.insert(tx.sql, record));
      }
    });
    return records;
  }

  return {
    async list(asker, filter) {
      authoriseDirectory(asker, kind.listAction);
      return rows.list(database.sql, filter);
    },
    async get(asker, id) {
      authoriseDirectory(asker, `get_${noun}`);
      return existing(id);
    },
    async create(asker, record) {
      await createAll(asker, [record]);
      return record;
    },
    createAll,
    async update(asker, id, changes) {
      authoriseDirectory(asker, `update_${noun}`);
      const work = async (tx: Tx) => {
        const old = await locked(tx, id);
        const record = merged(old, changes);
        await kind.check?.(tx, record, old);
        await rows.update(tx.sql, record);
        return record;
      };
      return wording(noun, { id, ...(changes.name === undefined ? {} : { name: changes.name }) }, () => database.transact(work));
    },
    async delete(asker, id) {
      authoriseDirectory(asker, `delete_${noun}`);
      await wording(noun, { id }, () =>
        database.transact(async (tx) => {
          await kind.beforeDelete?.(tx, await locked(tx, id));
          await rows.delete(tx.sql, id);
        }),
      );
    },
  };
}

function merged<R extends Kept>(old: R, changes: Some<Omit<R, 'id'>>): R {
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const extra = old.extra === undefined ? {} : { extra: { ...old.extra, ...changes.extra } };
  return { ...old, ...given, ...extra };
}

async function wording<T>(noun: Noun, record: Kept, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate(noun, record.name ?? record.id);
    if (isForeignKeyViolation(error))
      throw conflict(`Conflict occurred attempting to store ${noun} - ${record.id} is in use, or names what is gone.`);
    throw error;
  }
}

function recordRows<R extends Kept>({ table, columns }: Pick<RecordKind<R>, 'table' | 'columns'>) {
  const keys = Object.keys(columns) as (keyof R & string)[];
  const column = (key: keyof R & string) => sql.ref(columns[key]);
  const everything = sql`SELECT ${sql.join(keys.map((key) => sql`${column(key)} AS ${sql.ref(key)}`))} FROM ${sql.table(table)}`;
  const select = async (db: Db, rest: RawBuilder<unknown>): Promise<R[]> => (await sql<R>`${everything} ${rest}`.execute(db)).rows;

  return {
    async list(db: Db, filter: Some<R>): Promise<R[]> {
      const wanted = keys.filter((key) => filter[key] !== undefined).map((key) => sql`${column(key)} IS NOT DISTINCT FROM ${filter[key]}`);
      return select(db, sql`WHERE ${sql.join([sql`true`, ...wanted], sql` AND `)} ORDER BY ${column('id')}`);
    },
    async find(db: Db, id: string, locking: RawBuilder<unknown>): Promise<R | undefined> {
      return (await select(db, sql`WHERE ${column('id')} = ${id} ${locking}`))[0];
    },
    async insert(db: Db, record: R): Promise<void> {
      const values = keys.map((key) => sql`${record[key]}`);
      await sql`INSERT INTO ${sql.table(table)} (${sql.join(keys.map(column))}) VALUES (${sql.join(values)})`.execute(db);
    },
    async update(db: Db, record: R): Promise<void> {
      const values = keys.map((key) => sql`${column(key)} = ${record[key]}`);
      await sql`UPDATE ${sql.table(table)} SET ${sql.join(values)} WHERE ${column('id')} = ${record.id}`.execute(db);
    },
    async delete(db: Db, id: string): Promise<void> {
      await sql`DELETE FROM ${sql.table(table)} WHERE ${column('id')} = ${id}`.execute(db);
    },
  };
}
