import fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { BackupsService } from '../../../cloud/backups/service.ts';
import { answerWithCinderFaults } from '../shared/cinder-fault.ts';
import { microversion } from '../shared/microversion.ts';
import { registerBackupRoutes } from './backups.ts';

const volumeId = '11111111-2222-4333-8444-555555555555';

let app: FastifyInstance;
let asked: string[];
let minor: number;

/** Refused requests must not get as far as the service, so there is none: it notes that it was reached, and gives up. */
const unreached = new Proxy({} as BackupsService, {
  get: (_target, name) => () => {
    asked.push(String(name));
    return Promise.reject(new Error('reached'));
  },
});

beforeEach(async () => {
  asked = [];
  minor = 0;
  app = fastify();
  answerWithCinderFaults(app);
  app.addHook('onRequest', async (request) => {
    request.caller = { userId: 'u', userName: 'ada', projectId: 'p', roles: ['member'], isAdmin: false, requestId: request.id };
    request.microversion = microversion(3, minor);
  });
  registerBackupRoutes(app, { backups: unreached, publicUrl: undefined });
  await app.ready();
});
afterEach(() => app.close());

const send = async (method: 'GET' | 'POST' | 'PUT', url: string, payload?: object) => {
  const answer = await app.inject({ method, url, ...(payload === undefined ? {} : { payload }) });
  return { status: answer.statusCode, message: Object.values(answer.json() as Record<string, { message: string }>)[0]?.message ?? '' };
};

const create = (fields: object) => send('POST', '/backups', { backup: { volume_id: volumeId, ...fields } });

test('what the openstack client sends gets through at 3.0', async () => {
  await create({ container: null, name: 'n', description: null, incremental: false, force: false, snapshot_id: null });
  expect(asked).toEqual(['create']);
});

test('fields are refused before their version, and unknown ones always', async () => {
  expect((await create({ metadata: {} })).message).toContain("'metadata' was unexpected");
  minor = 43;
  expect((await create({ availability_zone: 'nova' })).message).toContain("'availability_zone' was unexpected");
  minor = 70;
  expect((await create({ nose: 1 })).message).toContain("'nose' was unexpected");
  expect(asked).toEqual([]);
  await create({ metadata: { a: 'b' }, availability_zone: 'nova' });
  expect(asked).toEqual(['create']);
});

test.each([
  ['a volume that is no uuid', { volume_id: 'v1' }],
  ['a long name', { name: 'x'.repeat(256) }],
  ['a force that is no boolean', { force: 'perhaps' }],
  ['a container that is no text', { container: 7 }],
])('%s is refused', async (_what, fields) => {
  expect((await create(fields)).status).toBe(400);
  expect(asked).toEqual([]);
});

test('a body without its envelope is refused', async () => {
  expect(await send('POST', '/backups', {})).toMatchObject({ status: 400, message: "'backup' is a required property" });
  expect((await send('POST', '/backups')).status).toBe(400);
});

test('changing a backup does not exist below 3.9, and needs something to change', async () => {
  minor = 8;
  expect((await send('PUT', `/backups/${volumeId}`, { backup: { name: 'x' } })).status).toBe(404);
  minor = 9;
  expect((await send('PUT', `/backups/${volumeId}`, { backup: {} })).status).toBe(400);
  expect((await send('PUT', `/backups/${volumeId}`, { backup: null })).status).toBe(400);
  expect((await send('PUT', `/backups/${volumeId}`, { backup: { metadata: {} } })).status).toBe(400);
  expect(asked).toEqual([]);
});

test('an action is exactly one that exists', async () => {
  const act = (body: object) => send('POST', `/backups/${volumeId}/action`, body);
  expect((await act({ 'os-fly': null })).message).toBe('There is no such action: os-fly');
  expect((await act({})).status).toBe(400);
  expect((await act({ 'os-force_delete': null, 'os-reset_status': { status: 'error' } })).status).toBe(400);
  expect((await act({ 'os-reset_status': { status: 'deleting' } })).message).toContain('Backup status: deleting is invalid');
  expect((await act({ 'os-reset_status': { status: 'error', more: 1 } })).status).toBe(400);
  expect(asked).toEqual([]);
  await act({ 'os-force_delete': {} });
  await act({ 'os-force_delete': null });
  expect(asked).toEqual(['forceDelete', 'forceDelete']);
});

test('a restore takes a volume or a name and nothing else', async () => {
  const restore = (body: object) => send('POST', `/backups/${volumeId}/restore`, { restore: body });
  expect((await restore({ size: 1 })).status).toBe(400);
  expect((await restore({ volume_id: 'v1' })).status).toBe(400);
  await restore({ volume_id: null, name: null });
  await restore({});
  expect(asked).toEqual(['restore', 'restore']);
});
