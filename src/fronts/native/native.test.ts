import fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestDatabase, testDatabase } from '../../../test/support/database.ts';
import { createDiskChecks, type DiskReport } from '../../cloud/disks/reconcile-service.ts';
import type { ValidToken } from '../../cloud/identity/token.ts';
import { type Jobs, openJobs } from '../../cloud/jobs/service.ts';
import { createImageLimitQuotas } from '../../cloud/quotas/image-limits.ts';
import { systemClock } from '../../lib/clock.ts';
import { newId } from '../../lib/ids.ts';
import { silentLog } from '../../lib/log.ts';
import { nativeFront } from './front.ts';
import { healthRoutes } from './health.ts';

let held: TestDatabase;
let jobs: Jobs;
let app: FastifyInstance;

/** `<project>:<role>` is a token here: who may log in is the business of identity. */
const tokenOf = async (secret: string): Promise<ValidToken | undefined> => {
  const [projectId, role] = secret.split(':');
  if (projectId === undefined || role === undefined) return undefined;
  const domain = { id: 'default', name: 'Default' };
  return {
    user: { id: 'u', name: 'ada', domain },
    scope: { kind: 'project', project: { id: projectId, name: projectId, domain } },
    roles: [{ id: role, name: role }],
    methods: ['password'],
    auditIds: [],
    issuedAt: systemClock.nowText(),
    expiresAt: systemClock.nowText(),
    applicationCredential: null,
  };
};

/** What the disks hold is the business of `test/integration/reconcile.test.ts`. */
const report: DiskReport = {
  tookMs: 12,
  looked: { layerRows: 3, layerFiles: 2, servers: 1, deepLayers: 0 },
  findings: [
    {
      kind: 'layer-missing',
      subject: 'layer-1',
      severity: 'error',
      detail: 'It is gone.',
      advice: 'Put it back.',
      commands: ['mv a b'],
      affected: [{ type: 'volume', id: 'volume-1', name: 'db' }],
      done: null,
      isRepaired: false,
    },
  ],
  unlisted: 0,
  trash: { count: 6, bytes: 7 },
};
const asked: unknown[] = [];
const reconciler = {
  check: async ({ repair, deep }: { repair: boolean; deep: boolean }) => {
    asked.push({ repair, deep });
    return report;
  },
  items: async () => [
    {
      name: 'item-1',
      layer: { id: 'layer-2', home: 'h', format: 'raw' as const },
      trashedAt: new Date(0),
      reason: 'unknown',
      allocatedBytes: 7,
    },
  ],
  restore: async (name: string) => ({ name, place: '/volumes/h/layer-2.raw', isKnown: false }),
};

beforeAll(async () => {
  held = await testDatabase();
  jobs = await openJobs({ database: held.database, connection: held.connection, log: silentLog });
  jobs.define({
    kind: 'test.wait',
    steps: [
      {
        name: 'wait',
        async run({ signal, progress }) {
          progress({ doneBytes: 10, totalBytes: 40 });
          await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
          return undefined;
        },
        undo: { notNeeded: 'it does nothing' },
      },
    ],
    settle: async () => {},
  });
  const diskChecks = createDiskChecks({ database: held.database, jobs, reconciler });
  await jobs.startWorking();
  app = fastify();
  await app.register(nativeFront, {
    prefix: '/api/v1',
    identity: { validateToken: tokenOf },
    publicUrl: undefined,
    database: held.database,
    jobs,
    clock: systemClock,
    volumes: {
      usage: async (_caller, id) =>
        id === 'new'
          ? undefined
          : { virtualBytes: 100, exclusiveBytes: 1, sharedBytes: { images: 2, snapshots: 3, volumes: 4, others: 5 } },
    },
    snapshots: { revert: () => Promise.reject(new Error('there are no snapshots here')) },
    status: {
      version: '1.2.3',
      uptimeSeconds: () => 7.9,
      countsFor: async () => ({ volumes: 1, snapshots: 2, images: 3, backups: 4 }),
      repositories: async () => [{ id: 'r', name: 'default', storePath: '/store' }],
      freeBytes: async () => 5,
      space: async () => space,
      trash: async () => ({ count: 6, bytes: 7 }),
    },
    diskChecks,
    imageLimits: createImageLimitQuotas({ database: held.database }),
  });
  healthRoutes(app, held);
  await app.ready();
});
afterAll(async () => {
  await app.close();
  await jobs.stop();
  await held.drop();
});

const space = {
  capacityBytes: 100,
  freeBytes: 60,
  reservedBytes: 20,
  keptBytes: 10,
  availableBytes: 30,
  virtualBytes: 150,
  allocatedBytes: 30,
  ballast: { sizeBytes: 8, presentBytes: 4 },
};

const call = async (method: 'GET' | 'POST' | 'PUT', url: string, token = 'p1:member', body?: object) => {
  const payload = body === undefined ? {} : { payload: body };
  const answer = await app.inject({ method, url: `/api/v1${url}`, headers: { 'x-auth-token': token }, ...payload });
  return { status: answer.statusCode, body: answer.json() };
};

async function startedJob(projectId: string | null): Promise<{ id: string; subjectId: string }> {
  const subjectId = newId();
  const id = await held.database.transact((tx) => jobs.start(tx, { kind: 'test.wait', subjectId, projectId, input: {} }));
  return { id, subjectId };
}

test('the space of the machine is told to administrators', async () => {
  expect((await call('GET', '/status')).body.space).toBeUndefined();
  expect((await call('GET', '/status', 'p1:admin')).body.space).toEqual({
    capacity_bytes: 100,
    free_bytes: 60,
    reserved_bytes: 20,
    kept_bytes: 10,
    available_bytes: 30,
    virtual_bytes: 150,
    allocated_bytes: 30,
    overcommit_ratio: 2.5,
    ballast: { size_bytes: 8, present_bytes: 4 },
  });
});

test('what a volume takes is told by who needs it, and adds up', async () => {
  const usage = {
    virtual_bytes: 100,
    allocated_bytes: 15,
    exclusive_bytes: 1,
    shared_bytes: { images: 2, snapshots: 3, volumes: 4, others: 5 },
  };
  expect((await call('GET', '/volumes/v/usage')).body).toEqual({ usage: { volume_id: 'v', ...usage } });
  expect((await call('GET', '/volumes/new/usage')).body.usage).toMatchObject({ virtual_bytes: 0, allocated_bytes: 0, exclusive_bytes: 0 });
});

test('administrators set what a project may have of images', async () => {
  const body = { image_limits: { image_count_total: 3 } };
  expect((await call('PUT', '/image-limits/p1', 'p1:member', body)).status).toBe(403);
  expect((await call('PUT', '/image-limits/p1', 'p1:admin', { image_limits: { image_count_total: '3' } })).status).toBe(400);
  expect((await call('PUT', '/image-limits/p1', 'p1:admin')).status).toBe(400);
  const unlimited = { image_size_total: -1, image_stage_total: -1, image_count_uploading: -1 };
  expect((await call('PUT', '/image-limits/p1', 'p1:admin', body)).body).toEqual({ image_limits: { ...unlimited, image_count_total: 3 } });
});

test('a job is shown to its project while it runs, and can be cancelled', async () => {
  const { id, subjectId } = await startedJob('p1');
  await expect.poll(async () => (await call('GET', `/jobs/${id}`)).body.job.progress).toMatchObject({ done_bytes: 10, total_bytes: 40 });
  const { body } = await call('GET', `/jobs?subject_id=${subjectId}`);
  expect(body.jobs).toMatchObject([{ id, kind: 'test.wait', status: 'running', step: 'wait', cancel_requested: false }]);
  expect((await call('POST', `/jobs/${id}/cancel`)).status).toBe(202);
  expect(await jobs.settled(id)).toBe('cancelled');
  expect((await call('GET', `/jobs/${id}`)).body.job).toMatchObject({ status: 'cancelled', failure: 'cancelled' });
  expect(await call('POST', `/jobs/${id}/cancel`)).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
});

test('for others a job does not exist, and readers do not cancel', async () => {
  const { id, subjectId } = await startedJob('p1');
  expect(await call('GET', `/jobs/${id}`, 'p2:member')).toMatchObject({ status: 404, body: { error: { code: 'not-found' } } });
  expect((await call('GET', `/jobs?subject_id=${subjectId}`, 'p2:member')).body).toEqual({ jobs: [] });
  expect((await call('POST', `/jobs/${id}/cancel`, 'p2:member')).status).toBe(404);
  expect((await call('POST', `/jobs/${id}/cancel`, 'p1:reader')).status).toBe(403);
  const own = await startedJob(null);
  expect((await call('GET', `/jobs/${own.id}`)).status).toBe(404);
  expect((await call('GET', `/jobs/${own.id}`, 'p2:admin')).status).toBe(200);
  for (const job of [id, own.id]) await call('POST', `/jobs/${job}/cancel`, 'p2:admin');
});

test('questions that make no sense are refused', async () => {
  expect((await call('GET', '/jobs')).status).toBe(400);
  expect((await call('GET', '/jobs/monday')).status).toBe(404);
  expect((await call('GET', '/nothing')).body).toEqual({ error: { code: 'not-found', message: 'There is nothing at this address.' } });
  expect((await call('GET', '/status', 'nobody')).status).toBe(401);
});

test('the status names places to administrators only', async () => {
  expect((await call('GET', '/status')).body).toEqual({
    version: '1.2.3',
    uptime_seconds: 7,
    counts: { volumes: 1, snapshots: 2, images: 3, backups: 4 },
    repositories: [{ id: 'r', name: 'default' }],
    free_bytes: 5,
  });
  const { body } = await call('GET', '/status', 'p1:admin');
  expect([body.repositories, body.trash]).toEqual([[{ id: 'r', name: 'default', path: '/store' }], { count: 6, bytes: 7 }]);
});

test('disks are checked by a job whose report can be fetched once it has ended', async () => {
  const begun = await call('POST', '/disks/check', 'p1:admin', { repair: true });
  expect([begun.status, begun.body.job.kind, begun.body.job.project_id]).toEqual([202, 'disks.check', null]);
  expect(await jobs.settled(begun.body.job.id)).toBe('done');
  expect(asked).toEqual([{ repair: true, deep: false }]);
  const { body } = await call('GET', `/disks/check/${begun.body.job.id}`, 'p1:admin');
  expect(body.report).toEqual({
    took_ms: 12,
    looked: { layer_rows: 3, layer_files: 2, servers: 1, deep_layers: 0 },
    findings: [
      {
        kind: 'layer-missing',
        subject: 'layer-1',
        severity: 'error',
        detail: 'It is gone.',
        advice: 'Put it back.',
        commands: ['mv a b'],
        affected: [{ type: 'volume', id: 'volume-1', name: 'db' }],
        done: null,
        repaired: false,
      },
    ],
    unlisted: 0,
    trash: { count: 6, bytes: 7 },
  });
});

test('the trash is listed and given back', async () => {
  const { items } = (await call('GET', '/disks/trash', 'p1:admin')).body;
  expect(items).toEqual([
    { name: 'item-1', layer_id: 'layer-2', reason: 'unknown', trashed_at: '1970-01-01T00:00:00.000Z', allocated_bytes: 7 },
  ]);
  const restored = await call('POST', '/disks/trash/layer-2/restore', 'p1:admin');
  expect(restored.body).toEqual({ item: { name: 'layer-2', place: '/volumes/h/layer-2.raw', known: false } });
});

test('only administrators see and touch the disks', async () => {
  const job = await startedJob(null);
  for (const [method, url] of [
    ['POST', '/disks/check'],
    ['GET', `/disks/check/${job.id}`],
    ['GET', '/disks/trash'],
    ['POST', '/disks/trash/layer-2/restore'],
  ] as const) {
    expect((await call(method, url, 'p1:member', method === 'POST' ? {} : undefined)).status).toBe(403);
  }
  expect((await call('POST', '/disks/check', 'p1:admin', { repair: 'yes' })).status).toBe(400);
  expect((await call('GET', `/disks/check/${job.id}`, 'p1:admin')).status).toBe(404);
  expect((await call('GET', '/disks/check/monday', 'p1:admin')).status).toBe(404);
  await call('POST', `/jobs/${job.id}/cancel`, 'p1:admin');
});

test('health is told without a token', async () => {
  const answer = await app.inject({ url: '/healthz' });
  expect([answer.statusCode, answer.body]).toEqual([200, 'ok\n']);
});
