/** What operators see and set beside types, over its wire: services and what stopping them does, backends, messages, quota classes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { type Person, startWire, type Wire } from '../support/block-storage-wire.ts';

let wire: Wire;
let admin: Person;
let ada: Person;
let eve: Person;

beforeAll(async () => {
  wire = await startWire();
  admin = wire.admin;
  ada = await wire.member('ada');
  eve = await wire.member('eve');
});
afterAll(() => wire.stop());

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
const operator = (method: Method, path: string, body?: unknown, version?: string) => wire.send(admin, method, path, body, version);
const user = (method: Method, path: string, body?: unknown, version?: string) => wire.send(ada, method, path, body, version);

async function makeVolume(facts: object = {}): Promise<{ id: string; status: string }> {
  const { status, body } = await user('POST', '/volumes', { volume: { size: 1, ...facts } });
  expect(status, JSON.stringify(body)).toBe(202);
  return { id: body.volume.id, status: await wire.settled(ada, 'volumes', body.volume.id) };
}

async function makeBackup(volumeId: string): Promise<{ id: string; status: string }> {
  const { status, body } = await user('POST', '/backups', { backup: { volume_id: volumeId } });
  expect(status, JSON.stringify(body)).toBe(202);
  return { id: body.backup.id, status: await wire.settled(ada, 'backups', body.backup.id) };
}

const messagesOf = async (id: string) =>
  (await user('GET', `/messages?resource_uuid=${id}`, undefined, '3.5')).body.messages as Record<string, unknown>[];

const volumeService = { host: 'stillpoint@layered-files', binary: 'cinder-volume' };
const backupService = { host: 'stillpoint', binary: 'cinder-backup' };

describe('services', () => {
  it('are listed with what each microversion and each service has', async () => {
    const { body } = await operator('GET', '/os-services');
    expect(body.services.map(({ binary, host }: { binary: string; host: string }) => `${binary} ${host}`)).toEqual([
      'cinder-scheduler stillpoint',
      'cinder-volume stillpoint@layered-files',
      'cinder-backup stillpoint',
    ]);
    const base = ['binary', 'disabled_reason', 'host', 'state', 'status', 'updated_at', 'zone'];
    expect(Object.keys(body.services[0]).sort()).toEqual(base);
    expect(Object.keys(body.services[1]).sort()).toEqual([...base, 'active_backend_id', 'frozen', 'replication_status'].sort());
    const { body: late } = await operator('GET', '/os-services?binary=cinder-volume', undefined, '3.49');
    expect(late.services).toMatchObject([{ cluster: null, backend_state: 'up' }]);
    expect((await operator('GET', '/os-services?host=stillpoint')).body.services).toHaveLength(3);
    expect((await operator('GET', '/os-services?host=still')).body.services).toHaveLength(0);
    expect((await user('GET', '/os-services')).status).toBe(403);
  });

  it('refuse what is not there', async () => {
    expect((await operator('PUT', '/os-services/enable', { ...volumeService, host: 'elsewhere' })).status).toBe(404);
    expect((await operator('PUT', '/os-services/disable', { ...volumeService, binary: 'cinder-coffee' })).status).toBe(404);
    expect((await operator('PUT', '/os-services/disable', { binary: 'cinder-volume' })).status).toBe(400);
    expect((await operator('PUT', '/os-services/disable-log-reason', { ...volumeService, disabled_reason: null })).status).toBe(400);
    for (const verb of ['freeze', 'thaw']) expect((await operator('PUT', `/os-services/${verb}`, { host: 'elsewhere' })).status).toBe(400);
    expect((await operator('PUT', '/os-services/failover_host', { host: volumeService.host })).status).toBe(400);
    expect((await operator('PUT', '/os-services/explode', {})).status).toBe(404);
    expect((await user('PUT', '/os-services/disable', volumeService)).status).toBe(403);
  });

  it('that hold volumes take no new ones while they are disabled or frozen, and go on with the old ones', async () => {
    const { id: old } = await makeVolume();
    const { body } = await operator('PUT', '/os-services/disable-log-reason', { ...volumeService, disabled_reason: 'moving' });
    expect(body).toEqual({
      ...volumeService,
      service: 'cinder-volume',
      disabled: true,
      status: 'disabled',
      disabled_reason: 'moving',
    });
    const refused = await makeVolume();
    expect(refused.status).toBe('error');
    expect(await messagesOf(refused.id)).toMatchObject([{ event_id: 'VOLUME_VOLUME_001_003' }]);
    expect((await user('GET', '/os-availability-zone')).body.availabilityZoneInfo[0].zoneState).toEqual({ available: false });
    expect((await user('POST', '/snapshots', { snapshot: { volume_id: old } })).status).toBe(202);
    expect((await operator('PUT', '/os-services/enable', volumeService)).body).toMatchObject({ disabled: false, disabled_reason: null });
    expect((await makeVolume()).status).toBe('available');

    expect((await operator('PUT', '/os-services/freeze', { host: volumeService.host })).status).toBe(200);
    const frozen = { status: 'disabled', disabled_reason: 'frozen', frozen: true };
    expect((await operator('GET', '/os-services?binary=cinder-volume')).body.services).toMatchObject([frozen]);
    expect((await makeVolume()).status).toBe('error');
    expect((await operator('PUT', '/os-services/thaw', { host: volumeService.host })).status).toBe(200);
    expect((await makeVolume()).status).toBe('available');
  });

  it('that make backups take, restore and delete none while they are disabled', async () => {
    const volume = await makeVolume();
    const good = await makeBackup(volume.id);
    expect(good.status).toBe('available');
    await operator('PUT', '/os-services/disable', backupService);
    const refused = await makeBackup(volume.id);
    expect(refused.status).toBe('error');
    expect((await user('GET', `/backups/${refused.id}`)).body.backup.fail_reason).toBe('Service not found for creating backup.');
    expect(await messagesOf(refused.id)).toMatchObject([{ event_id: 'VOLUME_VOLUME_BACKUP_013_024' }]);
    expect(await wire.settled(ada, 'volumes', volume.id)).toBe('available');
    expect((await user('POST', `/backups/${good.id}/restore`, { restore: {} })).status).toBe(503);
    expect((await user('DELETE', `/backups/${good.id}`)).status).toBe(503);
    await operator('PUT', '/os-services/enable', backupService);
    expect((await user('DELETE', `/backups/${good.id}`)).status).toBe(202);
    expect(await wire.settled(ada, 'backups', good.id)).toBe('gone');
  });

  it('say as much as they are told to, from 3.32 on', async () => {
    expect((await operator('PUT', '/os-services/get-log', {})).status).toBe(404);
    expect((await operator('PUT', '/os-services/set-log', { level: 'LOUD' }, '3.32')).status).toBe(400);
    expect((await operator('PUT', '/os-services/set-log', { binary: 'cinder-coffee', level: 'INFO' }, '3.32')).status).toBe(400);
    expect((await operator('PUT', '/os-services/set-log', { binary: '*', level: 'debug' }, '3.32')).status).toBe(202);
    const { body } = await operator('PUT', '/os-services/get-log', { binary: 'cinder-volume' }, '3.32');
    expect(body).toEqual({ log_levels: [{ ...volumeService, levels: { stillpoint: 'DEBUG' } }] });
  });
});

describe('backends', () => {
  it('are one pool, with capacity for those who ask in detail', async () => {
    expect((await operator('GET', '/scheduler-stats/get_pools')).body).toEqual({ pools: [{ name: 'stillpoint@layered-files#pool' }] });
    const { body } = await operator('GET', '/scheduler-stats/get_pools?detail=True');
    expect(body.pools[0].capabilities).toMatchObject({
      volume_backend_name: 'layered-files',
      storage_protocol: 'NBD',
      total_capacity_gb: 1024,
      free_capacity_gb: 512,
    });
    const { id } = (await operator('POST', '/types', { volume_type: { name: 'tape', extra_specs: { volume_backend_name: 'tape' } } })).body
      .volume_type;
    expect((await operator('GET', `/scheduler-stats/get_pools?volume_type=${id}`, undefined, '3.35')).body.pools).toEqual([]);
    expect((await operator('GET', '/scheduler-stats/get_pools?name=other', undefined, '3.28')).body.pools).toEqual([]);
    expect((await operator('GET', '/scheduler-stats/get_pools?colour=red', undefined, '3.31')).status).toBe(400);
    expect((await user('GET', '/scheduler-stats/get_pools')).status).toBe(403);
    const failed = await makeVolume({ volume_type: 'tape' });
    expect(failed.status).toBe('error');
  });

  it('say what they can do, and what their host carries, in numbers written as text', async () => {
    const { body } = await operator('GET', '/capabilities/stillpoint@layered-files');
    expect(body).toMatchObject({ namespace: 'OS::Storage::Capabilities::stillpoint@layered-files', vendor_name: 'Stillpoint' });
    expect((await operator('GET', '/capabilities/elsewhere')).status).toBe(404);
    const { body: hosts } = await operator('GET', '/os-hosts');
    expect(hosts.hosts).toHaveLength(3);
    const { body: host } = await operator('GET', '/os-hosts/stillpoint@layered-files');
    const [total, ...projects] = host.host.map(({ resource }: { resource: Record<string, string> }) => resource);
    expect(total).toMatchObject({ project: '(total)', host: 'stillpoint@layered-files' });
    expect(Number(total.volume_count)).toBeGreaterThan(0);
    expect(projects).toEqual([{ ...total, project: ada.projectId }]);
    expect((await operator('GET', '/os-hosts/stillpoint')).status).toBe(404);
  });
});

describe('messages', () => {
  it('tell of work that failed after its request, to its project, until they are deleted', async () => {
    const type = { name: newId(), extra_specs: { vendor_name: 'Nobody' } };
    await operator('POST', '/types', { volume_type: type });
    const { id, status } = await makeVolume({ volume_type: type.name });
    expect(status).toBe('error');
    const [message] = await messagesOf(id);
    expect(message).toMatchObject({
      event_id: 'VOLUME_VOLUME_001_003',
      user_message: 'schedule allocate volume:Could not find any available weighted backend.',
      message_level: 'ERROR',
      resource_type: 'VOLUME',
      resource_uuid: id,
      request_id: expect.stringMatching(/^req-/),
    });
    const lifeMs = Date.parse(`${message?.guaranteed_until}Z`) - Date.parse(`${message?.created_at}Z`);
    expect(Math.round(lifeMs / 86_400_000)).toBe(30);
    const path = `/messages/${message?.id}`;
    expect((await user('GET', path)).status).toBe(404);
    expect((await wire.send(eve, 'GET', path, undefined, '3.3')).status).toBe(404);
    expect((await wire.send(eve, 'DELETE', path, undefined, '3.3')).status).toBe(404);
    expect((await user('GET', '/messages?colour=red', undefined, '3.31')).status).toBe(400);
    expect((await user('GET', '/messages?limit=1&sort=created_at:asc', undefined, '3.5')).body.messages_links).toHaveLength(1);
    expect((await user('DELETE', path, undefined, '3.3')).status).toBe(204);
    expect((await user('GET', path, undefined, '3.3')).status).toBe(404);
  });

  it('are gone when their time is over', async () => {
    const { database } = wire.cloud.held;
    await database.sql.updateTable('messages').set({ expires_at: '2020-01-01T00:00:00Z' }).execute();
    expect((await operator('GET', '/messages', undefined, '3.3')).body).toEqual({ messages: [] });
  });
});

describe('quota classes', () => {
  it('are defaults, or kept under their own name', async () => {
    const { body } = await operator('PUT', '/os-quota-class-sets/gold', { quota_class_set: { volumes: 77 } });
    expect(body.quota_class_set).toMatchObject({ volumes: 77, snapshots: 10 });
    expect((await operator('GET', '/os-quota-class-sets/gold')).body.quota_class_set).toMatchObject({ id: 'gold', volumes: 77 });
    expect((await operator('GET', `/os-quota-sets/${ada.projectId}/defaults`)).body.quota_set).toMatchObject({ volumes: 10 });
    expect((await operator('PUT', '/os-quota-class-sets/gold', { quota_class_set: { colours: 1 } })).status).toBe(400);
    expect((await operator('PUT', `/os-quota-class-sets/${'x'.repeat(300)}`, { quota_class_set: {} })).status).toBe(400);
    expect((await user('GET', '/os-quota-class-sets/default')).status).toBe(403);
  });
});

describe('what is not here', () => {
  it('is answered as by a deployment without it', async () => {
    expect((await operator('GET', '/clusters', undefined, '3.7')).body).toEqual({ clusters: [] });
    expect((await operator('GET', '/clusters')).status).toBe(404);
    expect((await operator('GET', '/clusters/one', undefined, '3.7')).status).toBe(404);
    expect((await operator('PUT', '/clusters/disable', { name: 'one' }, '3.7')).status).toBe(404);
    expect((await operator('POST', '/workers/cleanup', {}, '3.24')).body).toEqual({ cleaning: [], unavailable: [] });
    for (const kind of ['consistencygroups', 'cgsnapshots']) {
      expect((await user('GET', `/${kind}/detail`)).body).toEqual({ [kind]: [] });
      expect((await user('GET', `/${kind}/${newId()}`)).status).toBe(404);
      expect((await user('POST', `/${kind}`, {})).status).toBe(400);
    }
  });

  it('leaves the 32 extensions and the table of filters', async () => {
    expect((await user('GET', '/extensions')).body.extensions).toHaveLength(32);
    expect((await user('GET', '/resource_filters')).status).toBe(404);
    expect((await user('GET', '/resource_filters?resource=backup', undefined, '3.33')).body).toEqual({
      resource_filters: [{ resource: 'backup', filters: ['name', 'status', 'volume_id'] }],
    });
  });
});
