import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildFrontDoor } from '../../src/main/front-door.ts';
import type { Answer } from '../support/api.ts';
import { makeStateDir, removeStateDir } from '../support/service.ts';
import { statementsOf } from '../support/statements.ts';
import { startWholeCloud, type WholeCloud } from '../support/whole-cloud.ts';

/**
 * How many SQL statements a list takes does not depend on how much it lists: every list of every API is counted with a few things, and again
 * with several times as many.
 */

let stateDir: string;
let cloud: WholeCloud;
let app: FastifyInstance;
let token: string;
let projectId: string;
const lists: string[] = [];

beforeAll(async () => {
  stateDir = await makeStateDir();
  cloud = await startWholeCloud(stateDir);
  app = buildFrontDoor({
    publicUrl: undefined,
    cloud,
    log: pino({ level: 'silent' }),
    onRoute: ({ method, url }) =>
      void ([method].flat().includes('GET') && !/[:*]/.test(url) && !url.endsWith('/auth/tokens') && lists.push(url)),
  });
  await app.ready();
  const password = { user: { name: 'admin', domain: { name: 'Default' }, password: 'secret' } };
  const scope = { project: { name: 'admin', domain: { name: 'Default' } } };
  const payload = { auth: { identity: { methods: ['password'], password }, scope } };
  const answer = await app.inject({ method: 'POST', url: '/identity/v3/auth/tokens', payload });
  token = String(answer.headers['x-subject-token']);
  projectId = answer.json().token.project.id;
  const unlimited = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1 };
  await call('PUT', `/volume/v3/os-quota-sets/${projectId}`, { quota_set: unlimited });
}, 60_000);
afterAll(async () => {
  await app?.close();
  await cloud?.stop();
  await removeStateDir(stateDir);
});

const headers = () => ({ 'x-auth-token': token, 'openstack-api-version': 'volume 3.70' });

async function call(method: 'POST' | 'PUT', url: string, payload?: object): Promise<Answer> {
  const answer = await app.inject({ method, url, headers: headers(), ...(payload === undefined ? {} : { payload }) });
  if (answer.statusCode >= 400) throw new Error(`${method} ${url}: ${answer.statusCode} ${answer.body}`);
  return answer.body.startsWith('{') || answer.body.startsWith('[') ? answer.json() : undefined;
}

let made = 0;

/** One more of everything that is listed. */
async function makeOneMore(): Promise<void> {
  made += 1;
  const name = `thing-${made}`;
  const volumes = '/volume/v3';
  const volume = (await call('POST', `${volumes}/volumes`, { volume: { name, size: 1, metadata: { a: 'b' } } })).volume;
  expect(await cloud.settled('volumes', volume.id)).toBe('available');
  const { snapshot } = await call('POST', `${volumes}/snapshots`, { snapshot: { name, volume_id: volume.id } });
  expect(await cloud.settled('snapshots', snapshot.id)).toBe('available');
  const { backup } = await call('POST', `${volumes}/backups`, { backup: { name, volume_id: volume.id } });
  expect(await cloud.settled('backups', backup.id)).toBe('available');
  await call('POST', `${volumes}/attachments`, { attachment: { volume_uuid: volume.id, instance_uuid: volume.id } });
  const given = (await call('POST', `${volumes}/volumes`, { volume: { name, size: 1 } })).volume;
  expect(await cloud.settled('volumes', given.id)).toBe('available');
  await call('POST', `${volumes}/volume-transfers`, { transfer: { name, volume_id: given.id } });
  const { volume_type: type } = await call('POST', `${volumes}/types`, { volume_type: { name, extra_specs: { 'vendor:a': 'b' } } });
  await call('POST', `${volumes}/qos-specs`, { qos_specs: { name, consumer: 'both', a: 'b' } });
  const { group_type: groupType } = await call('POST', `${volumes}/group_types`, { group_type: { name, group_specs: { a: 'b' } } });
  const wanted = { name, group_type: groupType.id, volume_types: [type.id] };
  const { group: together } = await call('POST', `${volumes}/groups`, { group: wanted });
  const member = { name, size: 1, volume_type: type.id, group_id: together.id };
  expect(await cloud.settled('volumes', (await call('POST', `${volumes}/volumes`, { volume: member })).volume.id)).toBe('available');
  await call('POST', `${volumes}/group_snapshots`, { group_snapshot: { name, group_id: together.id } });
  await call('POST', '/image/v2/images', { name, disk_format: 'raw', container_format: 'bare', tags: ['a', 'b'], key: 'value' });
  await call('POST', '/image/v2/metadefs/namespaces', { namespace: name });
  const { project } = await call('POST', '/identity/v3/projects', { project: { name, tags: ['a', 'b'] } });
  const { user } = await call('POST', '/identity/v3/users', { user: { name, default_project_id: project.id } });
  const { group } = await call('POST', '/identity/v3/groups', { group: { name } });
  const { role } = await call('POST', '/identity/v3/roles', { role: { name } });
  await call('PUT', `/identity/v3/projects/${project.id}/users/${user.id}/roles/${role.id}`);
  await call('PUT', `/identity/v3/groups/${group.id}/users/${user.id}`);
  await call('POST', '/identity/v3/domains', { domain: { name } });
  const { service } = await call('POST', '/identity/v3/services', { service: { type: name, name } });
  await call('POST', '/identity/v3/endpoints', { endpoint: { service_id: service.id, interface: 'public', url: 'http://127.0.0.1/' } });
  await call('POST', '/identity/v3/credentials', { credential: { type: 'cert', blob: '{}', user_id: user.id } });
}

const withAll = (url: string): string => `${url}?all_tenants=1&limit=50`;

/** Of the second call: the first one prepares statements, and notes what the layers take that nobody asked about yet. */
async function counted(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const url of lists) {
    const request = { url: url.startsWith('/volume/v3/') ? withAll(url) : url, headers: headers() };
    await app.inject(request);
    counts[url] = (await statementsOf(() => app.inject(request))).length;
  }
  return counts;
}

it('a list of ten takes as many statements as a list of two', { timeout: 120_000 }, async () => {
  for (let count = 0; count < 2; count += 1) await makeOneMore();
  const few = await counted();
  // That they are counted at all.
  expect(Object.values(few).filter((count) => count > 1).length).toBeGreaterThan(20);
  for (let count = 0; count < 8; count += 1) await makeOneMore();
  expect(await counted()).toEqual(few);
});
