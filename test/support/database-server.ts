/** Real PostgreSQL for tests and for programs that are no tests: a server in a folder of its own, and fresh databases in it. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import type { ConnectionTarget } from '../../src/cloud/database/connection.ts';
import { startEmbeddedPostgres } from '../../src/cloud/database/embedded-postgres.ts';
import { migrate } from '../../src/cloud/database/migrations.ts';
import { findPostmaster, stopPostmaster } from '../../src/cloud/database/postmaster.ts';
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

const rootPrefix = 'stillpoint-test-';
const ownerFile = 'vitest.pid';
const templateName = 'stillpoint_template';
const migrationsFolder = fileURLToPath(new URL('../../migrations', import.meta.url));

/** The server would outlive a run that was killed (as it should outlive the service), so each run first ends what earlier ones left. */
export async function startDatabaseServer(): Promise<{ readonly server: TestServer; stop(): Promise<void> }> {
  await endAbandoned();
  const root = await mkdtemp(join(tmpdir(), rootPrefix));
  await chmod(root, 0o711);
  await writeFile(join(root, ownerFile), String(process.pid));
  const postgres = await startEmbeddedPostgres({
    stateDir: join(root, 'state'),
    runtimeDir: join(root, 'run'),
    log: silentLog,
    durable: false,
  });
  const stop = async (): Promise<void> => {
    await postgres.stop();
    await rm(root, { recursive: true, force: true });
  };
  await makeTemplate(postgres.connection).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { server: postgres.connection, stop };
}

/** Makes a fresh, migrated database. */
export async function makeDatabase(server: TestServer, options: { poolMax?: number; log?: Log } = {}): Promise<TestDatabase> {
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
async function makeTemplate(server: TestServer): Promise<void> {
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

/** Servers of runs whose process is gone. */
async function endAbandoned(): Promise<void> {
  for (const name of (await readdir(tmpdir())).filter((entry) => entry.startsWith(rootPrefix))) {
    const root = join(tmpdir(), name);
    const owner = Number(await readFile(join(root, ownerFile), 'utf8').catch(() => ''));
    if (!(owner > 0) || isAlive(owner)) continue;
    const dataDir = join(root, 'state', 'postgres', 'data');
    const server = await findPostmaster(dataDir);
    if (server !== undefined) await stopPostmaster(server, dataDir);
    await rm(root, { recursive: true, force: true });
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
