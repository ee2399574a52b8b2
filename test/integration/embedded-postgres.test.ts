import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/cloud/database/embedded-postgres.ts';
import { type Database, openDatabase } from '../../src/cloud/database/service.ts';
import { silentLog } from '../../src/lib/log.ts';
import { mustRun } from '../support/clients.ts';

const run = promisify(execFile);
const moduleUrl = new URL('../../src/cloud/database/embedded-postgres.ts', import.meta.url);

let root: string;
let server: EmbeddedPostgres | undefined;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'stillpoint-pg-'));
});

afterEach(async () => {
  await server?.stop();
  server = undefined;
  await rm(root, { recursive: true, force: true });
});

const options = () => ({ stateDir: join(root, 'state'), runtimeDir: join(root, 'run'), log: silentLog, durable: false });

async function start(durable = false): Promise<EmbeddedPostgres> {
  server = await startEmbeddedPostgres({ ...options(), durable });
  return server;
}

async function withDatabase<T>(postgres: EmbeddedPostgres, work: (database: Database) => Promise<T>): Promise<T> {
  const database = openDatabase({ connection: postgres.connection, poolMax: 2, log: silentLog });
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

async function processId(): Promise<number> {
  return Number((await readFile(join(root, 'state/postgres/data/postmaster.pid'), 'utf8')).split('\n')[0]);
}

test('it is durable, hears on a private socket only, is never root, and starts again quickly', async () => {
  const first = await start(true);
  const settings = await withDatabase(first, async (database) => {
    await sql`CREATE TABLE kept (id int)`.execute(database.sql);
    const { rows } = await sql<{ name: string; setting: string }>`
      SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'listen_addresses', 'data_checksums')`.execute(
      database.sql,
    );
    return Object.fromEntries(rows.map((row) => [row.name, row.setting]));
  });
  expect(settings).toEqual({ fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on', listen_addresses: '', data_checksums: 'on' });
  expect((await stat(first.connection.host)).mode & 0o777).toBe(0o700);
  expect((await stat(`/proc/${await processId()}`)).uid).not.toBe(0);
  await first.stop();
  const startedAt = performance.now();
  const second = await start(true);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  await withDatabase(second, (database) => sql`SELECT * FROM kept`.execute(database.sql));
});

test('a service that was killed finds its server still running, and adopts it', async () => {
  const script = `
    const { startEmbeddedPostgres } = await import(${JSON.stringify(moduleUrl.href)});
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    await startEmbeddedPostgres({ ...${JSON.stringify({ ...options(), log: undefined })}, log });
    console.log('ready');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const before = await processId();
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));
  await start();
  expect(await processId()).toBe(before);
});

test('a server that was killed is started again, and what was committed is there', async () => {
  const postgres = await start();
  await withDatabase(postgres, async (database) => {
    await sql`CREATE TABLE kept (id int)`.execute(database.sql);
    const before = await processId();
    process.kill(before, 'SIGKILL');
    await expect
      .poll(
        () =>
          sql`SELECT * FROM kept`.execute(database.sql).then(
            () => 'answers',
            () => 'does not',
          ),
        { timeout: 15_000 },
      )
      .toBe('does not');
    await expect
      .poll(
        () =>
          sql`SELECT * FROM kept`.execute(database.sql).then(
            () => 'answers',
            () => 'does not',
          ),
        { timeout: 15_000 },
      )
      .toBe('answers');
    expect(await processId()).not.toBe(before);
  });
});

test('a second service on the same state directory is refused', async () => {
  await start();
  await expect(startEmbeddedPostgres(options())).rejects.toThrow(`another service already uses the state directory ${join(root, 'state')}`);
});

test('a pid file that names a stranger does not keep it from starting', async () => {
  await (await start()).stop();
  await writeFile(join(root, 'state/postgres/data/postmaster.pid'), `${process.pid}\n${join(root, 'state/postgres/data')}\n`);
  await start();
});

test('a runtime directory that is too long for a socket is named', async () => {
  const runtimeDir = join(root, 'x'.repeat(90));
  await expect(startEmbeddedPostgres({ ...options(), runtimeDir })).rejects.toThrow('107 is the limit');
});

// Only root can make a file system that may be filled.
test.runIf(process.getuid?.() === 0)(
  'on a full disk it is given space until it starts, and fails in its own words when there is none',
  async () => {
    const state = join(root, 'state');
    await mkdir(state);
    await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=160m,mode=711', 'tmpfs', state]);
    try {
      await (await start()).stop();
      server = undefined;
      const parts = ['first', 'second'].map((name) => join(state, name));
      for (const part of parts) await writeFile(part, randomBytes(8 * 2 ** 20));
      await run('dd', ['if=/dev/zero', `of=${join(state, 'filler')}`, 'bs=4k']).catch(() => {});
      await expect(start()).rejects.toThrow(/PostgreSQL ended with code 1: .*No space left on device/);
      const reasons: string[] = [];
      const makeSpace = async (reason: string): Promise<boolean> => {
        reasons.push(reason);
        const part = parts.shift();
        if (part !== undefined) await rm(part);
        return part !== undefined;
      };
      server = await startEmbeddedPostgres({ ...options(), makeSpace });
      expect(reasons.length).toBeGreaterThan(0);
      expect(reasons[0]).toContain('No space left on device');
      await withDatabase(server, (database) => sql`CREATE TABLE made_on_what_was_freed (id int)`.execute(database.sql));
    } finally {
      await server?.stop();
      server = undefined;
      await mustRun('umount', [state]);
    }
  },
);
