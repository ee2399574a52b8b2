/** Everything that the service is made of, put together by the product's own composition, in this process and without its fronts. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import { expect } from 'vitest';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import { type Log, silentLog } from '../../src/lib/log.ts';
import { type Cloud, composeCloud } from '../../src/main/compose.ts';
import { readConfig } from '../../src/main/config.ts';
import { makeStateDir, type StatePaths } from '../../src/main/state-dir.ts';
import { type TestDatabase, testDatabase } from './database.ts';

export interface WholeCloud extends Cloud {
  readonly held: TestDatabase;
  readonly paths: StatePaths;
  /** What was logged as a warning. */
  readonly warnings: readonly string[];
  /** The status of a row, or `gone`, once no job works on it any more. */
  settled(table: Table, id: string): Promise<string>;
  /** Every row is where no job has to bring it. */
  mustBeSettled(): Promise<void>;
  /** Waits until the files of layers, images and half-written things are those that the rows tell. */
  mustHaveNoStrays(): Promise<void>;
  stop(): Promise<void>;
}

const waitMs = 30_000;

type Table = 'volumes' | 'snapshots' | 'images' | 'backups';

const transient = new Set(
  'creating downloading deleting extending backing-up restoring-backup restoring reverting uploading saving attaching detaching'.split(' '),
);

export async function startWholeCloud(stateDir: string): Promise<WholeCloud> {
  const runtime = await mkdtemp(join(tmpdir(), 'sp-run-'));
  const config = {
    ...readConfig({ STILLPOINT_STATE_DIR: stateDir, STILLPOINT_DISK_RESERVE_BYTES: '0' }),
    // Sockets, and the notes beside them, are no part of what is filled.
    runtimeDir: join(runtime, 'run'),
  };
  const paths = makeStateDir(config);
  const held = await testDatabase();
  const warnings: string[] = [];
  const log: Log = {
    ...silentLog,
    warn: (fields: { error?: unknown }, message: string) => void warnings.push(`${message}: ${fields.error}`),
  };
  const ballast = { figures: async () => ({ sizeBytes: 0, presentBytes: 0 }) };
  const cloud = await composeCloud({ sealingKey: randomBytes(32), config, paths, ...held, ballast, log });
  const [repositoryPath, keyFile] = [join(paths.repositories, 'default'), join(paths.keys, 'default.key')];
  await mkdir(paths.images, { recursive: true });
  await cloud.prepare({ adminPassword: 'secret', repositoryPath, keyFile });
  await cloud.startWorking();

  const unfinished = async (id: string): Promise<boolean> =>
    // A discard is tried for as long as it takes, and nobody waits for it.
    (await cloud.jobs.find(id)).some(({ kind, status }) => kind !== 'backup.discard' && ['pending', 'running', 'undoing'].includes(status));
  const statusOf = async (table: Table, id: string): Promise<string> => {
    const row = await held.database.sql.selectFrom(table).select('status').where('id', '=', id).executeTakeFirst();
    return row?.status ?? 'gone';
  };

  return {
    ...cloud,
    held,
    paths,
    warnings,
    async settled(table, id) {
      await until(async () => !transient.has(await statusOf(table, id)) && !(await unfinished(id)), `${table} ${id} to settle`);
      return await statusOf(table, id);
    },
    async mustBeSettled() {
      for (const table of ['volumes', 'snapshots', 'images', 'backups'] as const) {
        const rows = await held.database.sql.selectFrom(table).select(['id', 'status']).execute();
        expect(rows.filter(({ status }) => transient.has(status))).toEqual([]);
      }
    },
    async mustHaveNoStrays() {
      let found: string[] = [];
      const look = async (): Promise<boolean> => {
        found = await strays(held, paths, repositoryPath);
        return found.length === 0;
      };
      await until(look, 'left-over files to go').catch(() => expect(found).toEqual([]));
    },
    async stop() {
      await cloud.stop();
      await held.drop();
      await rm(runtime, { recursive: true, force: true });
    },
  };
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + waitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await pause(15);
  }
}

/** Files that no row names, and rows whose file is missing. */
async function strays({ database }: TestDatabase, paths: StatePaths, repositoryPath: string): Promise<string[]> {
  const { rows } = await sql<{ path: string; state: string }>`
    SELECT home::text || '/' || id::text || '.' || format AS path, state FROM layers`.execute(database.sql);
  const expected = new Set(rows.map(({ path }) => path));
  const layers = await filesBelow(paths.volumes);
  // Notes about a layer lie beside it under a longer name.
  const unknown = layers.filter(
    (file) => ![...expected].some((path) => file === path || (file.startsWith(`${path}.`) && !file.endsWith('.new'))),
  );
  const missing = rows.filter(({ path, state }) => state !== 'planned' && !layers.includes(path)).map(({ path }) => `${path} is missing`);
  const planned = rows.filter(({ state }) => state !== 'top' && state !== 'frozen').map(({ path, state }) => `${path} is ${state}`);
  const images = await database.sql.selectFrom('images').select(['id', 'status']).execute();
  const kept = new Set(images.filter(({ status }) => status === 'active').map(({ id }) => `${id}/data`));
  const uploads = (await filesBelow(paths.images)).filter((file) => !kept.has(file));
  const halfWritten = await filesBelow(join(repositoryPath, 'tmp'));
  return [...unknown, ...missing, ...planned, ...uploads, ...halfWritten];
}

async function filesBelow(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const files = await Promise.all(
    names.map(async (name) => ((await stat(join(folder, name)).catch(() => undefined))?.isFile() === true ? [name] : [])),
  );
  return files.flat();
}

export function projectCaller(projectId: string): Caller {
  return { userId: `user-${projectId}`, userName: 'ada', projectId, roles: ['member', 'admin'], isAdmin: true, requestId: 'req-test' };
}
