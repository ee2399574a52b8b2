import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SagaDefinition, SagaStep } from '../../src/cloud/jobs/saga.ts';
import { type Jobs, openJobs, type SagaStatus } from '../../src/cloud/jobs/service.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';
import { proveKills } from '../support/kill-harness.ts';
import { type MakeFixture, proveSaga } from '../support/saga-harness.ts';
import { makeToyTable, orderToy, statusOfToy, toyKind, toySaga } from '../support/toy-saga.ts';

const toyScript = join(import.meta.dirname, '../support/toy-saga.ts');
const nothing: SagaStep['undo'] = { notNeeded: 'it does nothing' };

let held: TestDatabase;
let folder: string;
const open: Jobs[] = [];

beforeEach(async () => {
  held = await testDatabase();
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-jobs-'));
});

afterEach(async () => {
  for (const jobs of open.splice(0)) await jobs.stop();
  await held.drop();
  await rm(folder, { recursive: true, force: true });
});

/** A service of its own, as another process would be. */
async function service(...definitions: SagaDefinition[]): Promise<Jobs> {
  const jobs = await openJobs({ database: held.database, connection: held.connection, log: silentLog, stopGraceMs: 2_000 });
  for (const definition of definitions) jobs.define(definition);
  open.push(jobs);
  return jobs;
}

async function working(...definitions: SagaDefinition[]): Promise<Jobs> {
  const jobs = await service(...definitions);
  await jobs.startWorking();
  return jobs;
}

const order = (jobs: Jobs, kind: string, subjectId = 'subject'): Promise<string> =>
  held.database.transact((tx) => jobs.start(tx, { kind, subjectId, projectId: null, input: {} }));

const cancel = (jobs: Jobs, subjectId = 'subject'): Promise<boolean> => held.database.transact((tx) => jobs.requestCancel(tx, subjectId));

function saga(kind: string, run: SagaStep['run'], more: Partial<SagaDefinition> = {}): SagaDefinition {
  return { kind, steps: [{ name: 'only', run, undo: nothing }], settle: async () => {}, ...more };
}

const counted = (count: () => number) => async (): Promise<undefined> => {
  count();
};

/** A step that goes on until its signal aborts or the test lets it go. */
function gate(): { started: Promise<void>; release: () => void; run: SagaStep['run']; runs: () => number } {
  let runs = 0;
  let begin = (): void => {};
  const started = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const released = new AbortController();
  return {
    started,
    release: () => released.abort(),
    runs: () => runs,
    async run({ signal }) {
      runs += 1;
      begin();
      await pause(30_000, undefined, { signal: AbortSignal.any([signal, released.signal]) }).catch(() => signal.throwIfAborted());
      return undefined;
    },
  };
}

describe('a saga', () => {
  test('that fails, is cancelled or runs twice anywhere leaves nothing behind', async () => {
    await makeToyTable(held.database);
    const make: MakeFixture = async (tools) => {
      const jobs = await tools.openJobs({ database: held.database, connection: held.connection, log: silentLog });
      jobs.define(toySaga(held.database));
      await jobs.startWorking();
      const id = newId();
      return {
        jobs,
        order: async () => ({ sagaId: await orderToy(held.database, jobs, { id, folder, fails: false }) }),
        check: (status) => expectToy(id, status),
        close: () => jobs.stop(),
      };
    };
    const runs = await proveSaga({ kind: toyKind, make });
    expect(runs).toContain(`fails at ${toyKind}:files:write-b:after`);
    expect(runs).toContain('cancelled before announce');
    expect(runs.length).toBeGreaterThan(15);
  });

  test('whose process is killed on its way forward is finished by the next process', async () => {
    await proveToyKills(false, 'done', ['folder:start', 'folder:make:before', 'folder:make:after', 'files:write-b:after', 'announce:done']);
  });

  test('whose process is killed while undoing is undone by the next process', async () => {
    await proveToyKills(true, 'failed', ['folder:undo:start', 'folder:undo:remove:after', 'settle:start', 'settle:done']);
  });

  test('stores what its steps return before the next one starts, and shows its progress', async () => {
    const seen: unknown[] = [];
    const jobs = await working({
      kind: 'outputs',
      steps: [
        {
          name: 'one',
          run: async () => ({ answer: 42 }),
          undo: nothing,
        },
        {
          name: 'two',
          async run({ output, sagaId, progress }) {
            seen.push(output('one'), output('two'));
            const { rows } = await sql<{ step: string; answer: number }>`
              SELECT step, (outputs->'steps'->'one'->'value'->>'answer')::int AS answer FROM sagas WHERE id = ${sagaId}`.execute(
              held.database.sql,
            );
            seen.push(rows[0]);
            progress({ doneBytes: 2, totalBytes: 2 });
            await expect.poll(async () => (await jobs.find('subject'))[0]?.progress).toEqual({ doneBytes: 2, totalBytes: 2 });
            progress({ doneBytes: 3, totalBytes: 3 });
            return undefined;
          },
          undo: nothing,
        },
      ],
      settle: async () => {},
    });
    expect(await jobs.settled(await order(jobs, 'outputs'))).toBe('done');
    expect(seen).toEqual([{ answer: 42 }, undefined, { step: 'two', answer: 42 }]);
    expect(await jobs.find('subject')).toMatchObject([
      { status: 'done', step: null, progress: { doneBytes: 3, totalBytes: 3 }, failure: null },
    ]);
  });

  test('that is rolled back with its transaction never runs', async () => {
    let runs = 0;
    const jobs = await working(
      saga(
        'rolled-back',
        counted(() => runs++),
      ),
    );
    const doomed = held.database.transact(async (tx) => {
      await jobs.start(tx, { kind: 'rolled-back', subjectId: 'subject', projectId: null, input: {} });
      throw new Error('no');
    });
    await expect(doomed).rejects.toThrow('no');
    await pause(100);
    expect(runs).toBe(0);
    expect(await jobs.find('subject')).toEqual([]);
  });

  test('says in its row why its undo does not work, and gets through once it does', async () => {
    let broken = true;
    const jobs = await working({
      kind: 'stubborn',
      steps: [
        {
          name: 'only',
          run: () => Promise.reject(new Error('the disk said no')),
          undo: () => (broken ? Promise.reject(new Error('still no')) : Promise.resolve()),
        },
      ],
      settle: async () => {},
    });
    const id = await order(jobs, 'stubborn');
    expect(await jobs.settled(id, { timeoutMs: 400 })).toBe('undoing');
    const [row] = await jobs.find('subject');
    expect(row?.failure).toMatch(/^the disk said no \(undo of "only" failed \d times: still no\)$/);
    broken = false;
    expect(await jobs.settled(id)).toBe('failed');
    expect((await jobs.find('subject'))[0]?.failure).toBe('the disk said no');
  });

  test('fails when a step returns what cannot be stored', async () => {
    const jobs = await working(saga('nul', async () => 'a\0b'));
    expect(await jobs.settled(await order(jobs, 'nul'))).toBe('failed');
  });
});

describe('cancelling', () => {
  test('reaches a saga that runs in another process', async () => {
    const waiting = gate();
    const runner = await working(saga('long', waiting.run));
    const other = await service(saga('long', waiting.run));
    const id = await order(runner, 'long');
    await waiting.started;
    expect(await cancel(other)).toBe(true);
    expect(await other.settled(id, { timeoutMs: 5_000 })).toBe('cancelled');
  });

  test('comes too late for the last step, and finds nothing once it is through', async () => {
    const jobs = await working(
      saga('last', async () => {
        await cancel(jobs);
        return undefined;
      }),
    );
    expect(await jobs.settled(await order(jobs, 'last'))).toBe('done');
    expect(await cancel(jobs)).toBe(false);
  });

  test('settles a saga that still waits for its turn', async () => {
    const first = gate();
    let settled = 0;
    const jobs = await working(saga('narrow', first.run, { concurrency: 1, settle: async () => void settled++ }));
    const running = await order(jobs, 'narrow', 'one');
    await first.started;
    const waiting = await order(jobs, 'narrow', 'two');
    expect((await jobs.find('two'))[0]?.status).toBe('pending');
    await cancel(jobs, 'two');
    expect(await jobs.settled(waiting, { timeoutMs: 5_000 })).toBe('cancelled');
    expect(settled).toBe(1);
    first.release();
    expect(await jobs.settled(running)).toBe('done');
  });
});

describe('several processes', () => {
  test('never run one saga twice while its owner lives', async () => {
    const waiting = gate();
    const first = await working(saga('long', waiting.run));
    const id = await order(first, 'long');
    await waiting.started;
    await working(saga('long', waiting.run));
    await pause(2_500);
    expect(waiting.runs()).toBe(1);
    waiting.release();
    expect(await first.settled(id)).toBe('done');
  });

  test('take over what a stopped one left, under the next epoch, without undoing it', async () => {
    const interrupted = gate();
    const epochs: number[] = [];
    const first = await working(saga('handed-on', interrupted.run));
    const id = await order(first, 'handed-on');
    await interrupted.started;
    const second = await service(saga('handed-on', async ({ epoch }) => void epochs.push(epoch)));
    await first.stop();
    expect((await second.find('subject'))[0]?.status).toBe('running');
    await second.startWorking();
    expect(await second.settled(id, { timeoutMs: 5_000 })).toBe('done');
    expect(epochs).toEqual([2]);
  });

  test('take over what a killed one left while they run', async () => {
    await makeToyTable(held.database);
    const id = newId();
    const parameters = [JSON.stringify(held.connection), JSON.stringify({ id, folder, fails: false }), '30000'];
    const child = spawn(process.execPath, [toyScript, ...parameters], { env: { STILLPOINT_CRASH_POINT: 'none' }, stdio: 'ignore' });
    const survivor = await working(toySaga(held.database) as unknown as SagaDefinition);
    await expect.poll(async () => (await survivor.find(id))[0]?.status, { timeout: 10_000 }).toBe('running');
    const sagaId = (await survivor.find(id))[0]?.id ?? '';
    await killed(child);
    expect(await survivor.settled(sagaId, { timeoutMs: 10_000 })).toBe('done');
    await expectToy(id, 'done');
  });

  test('that lost a saga without hearing of it change nothing any more, inside or outside', async () => {
    const unaware = gate();
    let outside = 0;
    const jobs = await working(
      saga('overtaken', async (context) => {
        await unaware.run(context);
        await context.effect(
          'late',
          counted(() => outside++),
        );
        return undefined;
      }),
      saga('overtaken-silently', async (context) => {
        await unaware.run(context);
        return { stored: true };
      }),
    );
    const ids = [await order(jobs, 'overtaken'), await order(jobs, 'overtaken-silently')];
    await expect.poll(unaware.runs).toBe(2);
    // What an heir does; it holds the lock of this number.
    const heir = await held.database.openSession('heir');
    await heir.query('SELECT pg_advisory_lock(77)');
    await sql`UPDATE sagas SET owner = 77, epoch = epoch + 1`.execute(held.database.sql);
    unaware.release();
    for (const id of ids) expect(await jobs.settled(id, { timeoutMs: 300 })).toBe('running');
    expect(outside).toBe(0);
    const rows = await held.database.sql.selectFrom('sagas').select(['epoch', 'outputs', 'owner']).execute();
    expect(rows).toEqual(Array.from({ length: 2 }, () => ({ epoch: 2, outputs: {}, owner: 77 })));
    await heir.end();
  });

  test('run what a process without a runner started', async () => {
    const api = await service(saga('quick', async () => undefined));
    await working(saga('quick', async () => undefined));
    expect(await api.settled(await order(api, 'quick'), { timeoutMs: 5_000 })).toBe('done');
  });

  test('abort what they run when the ownership session is lost, and take it up again', async () => {
    const epochs: number[] = [];
    const jobs = await working(
      saga('fenced', async ({ epoch, signal }) => {
        epochs.push(epoch);
        if (epoch === 1) await pause(30_000, undefined, { signal });
        return undefined;
      }),
    );
    const id = await order(jobs, 'fenced');
    await expect.poll(() => epochs).toEqual([1]);
    await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'stillpoint owner'`.execute(
      held.database.sql,
    );
    expect(await jobs.settled(id, { timeoutMs: 10_000 })).toBe('done');
    expect(epochs).toEqual([1, 2]);
  });
});

test('the harness says which instant broke a saga that does not clean up', async () => {
  const make: MakeFixture = async (tools) => {
    const jobs = await tools.openJobs({ database: held.database, connection: held.connection, log: silentLog });
    let dirty = 0;
    jobs.define(
      saga('untidy', async ({ effect }) =>
        effect(
          'spill',
          counted(() => dirty++),
        ),
      ),
    );
    await jobs.startWorking();
    return {
      jobs,
      order: async () => ({
        sagaId: await held.database.transact((tx) => jobs.start(tx, { kind: 'untidy', subjectId: 'subject', projectId: null, input: {} })),
      }),
      async check(status) {
        if (status !== 'done' && dirty > 0) throw new Error('something was left');
      },
      close: () => jobs.stop(),
    };
  };
  await expect(proveSaga({ kind: 'untidy', make })).rejects.toThrow('untidy, fails at untidy:only:spill:after: something was left');
});

async function proveToyKills(fails: boolean, status: SagaStatus, points: readonly string[]): Promise<void> {
  await makeToyTable(held.database);
  let id = '';
  await proveKills({
    script: toyScript,
    points: points.map((point) => `${toyKind}:${point}`),
    async prepare() {
      id = newId();
      return [JSON.stringify(held.connection), JSON.stringify({ id, folder, fails })];
    },
    check: () => expectToy(id, status),
  });
}

async function expectToy(id: string, status: SagaStatus): Promise<void> {
  const files = await readdir(join(folder, id)).catch(() => undefined);
  expect(files).toEqual(status === 'done' ? ['a', 'b'] : undefined);
  expect(await statusOfToy(held.database, id)).toBe({ done: 'ready', cancelled: 'gone' }[status as string] ?? 'broken');
}

function killed(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}
