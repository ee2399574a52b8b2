/** Databases for tests: real PostgreSQL, fresh for each call, with the product's schema in it. */
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { inject } from 'vitest';
import type { ConnectionTarget } from '../../src/cloud/database/connection.ts';
import { migrate } from '../../src/cloud/database/migrations.ts';
import { type Database, openDatabase } from '../../src/cloud/database/service.ts';
import { openSagaQueue } from '../../src/cloud/jobs/queue.ts';
import { type Log, silentLog } from '../../src/lib/log.ts';

export type TestServer = Exclude<ConnectionTarget, string>;

export interface TestDatabase {
  readonly database: Database;
  /** For a second process, or for what opens its own connections. */
  readonly connection: TestServer;
  /** Closes the pool and drops the database, whoever is still connected to it. */
  drop(): Promise<void>;
}

const templateName = 'stillpoint_template';
export const migrationsFolder = fileURLToPath(new URL('../../migrations', import.meta.url));

/** Makes a fresh, migrated database on the server of this test run. */
export async function testDatabase(options: { poolMax?: number; log?: Log } = {}): Promise<TestDatabase> {
  const server = inject('postgres');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdministrator(server, `CREATE DATABASE ${name} TEMPLATE ${templateName} STRATEGY file_copy`);
  const connection = { ...server, database: name };
  const database = openDatabase({ connection, poolMax: options.poolMax ?? 10, log: options.log ?? silentLog });
  return {
    database,
    connection,
    async drop() {
      await database.close();
      await asAdministrator(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

/** The database that all others are copied from: the migrations have run, the queue's schema is there. */
export async function makeTemplate(server: TestServer): Promise<void> {
  await asAdministrator(server, `CREATE DATABASE ${templateName}`);
  const connection = { ...server, database: templateName };
  const database = openDatabase({ connection, poolMax: 2, log: silentLog });
  await migrate(database, migrationsFolder);
  await database.close();
  const queue = await openSagaQueue({ connection, log: silentLog });
  await queue.close();
}

async function asAdministrator(server: TestServer, sql: string): Promise<void> {
  const client = new pg.Client({ ...server, database: 'postgres' });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
