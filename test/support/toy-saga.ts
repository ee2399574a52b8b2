/**
 * A saga small enough to see through and real enough to break: it makes a folder with two files and then says so in a table. Run as a
 * program it is one process of the service: it orders the saga when a crash point is given, and ends when all have settled.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import type { ConnectionTarget, Database } from '../../src/cloud/database/service.ts';
import { openDatabase } from '../../src/cloud/database/service.ts';
import type { SagaDefinition } from '../../src/cloud/jobs/saga.ts';
import { type Jobs, openJobs } from '../../src/cloud/jobs/service.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';

export type ToyInput = { readonly id: string; readonly folder: string /** In its last step. */; readonly fails: boolean };

export const toyKind = 'toy.make';

export function toySaga(database: Database, pauseInStepMs = 0): SagaDefinition<ToyInput> {
  const pathOf = (input: ToyInput): string => join(input.folder, input.id);
  return {
    kind: toyKind,
    steps: [
      {
        name: 'folder',
        async run({ input, effect, signal }) {
          if (pauseInStepMs > 0) await pause(pauseInStepMs, undefined, { signal });
          await effect('make', () => mkdir(pathOf(input), { recursive: true }));
          return { path: pathOf(input) };
        },
        undo: ({ input, effect }) => effect('remove', () => rm(pathOf(input), { recursive: true, force: true })),
      },
      {
        name: 'files',
        async run({ output, note, effect, progress }) {
          const { path } = output<{ path: string }>('folder') ?? { path: '' };
          for (const [index, name] of ['a', 'b'].entries()) {
            await effect(`write-${name}`, () => writeFile(join(path, name), name));
            await note({ written: index + 1 });
            progress({ doneBytes: index + 1, totalBytes: 2 });
          }
          return { written: 2 };
        },
        undo: { notNeeded: 'the folder is removed with what is in it' },
      },
      {
        name: 'announce',
        async run({ input }) {
          if (input.fails) throw new Error('toys are sold out');
          await setToy(database, input.id, 'ready');
          return undefined;
        },
        undo: { notNeeded: 'settle overwrites the status' },
      },
    ],
    settle: ({ input }, failure) => setToy(database, input.id, failure.cancelled ? 'gone' : 'broken'),
  };
}

async function setToy(database: Database, id: string, status: string): Promise<void> {
  await sql`UPDATE toys SET status = ${status} WHERE id = ${id}`.execute(database.sql);
}

export async function statusOfToy(database: Database, id: string): Promise<string | undefined> {
  const { rows } = await sql<{ status: string }>`SELECT status FROM toys WHERE id = ${id}`.execute(database.sql);
  return rows[0]?.status;
}

export async function makeToyTable(database: Database): Promise<void> {
  await sql`CREATE TABLE toys (id text PRIMARY KEY, status text NOT NULL)`.execute(database.sql);
}

export function orderToy(database: Database, jobs: Jobs, input: ToyInput): Promise<string> {
  return database.transact(async (tx) => {
    await sql`INSERT INTO toys VALUES (${input.id}, 'making')`.execute(tx.sql);
    return jobs.start(tx, { kind: toyKind, subjectId: input.id, projectId: null, input });
  });
}

/** Arguments: the connection, the toy's input, how long the first step takes. */
async function main(): Promise<void> {
  const [connectionText = '', inputText = '', pauseText = '0'] = process.argv.slice(2);
  const connection = JSON.parse(connectionText) as ConnectionTarget;
  const input = JSON.parse(inputText) as ToyInput;
  const point = process.env.STILLPOINT_CRASH_POINT;
  const database = openDatabase({ connection, poolMax: 4, log: silentLog });
  const jobs = await openJobs({ database, connection, log: { ...silentLog, error: console.error } });
  jobs.define(toySaga(database, Number(pauseText)));
  await jobs.startWorking();
  if (point !== undefined) {
    armCrashPoint(point, 'kill');
    await orderToy(database, jobs, input);
  }
  while ((await jobs.find(input.id)).some((saga) => !['done', 'failed', 'cancelled'].includes(saga.status))) await pause(20);
  await jobs.stop();
  await database.close();
}

if (process.argv[1] === import.meta.filename) await main();
