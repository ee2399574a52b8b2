import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { eventually } from '../support/eventually.ts';
import { makeVolume } from '../support/scenario.ts';
import { inGuest, processOf } from '../support/server-processes.ts';
import {
  act,
  consoleOf,
  deleteServer,
  type GuestImages,
  guestIsReady,
  makeFlavor,
  orderServer,
  serverBecomes,
  settledServer,
  uploadGuest,
} from '../support/servers.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/** Servers of the real service, with a real guest in them: what Compute says is compared with what the guest and the host see. */
let stateDir: string;
let service: ServiceUnderTest;
let api: Api;
let guest: GuestImages;
let flavorRef: string;

beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
  guest = await uploadGuest(api);
  flavorRef = await makeFlavor(api);
  const unlimited = { instances: -1, cores: -1, ram: -1 };
  await api.compute('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: unlimited });
});
afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
});

const attachmentsOf = async (id: string): Promise<Answer[]> =>
  (await api.compute('GET', `/servers/${id}/os-volume_attachments`)).volumeAttachments;

const statusOfVolume = async (id: string): Promise<string> => (await api.volume('GET', `/volumes/${id}`)).volume.status;

/** Volumes that Block Storage shows, and files that are there for them and for others. */
const storedLayers = async (): Promise<number> => (await readdir(join(stateDir, 'volumes'))).length;

const patienceMs = 60_000;

describe('a server of an image', { timeout: 240_000 }, () => {
  let id: string;
  let layersBefore: number;

  it('boots the kernel that its image names, with its disk and its config drive', async () => {
    const imageRef = await guest.diskImage({ writer: true });
    layersBefore = await storedLayers();
    const { keypair } = await api.compute('POST', '/os-keypairs', { keypair: { name: 'key' } });
    id = await orderServer(api, {
      name: 'Database 1',
      flavorRef,
      imageRef,
      key_name: 'key',
      metadata: { role: 'database' },
      user_data: Buffer.from('#!/bin/sh\n').toString('base64'),
    });
    expect(await serverBecomes(api, id, 'ACTIVE')).toMatchObject({
      name: 'Database 1',
      key_name: 'key',
      image: { id: imageRef },
      flavor: { ram: 256, vcpus: 1 },
      metadata: { role: 'database' },
      'OS-EXT-SRV-ATTR:hostname': 'database-1',
      'OS-EXT-STS:power_state': 1,
      'os-extended-volumes:volumes_attached': [],
    });
    await guestIsReady(api, id);
    const drive = JSON.parse(await inGuest(id, 'cat /config/openstack/latest/meta_data.json'));
    expect(drive).toMatchObject({ uuid: id, name: 'Database 1', meta: { role: 'database' }, public_keys: { key: keypair.public_key } });
    expect(await inGuest(id, 'cat /config/openstack/latest/user_data')).toBe('#!/bin/sh');
    expect(await inGuest(id, 'grep -c " /data ext4 " /proc/mounts; cat /sys/block/vda/size')).toBe(`1\n${2 ** 30 / 512}`);
    const lines = async (length: number): Promise<string> =>
      (await api.compute('POST', `/servers/${id}/action`, { 'os-getConsoleOutput': { length } })).output;
    expect((await lines(3)).split('\n')).toHaveLength(3);
    expect(await lines(0)).toBe('');
  });

  it('gets a volume while it runs, and lets go of it', async () => {
    const volumeId = await makeVolume(api, {});
    const order = { volumeAttachment: { volumeId, tag: 'data' } };
    expect((await api.compute('POST', `/servers/${id}/os-volume_attachments`, order)).volumeAttachment).toEqual({
      id: volumeId,
      volumeId,
      serverId: id,
      device: '/dev/vdb',
      tag: 'data',
      delete_on_termination: false,
    });
    await eventually(async () => (await statusOfVolume(volumeId)) === 'in-use', 'it is in use', patienceMs);
    expect((await api.volume('GET', `/volumes/${volumeId}`)).volume.attachments).toMatchObject([{ server_id: id, device: '/dev/vdb' }]);
    await eventually(
      async () => (await inGuest(id, 'cat /sys/block/vdb/serial 2>/dev/null || true')) !== '',
      'the guest sees it',
      patienceMs,
    );
    expect(await inGuest(id, 'cat /sys/block/vdb/serial')).toBe(volumeId.slice(0, 20));
    await inGuest(id, 'echo written by the guest > /tmp/x; dd if=/tmp/x of=/dev/vdb conv=fsync 2>/dev/null');
    expect((await api.compute('GET', `/servers/${id}`)).server['os-extended-volumes:volumes_attached']).toEqual([
      { id: volumeId, delete_on_termination: false },
    ]);

    const refused = await api.raw('DELETE', `/volume/v3/volumes/${volumeId}`);
    expect(refused.status).toBe(400);
    await api.compute('DELETE', `/servers/${id}/os-volume_attachments/${volumeId}`);
    await eventually(async () => (await statusOfVolume(volumeId)) === 'available', 'it is available', patienceMs);
    expect(await inGuest(id, 'ls /sys/block | grep -c vdb || true')).toBe('0');
    expect(await attachmentsOf(id)).toEqual([]);

    await api.compute('POST', `/servers/${id}/os-volume_attachments`, order);
    await eventually(async () => (await inGuest(id, 'ls /sys/block | grep -c vdb || true')) === '1', 'the guest sees it', patienceMs);
    expect(await inGuest(id, 'head -n 1 /dev/vdb')).toBe('written by the guest');
    await eventually(async () => (await statusOfVolume(volumeId)) === 'in-use', 'it is in use', patienceMs);
  });

  it('stands still while it is paused', async () => {
    expect(await act(api, id, { pause: null })).toMatchObject({ status: 'PAUSED', 'OS-EXT-STS:power_state': 3 });
    const said = await consoleOf(api, id);
    expect((await api.raw('POST', `/compute/v2.1/servers/${id}/action`, { 'os-start': null })).status).toBe(409);
    expect(await consoleOf(api, id)).toBe(said);
    expect(await act(api, id, { unpause: null })).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:power_state': 1 });
  });

  it('outlives the service, which finds it again', async () => {
    const before = await processOf(id);
    const written = Number(await inGuest(id, 'tail -n 1 /data/log'));
    await service.kill();
    await eventually(
      async () => {
        return Number(await inGuest(id, 'tail -n 1 /data/log')) > written;
      },
      'the guest goes on writing',
      patienceMs,
    );
    service = await startServiceUnderTest(stateDir);
    api = await signIn(service);
    expect(await settledServer(api, id)).toMatchObject({ status: 'ACTIVE', 'OS-EXT-STS:power_state': 1 });
    expect(await processOf(id)).toEqual(before);
    const [{ volumeId }] = await attachmentsOf(id);
    await api.compute('DELETE', `/servers/${id}/os-volume_attachments/${volumeId}`);
    await eventually(async () => (await statusOfVolume(volumeId)) === 'available', 'it is available', patienceMs);
  });

  it('turns itself off when it is stopped, and boots again with what it wrote', async () => {
    const written = Number(await inGuest(id, 'tail -n 1 /data/log'));
    expect(await act(api, id, { 'os-stop': null })).toMatchObject({ status: 'SHUTOFF', 'OS-EXT-STS:power_state': 4 });
    expect(await processOf(id)).toBeUndefined();
    const said = (await consoleOf(api, id)).length;
    expect(await act(api, id, { 'os-start': null })).toMatchObject({ status: 'ACTIVE' });
    await guestIsReady(api, id, said);
    expect(Number(await inGuest(id, 'tail -n 1 /data/log'))).toBeGreaterThanOrEqual(written);
  });

  it('is stopped once its guest turns it off, and restarts when it is asked to', async () => {
    await inGuest(id, 'sync; poweroff -f >/dev/null 2>&1 &');
    const off = await serverBecomes(api, id, 'SHUTOFF');
    expect(off).toMatchObject({ 'OS-EXT-STS:power_state': 4 });
    expect(off.fault).toBeUndefined();
    const said = (await consoleOf(api, id)).length;
    await act(api, id, { 'os-start': null });
    await guestIsReady(api, id, said);
    const before = await processOf(id);
    expect(await act(api, id, { reboot: { type: 'SOFT' } })).toMatchObject({ status: 'ACTIVE' });
    expect((await processOf(id))?.id).not.toBe(before?.id);
    expect(await act(api, id, { reboot: { type: 'HARD' } })).toMatchObject({ status: 'ACTIVE' });
  });

  it('is stopped, and says why, when its process was killed', async () => {
    process.kill((await processOf(id))?.id ?? 0, 'SIGKILL');
    const off = await serverBecomes(api, id, 'SHUTOFF');
    expect(off.fault).toMatchObject({ code: 500, message: expect.stringContaining('was killed') });
    const started = await act(api, id, { 'os-start': null });
    expect(started).toMatchObject({ status: 'ACTIVE' });
    expect(started.fault).toBeUndefined();
  });

  it('leaves nothing behind when it is deleted', async () => {
    const [extra] = await attachmentsOf(id);
    expect(extra).toBeUndefined();
    const before = await processOf(id);
    await deleteServer(api, id);
    expect(await processOf(id)).toBeUndefined();
    expect(await readdir(join(stateDir, 'servers'))).not.toContain(id);
    expect((await readdir(join(before?.agentPath ?? '', '../..'))).filter((name) => name.startsWith('m'))).toEqual([]);
    // The volume that it had, which stays.
    await eventually(async () => (await storedLayers()) <= layersBefore + 1, 'its disk is gone', patienceMs);
  });
});

describe('a server of several disks', { timeout: 240_000 }, () => {
  let imageId: string;
  let id: string;
  let disks: Answer[];
  let existing: string;

  it('boots from a volume that is made of an image, with what the image says, and has each of the others as it was asked for', async () => {
    imageId = await (await uploadGuest(api)).diskImage();
    existing = await makeVolume(api, {});
    const source = await makeVolume(api, {});
    const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: source } });
    await api.settled('snapshots', snapshot.id);
    id = await orderServer(api, {
      flavorRef,
      block_device_mapping_v2: [
        { source_type: 'image', uuid: imageId, destination_type: 'volume', volume_size: 1, boot_index: '0', delete_on_termination: true },
        { source_type: 'volume', uuid: existing, destination_type: 'volume', boot_index: null, device_name: '/dev/vdd' },
        { source_type: 'snapshot', uuid: snapshot.id, destination_type: 'volume', boot_index: -1, delete_on_termination: true },
        { source_type: 'blank', destination_type: 'local', volume_size: 2, boot_index: -1 },
      ],
    });
    const server = await serverBecomes(api, id, 'ACTIVE');
    expect(server.image).toBe('');
    await guestIsReady(api, id);
    disks = await attachmentsOf(id);
    expect(disks).toMatchObject([
      { device: '/dev/vda', delete_on_termination: true },
      { device: '/dev/vdb', delete_on_termination: true },
      { device: '/dev/vdd', delete_on_termination: false, volumeId: existing },
    ]);
    const gib = 2 ** 30 / 512;
    expect(await inGuest(id, 'for d in a b c d; do cat /sys/block/vd$d/size; done')).toBe([gib, gib, 2 * gib, gib].join('\n'));
    for (const { volumeId } of disks) expect(await statusOfVolume(volumeId)).toBe('in-use');
  });

  it('keeps its root disk, and what it was told to keep', async () => {
    const path = `/compute/v2.1/servers/${id}/os-volume_attachments`;
    expect((await api.raw('DELETE', `${path}/${disks[0].volumeId}`)).status).toBe(400);
    const twice = await api.raw('POST', path, { volumeAttachment: { volumeId: existing } });
    expect(twice.status).toBe(400);
    const other = { volumeAttachment: { volumeId: existing, delete_on_termination: false } };
    expect((await api.raw('PUT', `${path}/${existing}`, other, 'compute 2.85')).status).toBe(202);
    await deleteServer(api, id);
    expect((await api.volume('GET', `/volumes/${existing}`)).volume).toMatchObject({ status: 'available', attachments: [] });
    for (const { volumeId } of disks.slice(0, 2)) expect(await api.settled('volumes', volumeId)).toBeUndefined();
  });
});

describe('what cannot be', { timeout: 120_000 }, () => {
  const unknown = '11111111-2222-4333-8444-555555555555';
  const blank = { source_type: 'blank', destination_type: 'volume', volume_size: 1 };
  const refusalOf = async (server: object, version = 'compute 2.79'): Promise<[number, string]> => {
    const order = { server: { name: 'x', networks: 'none', flavorRef, ...server } };
    const { status, body } = await api.raw('POST', '/compute/v2.1/servers', order, version);
    return [status, (Object.values(body)[0] as Answer)?.message];
  };

  it('is refused when a server is ordered', async () => {
    const root = { ...blank, boot_index: 0 };
    const refusals: [object, string, string?][] = [
      [{}, 'Invalid imageRef provided'],
      [{ imageRef: unknown }, 'Can not find requested image'],
      [{ imageRef: '', flavorRef: 'no-such', block_device_mapping_v2: [root] }, 'Flavor no-such could not be found'],
      [{ block_device_mapping_v2: [{ ...blank, boot_index: 1 }] }, 'Boot sequence for the instance'],
      [{ block_device_mapping_v2: [root, { ...root }] }, 'Boot sequence for the instance'],
      [{ block_device_mapping_v2: [{ ...root, volume_size: undefined }] }, 'non-zero size'],
      [{ block_device_mapping_v2: [{ source_type: 'volume', uuid: unknown, boot_index: 0 }] }, 'failed to get volume'],
      [{ block_device_mapping_v2: [root], key_name: 'no-such' }, 'Invalid key_name'],
      [{ block_device_mapping_v2: [root], availability_zone: 'elsewhere' }, 'availability zone'],
      [{ block_device_mapping_v2: [root], min_count: 3, max_count: 2 }, 'min_count'],
      [{ block_device_mapping_v2: [root], networks: [{ uuid: unknown }] }, 'no networks'],
      [{ block_device_mapping_v2: [root], user_data: '$$' }, 'user_data'],
      [{ block_device_mapping_v2: [root], name: ' ' }, 'name'],
      [{ block_device_mapping_v2: [root], unknown_key: 1 }, 'unknown_key'],
      [{ block_device_mapping_v2: [root], tags: ['a'] }, "'tags' was unexpected", 'compute 2.51'],
      [{ block_device_mapping_v2: [root], networks: undefined }, "'networks' is a required property"],
    ];
    const told = await Promise.all(refusals.map(([server, , version]) => refusalOf(server, version)));
    for (const [at, [status, message]] of told.entries()) {
      expect([status, message]).toEqual([400, expect.stringContaining(refusals[at]?.[1] ?? '')]);
    }
    expect((await api.compute('GET', '/servers')).servers).toEqual([]);
  });

  it('is refused beyond the quota, and leaves no half of a server', async () => {
    const own = await api.compute('GET', `/os-quota-sets/${api.projectId}`);
    await api.compute('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: { instances: 1 } });
    const volumesBefore = (await api.volume('GET', '/volumes')).volumes.length;
    const order = { block_device_mapping_v2: [{ ...blank, boot_index: 0 }], min_count: 2 };
    expect(await refusalOf(order)).toEqual([403, expect.stringContaining('Quota exceeded for instances')]);
    expect((await api.compute('GET', '/servers')).servers).toEqual([]);
    expect((await api.volume('GET', '/volumes')).volumes).toHaveLength(volumesBefore);
    await api.compute('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: { instances: own.quota_set.instances } });
  });

  it('is refused in the wrong state, and of what is not there', async () => {
    const small = await makeFlavor(api, { ram: 64 });
    const order = { flavorRef: small, block_device_mapping_v2: [{ ...blank, boot_index: 0, delete_on_termination: true }] };
    const id = await orderServer(api, order);
    await serverBecomes(api, id, 'ACTIVE');
    const send = async (method: string, path: string, body?: unknown, version?: string): Promise<number> =>
      (await api.raw(method, `/compute/v2.1/servers/${path}`, body, version ?? 'compute 2.79')).status;
    expect(await send('POST', `${id}/action`, { 'os-start': null })).toBe(409);
    expect(await send('POST', `${id}/action`, { unpause: null })).toBe(409);
    expect(await send('POST', `${id}/action`, { reboot: { type: 'WARM' } })).toBe(400);
    expect(await send('POST', `${id}/action`, { none: null })).toBe(400);
    expect(await send('POST', `${unknown}/action`, { 'os-start': null })).toBe(404);
    expect(await send('POST', `${id}/os-volume_attachments`, { volumeAttachment: { volumeId: unknown } })).toBe(404);
    expect(await send('DELETE', `${id}/os-volume_attachments/${unknown}`)).toBe(404);
    expect(await send('GET', `${id}/metadata/none`)).toBe(404);
    expect(await send('PUT', `${id}/metadata/a`, { meta: { b: 'c' } })).toBe(400);
    const much = Object.fromEntries(Array.from({ length: 129 }, (_, at) => [`k${at}`, 'v']));
    expect(await send('POST', `${id}/metadata`, { metadata: much })).toBe(403);
    expect(await send('PUT', id, { server: { name: '' } })).toBe(400);
    expect(await send('GET', `${id}/tags`, undefined, 'compute 2.25')).toBe(404);
    expect(await send('PUT', `${id}/tags/a%2Cb`)).toBe(400);
    expect(await send('PUT', `${id}/tags/a`)).toBe(201);
    expect(await send('PUT', `${id}/tags/a`)).toBe(204);
    expect(await send('PUT', id, { server: { accessIPv4: '1.2.3' } })).toBe(400);
    expect(await send('PUT', id, { server: { accessIPv6: 'fe80::1%eth0' } })).toBe(400);
    const addresses = { accessIPv4: '1.2.3.4', accessIPv6: '0:0:0:0:0:babe:0:1' };
    expect((await api.compute('PUT', `/servers/${id}`, { server: addresses })).server).toMatchObject({
      accessIPv4: '1.2.3.4',
      accessIPv6: '::babe:0:1',
    });

    await act(api, id, { 'os-resetState': { state: 'error' } });
    expect(await send('POST', `${id}/action`, { pause: null })).toBe(409);
    expect((await act(api, id, { reboot: { type: 'HARD' } })).status).toBe('ACTIVE');
    await deleteServer(api, id);
    const { instanceActions } = await api.compute('GET', `/servers/${id}/os-instance-actions`);
    expect(instanceActions.map(({ action }: Answer) => action)).toEqual(['delete', 'reboot', 'create']);
  });
});
