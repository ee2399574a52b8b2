import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { stillpoint } from '../support/clients.ts';
import { type HostileRequest, hostileRequest, type RealIds } from '../support/hostile-requests.ts';
import { allRoutes, type Route } from '../support/routes.ts';
import { makeBackup, makeImage, makeSnapshot, makeVolume, mustBecomeQuiet } from '../support/scenario.ts';
import { orderServer, serverBecomes } from '../support/servers.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/**
 * Every route gets requests that are wrong in many ways, with an administrator's rights, so that nothing is refused before it is looked at. Each answer
 * says what is wrong with the request and never that something is wrong with the service; and nothing is left half done.
 * `STILLPOINT_TEST_SEED` repeats a run, `STILLPOINT_HOSTILE_REQUESTS` sets how many there are for each route.
 */
const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const perRoute = Number(process.env.STILLPOINT_HOSTILE_REQUESTS ?? 20);
const routesPerRound = 25;

/** Answers for a cloud that does not have something, or not now. */
const honest = new Set([501, 503]);
/** What would shut the test itself out: the built-in domain and the administrator are never touched. */
const isLocal = ({ pattern }: Route): boolean => !pattern.endsWith('/auth/tokens');

let stateDir: string;
let service: ServiceUnderTest;
let api: Api;

beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
});
afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
});

it('is never answered with an error of the service, and leaves nothing half done', { timeout: 15 * 60_000 }, async () => {
  const routes =
    fc.sample(fc.shuffledSubarray(await uniqueRoutes(), { minLength: (await uniqueRoutes()).length }), { seed, numRuns: 1 })[0] ?? [];
  const faults: string[] = [];
  const answers = new Map<number, number>();
  for (let from = 0; from < routes.length; from += routesPerRound) {
    // Things go away in a round: the next one gets others.
    const realIds = await makeThings();
    const requests = routes
      .slice(from, from + routesPerRound)
      .flatMap((route, at) => fc.sample(hostileRequest(route, realIds), { seed: seed + from + at, numRuns: perRoute }));
    for (const request of requests) {
      const answer = await send(request);
      answers.set(answer.status, (answers.get(answer.status) ?? 0) + 1);
      if (answer.status >= 500 && !honest.has(answer.status))
        faults.push(
          `${request.method} ${request.path.slice(0, 200)} ${JSON.stringify(request.headers)} ${request.body?.slice(0, 400)}\n  ${answer.status} ${answer.text.slice(0, 200)}`,
        );
    }
  }
  const told = [...answers].sort(([a], [b]) => a - b).map(([status, count]) => `${count} x ${status}`);
  process.stdout.write(`hostile requests to ${routes.length} routes, answered ${told.join(', ')}; STILLPOINT_TEST_SEED=${seed}\n`);
  expect([...answers.keys()].some((status) => status < 300)).toBe(true);
  expect(faults.join('\n')).toBe('');
  await deleteStagedImages();
  await mustBecomeQuiet(api);
  const errors = service
    .log()
    .split('\n')
    .filter((line) => line.includes('"level":50'));
  expect(errors.join('\n')).toBe('');
  const checked = await stillpoint(service, 'doctor', '--disks');
  expect([checked.code, checked.stdout]).toEqual([0, expect.any(String)]);
});

/** The paths with and without a project are the same handlers: both are kept for few. */
async function uniqueRoutes(): Promise<Route[]> {
  const routes = (await allRoutes()).filter(isLocal);
  return routes.filter(
    ({ method, pattern }) => method !== 'HEAD' && (!pattern.includes('/:projectId/') || pattern.endsWith('/:projectId/volumes')),
  );
}

async function makeThings(): Promise<RealIds> {
  // Each time: quotas are among what the requests change.
  const unlimited = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1, groups: -1 };
  await api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: unlimited });
  const volumeId = await makeVolume(api, {});
  const [snapshotId, backupId] = [await makeSnapshot(api, volumeId), await makeBackup(api, volumeId)];
  const queued = await api.image('POST', '/images', { name: 'queued', disk_format: 'raw', container_format: 'bare' });
  const types: Answer = await api.volume('GET', '/types');
  const { id: projectId } = await identity('projects', 'project');
  const { id: userId } = await identity('users', 'user', { default_project_id: projectId });
  return {
    projectId: [api.projectId],
    volumes: [volumeId, await makeVolume(api, { snapshot_id: snapshotId })],
    snapshots: [snapshotId],
    backups: [backupId],
    images: [await makeImage(api, 'image', Buffer.alloc(4096, 1)), queued.id],
    types: types.volume_types.map(({ id }: Answer) => id),
    'os-quota-sets': [api.projectId, projectId],
    'os-quota-class-sets': ['default'],
    metadata: ['key'],
    ...(await makeGroupThings()),
    ...(await makeHandedThings()),
    ...(await makeMachineThings()),
    projects: [projectId],
    users: [userId],
    roles: [(await identity('roles', 'role')).id],
    domains: [(await identity('domains', 'domain')).id],
  };
}

/** An image whose bytes were staged rests as `uploading` until somebody imports it. */
async function deleteStagedImages(): Promise<void> {
  const { images } = await api.image('GET', '/images?status=uploading');
  for (const { id } of images) await api.image('DELETE', `/images/${id}`);
}

const created = async (path: string, noun: string, facts: object): Promise<string> =>
  (await api.volume('POST', path, { [noun]: facts }))[noun].id;

/** A group with a volume and a snapshot of it, and the type that it is of; and QoS specs. */
async function makeGroupThings(): Promise<RealIds> {
  const type = await created('/group_types', 'group_type', { name: `hostile-${Math.random()}`, group_specs: { key: 'value' } });
  const group = await created('/groups', 'group', { name: 'group', group_type: type, volume_types: ['__DEFAULT__'] });
  await makeVolume(api, { group_id: group, volume_type: '__DEFAULT__' });
  const groupSnapshot = await created('/group_snapshots', 'group_snapshot', { group_id: group });
  const qos = await created('/qos-specs', 'qos_specs', { name: `hostile-${Math.random()}`, key: 'value' });
  return {
    group_types: [type],
    group_specs: ['key'],
    groups: [group],
    group_snapshots: [groupSnapshot],
    'qos-specs': [qos],
    extra_specs: ['key'],
  };
}

/** What is on its way to somebody else. */
async function makeHandedThings(): Promise<RealIds> {
  const transfer = await created('/volume-transfers', 'transfer', { volume_id: await makeVolume(api, {}) });
  const attachment = await created('/attachments', 'attachment', { volume_uuid: await makeVolume(api, {}) });
  return { 'volume-transfers': [transfer], 'os-volume-transfer': [transfer], attachments: [attachment] };
}

/** What servers are made with. */
async function makeMachineThings(): Promise<RealIds> {
  const flavor = { name: `hostile-${Math.random()}`, ram: 64, vcpus: 1, disk: 1 };
  const { status, body } = await api.raw('POST', '/compute/v2.1/flavors', { flavor });
  if (status !== 200) throw new Error(`flavors: ${status} ${JSON.stringify(body)}`);
  const keypair = { name: `hostile-${Math.random().toString(36).slice(2)}` };
  await api.raw('POST', '/compute/v2.1/os-keypairs', { keypair });
  await api.compute('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: { instances: -1, cores: -1, ram: -1 } });
  const disk = { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: 0 };
  const server = await orderServer(api, { flavorRef: body.flavor.id, block_device_mapping_v2: [disk], metadata: { key: 'value' } });
  const { 'os-extended-volumes:volumes_attached': disks } = await serverBecomes(api, server, 'ACTIVE');
  const attachments = disks.map(({ id }: Answer) => id);
  return {
    flavors: [body.flavor.id],
    'os-extra_specs': ['key'],
    'os-keypairs': [keypair.name],
    servers: [server],
    'os-volume_attachments': attachments,
  };
}

async function identity(collection: string, noun: string, extra: object = {}): Promise<Answer> {
  const reply = await api.raw('POST', `/identity/v3/${collection}`, { [noun]: { name: `hostile-${Math.random()}`, ...extra } });
  if (reply.status !== 201) throw new Error(`${collection}: ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body[noun];
}

async function send({ method, path, headers, body }: HostileRequest): Promise<{ status: number; text: string }> {
  const init: RequestInit = { method, headers: { 'x-auth-token': api.token, ...headers }, signal: AbortSignal.timeout(30_000) };
  if (body !== undefined) init.body = body;
  const reply = await fetch(`${service.url}${path}`, init);
  return { status: reply.status, text: await reply.text() };
}
