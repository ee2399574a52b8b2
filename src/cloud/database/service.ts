/**
 * The database of one process: a pool for queries, transactions with callbacks that run after the commit, and dedicated sessions for
 * what lives as long as a connection does (advisory locks, LISTEN).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { type CompiledQuery, Kysely, PostgresDialect, type PostgresPool, type Transaction } from 'kysely';
import pg from 'pg';
import { type ProductError, unavailable } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { type ConnectionTarget, clientConfig } from './connection.ts';
import type { Json, Schema } from './schema.ts';

export type { ConnectionTarget } from './connection.ts';
export type { Json, JsonMap, Schema, StringMap, Timestamp } from './schema.ts';

export interface Tx {
  readonly sql: Transaction<Schema>;
  /** Runs once, and only after COMMIT succeeded. What it throws is logged: the transaction is done by then. */
  afterCommit(callback: () => void): void;
}

export interface Database {
  /**
   * For reads and single statements outside a transaction. Inside `transact` it throws: it would be a second connection, which does not
   * see what the transaction wrote, and enough requests that hold one connection and wait for another wait for ever.
   */
  readonly sql: Kysely<Schema>;
  /**
   * Runs `work` in one READ COMMITTED transaction. After a deadlock or a serialization failure the whole of `work` runs again, a few
   * times at most; so it must not touch anything but the database.
   */
  transact<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /**
   * Runs a read under a name, so that each connection parses and plans it once only. For the few statements that every request runs:
   * with many joins the planning costs several times what the rest does. The text behind a name must never vary.
   */
  prepared<Row>(name: string, statement: CompiledQuery<Row>): Promise<readonly Row[]>;
  /** A connection of its own, outside the pool. Whoever asked for it listens for its `end` and `error`, and closes it. */
  openSession(purpose: string): Promise<pg.Client>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  readonly connection: ConnectionTarget;
  readonly poolMax: number;
  readonly log: Log;
}

const transactionAttemptsMax = 5;
const retryPauseMs = 5;
const diskFull = '53100';
/** Of PostgreSQL's classes "connection exception" and "operator intervention". */
const outageCodes = /^(?:08\d{3}|57P0[1-5])$/;
const retriedCodes = new Set(['40001', '40P01']);

export function openDatabase(options: DatabaseOptions): Database {
  const { log } = options;
  const pool = new pg.Pool({ ...clientConfig(options.connection, 'stillpoint'), max: options.poolMax, idleTimeoutMillis: 0 });
  // An idle connection that breaks has no query to fail; the pool replaces it.
  pool.on('error', (error) => log.warn({ error: error.message }, 'a database connection was lost'));
  // One that breaks while it is in use fails its query and says it again as an event, which would end the process if nobody heard it.
  pool.on('connect', (client) => client.on('error', () => {}));
  const transactions = new AsyncLocalStorage<{ open: boolean }>();
  const sql = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: guarded(pool, () => transactions.getStore()?.open === true) }) });

  async function attempt<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    const callbacks: (() => void)[] = [];
    const state = { open: true };
    const result = await sql
      .transaction()
      .execute((transaction) =>
        transactions.run(state, () => work({ sql: transaction, afterCommit: (callback) => void callbacks.push(callback) })),
      )
      .finally(() => {
        state.open = false;
      });
    for (const callback of callbacks) {
      try {
        callback();
      } catch (error) {
        log.error({ error }, 'a callback after a commit failed');
      }
    }
    return result;
  }

  return {
    sql,
    async transact(work) {
      for (let attempts = 1; ; attempts += 1) {
        try {
          return await attempt(work);
        } catch (error) {
          if (attempts >= transactionAttemptsMax || !retriedCodes.has(sqlState(error) ?? '')) throw error;
          log.debug({ attempts, code: sqlState(error) }, 'a transaction runs again');
          // Who won the deadlock may need a moment more, and would meet this one again.
          await pause(retryPauseMs * 2 ** attempts);
        }
      }
    },
    async prepared<Row>(name: string, statement: CompiledQuery<Row>) {
      const result = await pool.query({ name, text: statement.sql, values: [...statement.parameters] });
      return result.rows as Row[];
    },
    async openSession(purpose) {
      const client = new pg.Client(clientConfig(options.connection, `stillpoint ${purpose}`));
      await client.connect();
      return client;
    },
    close: () => sql.destroy(),
  };
}

/** The part of the pool that Kysely uses; it refuses a second connection to whoever is inside a transaction. */
function guarded(pool: pg.Pool, isInTransaction: () => boolean): PostgresPool {
  return {
    options: pool.options,
    connect: () => {
      if (isInTransaction()) throw new Error('a second database connection inside a transaction: use tx.sql there');
      return pool.connect();
    },
    end: () => pool.end(),
  };
}

/** PostgreSQL's five-character code of an error, when it is one of PostgreSQL's. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** True when an insert or update met a row that has the same unique key. */
export function isUniqueViolation(error: unknown): boolean {
  return sqlState(error) === '23505';
}

/** True when a row is still referred to, or what it refers to is gone. */
export function isForeignKeyViolation(error: unknown): boolean {
  return sqlState(error) === '23503';
}

/** What a request is told when the database, and not the request, is at fault: it is full, away, or just starting. Undefined: something else. */
export function outageOf(error: unknown): ProductError | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, syscall } = error as { code?: unknown; syscall?: unknown };
  if (code === diskFull) return unavailable('The disk of the service is full. Deleting something, or making space, helps.', error);
  const away = syscall === 'connect' || outageCodes.test(String(code)) || error.message.startsWith('Connection terminated');
  return away ? unavailable('The database does not answer just now.', error) : undefined;
}

/** The written form of a `jsonb` value. */
export function json(value: Json): string {
  return JSON.stringify(value);
}
