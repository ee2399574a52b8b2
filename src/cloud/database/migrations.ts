/**
 * Brings a database up to the schema that this program was written for: the files `NNNN-name.sql` of one folder, in order, each in a
 * transaction of its own together with the row that says it was done. Forward only.
 *
 * Two services that start at once take turns by an advisory lock. A database that knows a migration this program does not know was
 * written by a newer program: it is refused, as is a migration file that is not the one that ran.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import type { Database } from './service.ts';

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly text: string;
  readonly sha256: string;
}

interface AppliedRow {
  readonly version: number;
  readonly name: string;
  readonly sha256: string;
}

const migrationLock = 0x5350_0002;
const fileName = /^(\d{4})-([a-z0-9-]+)\.sql$/;

/** Applies what is missing and returns the names of what it applied. */
export async function migrate(database: Database, folder: string): Promise<string[]> {
  const known = await readMigrations(folder);
  const session = await database.openSession('migrations');
  try {
    await session.query('SELECT pg_advisory_lock($1)', [migrationLock]);
    const applied = await readApplied(session);
    const missing = planMigrations(known, applied);
    for (const migration of missing) await apply(session, migration);
    return missing.map((migration) => migration.name);
  } finally {
    // Ends the session, and with it the lock.
    await session.end();
  }
}

export async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  const migrations = await Promise.all(
    names.map(async (name) => {
      const match = fileName.exec(name);
      if (match === null) throw new Error(`migration ${name} is not named NNNN-name.sql`);
      const text = await readFile(join(folder, name), 'utf8');
      return {
        version: Number(match[1]),
        name: name.slice(0, -'.sql'.length),
        text,
        sha256: createHash('sha256').update(text).digest('hex'),
      };
    }),
  );
  for (const [index, migration] of migrations.entries()) {
    if (migration.version !== index + 1)
      throw new Error(`migration ${migration.name} should have number ${index + 1}: numbers have no gaps`);
  }
  return migrations;
}

/** What is still to be applied. Throws when the database and the files cannot belong together. */
export function planMigrations(known: readonly Migration[], applied: readonly AppliedRow[]): readonly Migration[] {
  for (const row of applied) {
    const file = known[row.version - 1];
    if (file === undefined) {
      throw new Error(
        `the database is newer than this program: it has migration ${row.name}, the program ends at ${known.at(-1)?.name ?? 'none'}`,
      );
    }
    if (file.name !== row.name || file.sha256 !== row.sha256) {
      throw new Error(
        `migration ${file.name} is not the one that made this database (${row.name}); migrations are never changed once they ran`,
      );
    }
  }
  return known.slice(applied.length);
}

async function readApplied(session: pg.Client): Promise<AppliedRow[]> {
  await session.query(`CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
  )`);
  const { rows } = await session.query<AppliedRow>('SELECT version, name, sha256 FROM schema_migrations ORDER BY version');
  return rows;
}

async function apply(session: pg.Client, migration: Migration): Promise<void> {
  try {
    await session.query('BEGIN');
    await session.query(migration.text);
    await session.query('INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)', [
      migration.version,
      migration.name,
      migration.sha256,
    ]);
    await session.query('COMMIT');
  } catch (cause) {
    await session.query('ROLLBACK').catch(() => {});
    throw new Error(`migration ${migration.name} failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
