import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { clientConfig } from '../../src/cloud/database/connection.ts';
import { migrate } from '../../src/cloud/database/migrations.ts';
import { json, openDatabase } from '../../src/cloud/database/service.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';

let held: TestDatabase;

beforeEach(async () => {
  held = await testDatabase();
});

afterEach(() => held.drop());

async function addEvent(values: { created_at?: string; payload?: string } = {}): Promise<number> {
  const event = { kind: 'k', resource_type: 't', resource_id: newId(), ...values };
  return (await held.database.sql.insertInto('events').values(event).returning('id').executeTakeFirstOrThrow()).id;
}

describe('values', () => {
  test('keep microseconds in times, whatever their last digits', async () => {
    for (const created_at of ['2026-11-21T03:00:00.123456', '2026-11-21T03:00:00.120000', '2026-11-21T03:00:00.000000']) {
      const id = await addEvent({ created_at });
      const row = await held.database.sql.selectFrom('events').select('created_at').where('id', '=', id).executeTakeFirstOrThrow();
      expect(row.created_at).toBe(created_at);
    }
    const { rows } = await sql<{
      apart: number;
    }>`SELECT abs(extract(epoch FROM now() - ${systemClock.nowText()}::timestamptz))::float8 AS apart`.execute(held.database.sql);
    expect(rows[0]?.apart).toBeLessThan(5);
  });

  test('of jsonb come back as they went in, arrays and null included', async () => {
    const payload = { list: [1, 'two', null], nested: { deep: true } };
    const id = await addEvent({ payload: json(payload) });
    const row = await held.database.sql.selectFrom('events').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(row.payload).toEqual(payload);
  });

  test('beyond what a number can hold are an error, not a wrong number', async () => {
    const read = (text: string) => sql<{ value: number }>`SELECT ${sql.raw(text)}::bigint AS value`.execute(held.database.sql);
    expect((await read('9007199254740991')).rows[0]?.value).toBe(Number.MAX_SAFE_INTEGER);
    await expect(read('9007199254740993')).rejects.toThrow('beyond 2^53');
  });

  test('are read alike through a URL that has options of its own', async () => {
    const { host, user, database } = held.connection;
    const url = `postgresql://${user}@localhost/${database}?host=${encodeURIComponent(host)}&options=${encodeURIComponent('-c TimeZone=Asia/Tokyo -c work_mem=5MB')}`;
    const other = openDatabase({ connection: url, poolMax: 1, log: silentLog });
    const { rows } = await sql<{ zone: string; memory: string }>`
      SELECT current_setting('TimeZone') AS zone, current_setting('work_mem') AS memory`.execute(other.sql);
    await other.close();
    expect(rows[0]).toEqual({ zone: 'UTC', memory: '5MB' });
    expect(clientConfig(url, 'x').connectionString).toContain('TimeZone');
  });
});

describe('a transaction', () => {
  test('runs its callbacks after the commit only, and none when it fails', async () => {
    const seen: unknown[] = [];
    const count = async (): Promise<number> => (await held.database.sql.selectFrom('events').select('id').execute()).length;
    const counted = held.database.transact(async (tx) => {
      tx.afterCommit(() => seen.push(count()));
      await tx.sql.insertInto('events').values({ kind: 'k', resource_type: 't', resource_id: 'r' }).execute();
    });
    await counted;
    expect(await seen[0]).toBe(1);
    const failed = held.database.transact(async (tx) => {
      tx.afterCommit(() => seen.push('never'));
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    expect(seen).toHaveLength(1);
  });

  test('that meets a deadlock runs again, and its callbacks run once', async () => {
    const ids = [await addEvent(), await addEvent()];
    const bothHoldOne = Promise.withResolvers<void>();
    let holding = 0;
    let attempts = 0;
    let callbacks = 0;
    const lockBoth = (order: number[]): Promise<void> =>
      held.database.transact(async (tx) => {
        attempts += 1;
        tx.afterCommit(() => {
          callbacks += 1;
        });
        for (const id of order) {
          await tx.sql.updateTable('events').set({ kind: 'locked' }).where('id', '=', id).execute();
          holding += 1;
          if (holding === 2) bothHoldOne.resolve();
          await bothHoldOne.promise;
        }
      });
    await Promise.all([lockBoth(ids), lockBoth(ids.toReversed())]);
    // The one that gave way runs again, and may have to a second time.
    expect(attempts).toBeGreaterThanOrEqual(3);
    expect(callbacks).toBe(2);
  });

  test('refuses a second connection inside itself, which could wait for ever', async () => {
    const { database } = held;
    await expect(database.transact(() => database.sql.selectFrom('events').select('id').execute())).rejects.toThrow('use tx.sql');
    await expect(database.transact(() => database.transact(async () => {}))).rejects.toThrow('use tx.sql');
  });
});

test('the table types name exactly the columns that the migrations make, and which may be null', async () => {
  const source = await readFile(new URL('../../src/cloud/database/schema.ts', import.meta.url), 'utf8');
  const tables = new Map([...source.matchAll(/^ {2}(\w+): (\w+Table);$/gm)].map(([, table, type]) => [type, table]));
  const typed = [...source.matchAll(/^export interface (\w+Table) \{\n([^}]*(?:\{[^}]*\}[^}]*)*)\n\}$/gm)].flatMap(([, type, body = '']) =>
    [...body.matchAll(/^ {2}(\w+): (.*);$/gm)].map(
      ([, column, text = '']) => `${tables.get(type)}.${column}${/null|Nullable/.test(text) ? '?' : ''}`,
    ),
  );
  const { rows } = await sql<{ name: string }>`
    SELECT table_name || '.' || column_name || CASE is_nullable WHEN 'YES' THEN '?' ELSE '' END AS name
      FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'`.execute(held.database.sql);
  expect(typed.sort()).toEqual(rows.map((row) => row.name).sort());
  expect(typed.length).toBeGreaterThan(100);
});

describe('migrations', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillpoint-migrations-'));
    await sql`DROP TABLE schema_migrations`.execute(held.database.sql);
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  const write = (name: string, text: string): Promise<void> => writeFile(join(folder, name), text);

  test('run once, in order, also when two services start at once', async () => {
    await write('0001-first.sql', 'CREATE TABLE first (id int)');
    await write('0002-second.sql', 'CREATE TABLE second AS SELECT * FROM first');
    const both = await Promise.all([migrate(held.database, folder), migrate(held.database, folder)]);
    expect(both.flat()).toEqual(['0001-first', '0002-second']);
    expect(await migrate(held.database, folder)).toEqual([]);
  });

  test('that fail leave nothing behind and say what is wrong', async () => {
    await write('0001-first.sql', 'CREATE TABLE half (id int); SELECT nonsense');
    await expect(migrate(held.database, folder)).rejects.toThrow('migration 0001-first failed: column "nonsense" does not exist');
    await write('0001-first.sql', 'CREATE TABLE half (id int)');
    expect(await migrate(held.database, folder)).toEqual(['0001-first']);
  });

  test('refuse a database that is newer, a file that was changed, and a gap', async () => {
    await write('0001-first.sql', 'CREATE TABLE first (id int)');
    await write('0002-second.sql', 'CREATE TABLE second (id int)');
    await migrate(held.database, folder);
    await write('0001-first.sql', 'CREATE TABLE first (id bigint)');
    await expect(migrate(held.database, folder)).rejects.toThrow('migrations are never changed');
    await write('0001-first.sql', 'CREATE TABLE first (id int)');
    await rm(join(folder, '0002-second.sql'));
    await expect(migrate(held.database, folder)).rejects.toThrow('the database is newer than this program: it has migration 0002-second');
    await write('0003-third.sql', '');
    await expect(migrate(held.database, folder)).rejects.toThrow('migration 0003-third should have number 2');
  });
});
