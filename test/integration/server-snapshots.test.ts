import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { checkFormattedDisk } from '../support/guest/disk-images.ts';
import { makeSnapshot, makeVolume, mustSettle } from '../support/scenario.ts';
import { inGuest } from '../support/server-processes.ts';
import {
  act,
  deleteServer,
  guestIsReady,
  guestSays,
  makeFlavor,
  orderServer,
  serverBecomes,
  settledServer,
  uploadGuest,
} from '../support/servers.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/** What is made of a running guest: the moment, as the guest, its agent and the bytes tell of it. */
const run = promisify(execFile);
let stateDir: string;
let work: string;
let service: ServiceUnderTest;
let api: Api;
let flavorRef: string;
let imageRef: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'sp-server-snapshots-'));
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
  flavorRef = await makeFlavor(api);
  imageRef = await (await uploadGuest(api)).diskImage({ writer: true });
});
afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
  await rm(work, { recursive: true, force: true });
});

const imageNamed = async (name: string): Promise<Answer | undefined> => (await api.image('GET', `/images?name=${name}`)).images[0];

/** The sequence numbers in the log of the disk in a file. */
async function logOf(path: string): Promise<number[]> {
  const { stdout } = await run('/usr/sbin/debugfs', ['-R', 'cat /log', path]);
  return stdout.trim().split('\n').map(Number);
}

async function booted(facts: object): Promise<string> {
  const id = await orderServer(api, { flavorRef, ...facts });
  await serverBecomes(api, id, 'ACTIVE');
  await guestIsReady(api, id);
  return id;
}

const acknowledged = async (id: string): Promise<number> => Number(await inGuest(id, 'cat /run/acknowledged'));

describe('a guest that writes', { timeout: 240_000 }, () => {
  let id: string;
  let before: number;
  let copyId: string;

  it('stands still for an image of it, and goes on', async () => {
    id = await booted({ imageRef });
    await guestSays(api, id, /guest: wrote \d\d/);
    before = await acknowledged(id);
    await api.compute('POST', `/servers/${id}/action`, { createImage: { name: 'copy', metadata: { purpose: 'test' } } });
    expect(await settledServer(api, id)).toMatchObject({ status: 'ACTIVE' });
    const image = await imageNamed('copy');
    expect(image).toMatchObject({
      status: 'active',
      disk_format: 'qcow2',
      container_format: 'bare',
      visibility: 'private',
      image_type: 'snapshot',
      image_location: 'snapshot',
      instance_uuid: id,
      base_image_ref: imageRef,
      hw_qemu_guest_agent: 'yes',
      purpose: 'test',
    });
    copyId = image?.id;
    expect(await inGuest(id, 'grep -c freeze /run/hook-calls')).toBe('1');
    const after = await acknowledged(id);
    await expect.poll(() => acknowledged(id), { timeout: 30_000 }).toBeGreaterThan(after);
  });

  it('left a file system that is clean, with everything that it was told is on the disk, in order', async () => {
    const path = join(work, 'copy.raw');
    await run('qemu-img', ['convert', '-O', 'raw', join(stateDir, 'images', copyId, 'data'), path]);
    await checkFormattedDisk(path, 'ext4');
    const numbers = await logOf(path);
    expect(numbers.length).toBeGreaterThanOrEqual(before);
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index + 1));
    // What the hook in the guest made durable.
    const { stdout } = await run('/usr/sbin/debugfs', ['-R', 'cat /hook-mark', path]);
    expect(stdout.trim()).toBe('quiet');
  });

  it('boots from the image, and counts on', async () => {
    const other = await booted({ imageRef: copyId });
    const [, first] = await guestSays(api, other, /guest: wrote (\d+)/);
    expect(Number(first)).toBeGreaterThan(before);
    await deleteServer(api, other);
  });

  it('has one of its hooks fail: nothing is made, nothing is left, and the server says why', async () => {
    await inGuest(id, 'echo fails > /run/hook');
    await api.compute('POST', `/servers/${id}/action`, { createImage: { name: 'refused' } });
    expect(await settledServer(api, id)).toMatchObject({ status: 'ACTIVE' });
    expect(await imageNamed('refused')).toBeUndefined();
    const { instanceActions } = await api.compute('GET', `/servers/${id}/os-instance-actions`);
    const refused = instanceActions.filter(({ action, message }: Answer) => action === 'createImage' && message !== null);
    expect(refused).toHaveLength(1);
    const { instanceAction } = await api.compute('GET', `/servers/${id}/os-instance-actions/${refused[0].request_id}`, undefined, 84);
    expect(instanceAction.events[0].details).toMatch(/could not be frozen.*hook has failed/);
    const volume = await makeVolume(api, {});
    await api.compute('POST', `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId: volume } });
    await expect.poll(async () => (await api.volume('GET', `/volumes/${volume}`)).volume.status, { timeout: 60_000 }).toBe('in-use');
    const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: volume, name: 'refused', force: true } });
    await mustSettle(api, 'snapshots', snapshot.id, 'error');
    // Nobody in the guest waits.
    await inGuest(id, 'echo succeeds > /run/hook; sync; echo here > /data/here');
    expect(await makeSnapshot(api, volume)).toBeTruthy();
    // Nobody takes a disk away behind the guest's back; what an administrator took by force, the server lets go of.
    const { attachments } = (await api.volume('GET', `/volumes/${volume}`)).volume;
    const [{ attachment_id: attachmentId }] = attachments;
    expect((await api.raw('DELETE', `/volume/v3/attachments/${attachmentId}`, undefined, 'volume 3.44')).status).toBe(409);
    await api.volume('POST', `/volumes/${volume}/action`, { 'os-begin_detaching': {} });
    expect((await api.raw('POST', `/volume/v3/volumes/${volume}/action`, { 'os-detach': {} })).status).toBe(409);
    await api.volume('POST', `/volumes/${volume}/action`, { 'os-roll_detaching': {} });
    await api.volume('POST', `/volumes/${volume}/action`, { 'os-force_detach': { attachment_id: attachmentId } });
    await mustSettle(api, 'volumes', volume, 'available');
    await api.compute('DELETE', `/servers/${id}/os-volume_attachments/${volume}`);
    await expect
      .poll(async () => (await api.compute('GET', `/servers/${id}/os-volume_attachments`)).volumeAttachments, { timeout: 90_000 })
      .toEqual([]);
    await deleteServer(api, id);
  });
});

describe('a server that boots from volumes', { timeout: 240_000 }, () => {
  it('becomes an image that names snapshots of all its volumes, from which another boots', async () => {
    const boot = {
      source_type: 'image',
      destination_type: 'volume',
      uuid: imageRef,
      boot_index: 0,
      volume_size: 1,
      delete_on_termination: true,
    };
    const data = { source_type: 'blank', destination_type: 'volume', boot_index: -1, volume_size: 1, delete_on_termination: true };
    const id = await booted({ block_device_mapping_v2: [boot, data] });
    const before = Number((await guestSays(api, id, /guest: wrote (\d+)/))[1]);
    await act(api, id, { createImage: { name: 'volumes' } });
    const image = await imageNamed('volumes');
    expect(image).toMatchObject({
      status: 'active',
      size: 0,
      disk_format: null,
      container_format: null,
      bdm_v2: 'True',
      root_device_name: '/dev/vda',
    });
    const mapping = JSON.parse(image?.block_device_mapping);
    expect(mapping.map((entry: Answer) => [entry.device_name, entry.boot_index, entry.source_type])).toEqual([
      ['/dev/vda', 0, 'snapshot'],
      ['/dev/vdb', null, 'snapshot'],
    ]);
    for (const { snapshot_id: snapshot } of mapping) await mustSettle(api, 'snapshots', snapshot, 'available');
    const other = await booted({ imageRef: image?.id });
    expect(Number((await guestSays(api, other, /guest: wrote (\d+)/))[1])).toBeGreaterThan(before);
    expect((await serverBecomes(api, other, 'ACTIVE'))['os-extended-volumes:volumes_attached']).toHaveLength(2);
    await deleteServer(api, other);
  });
});

describe('a server whose image demands that it stands still', { timeout: 120_000 }, () => {
  it('is not copied while its guest has no agent that answers', async () => {
    const strict = await (await uploadGuest(api)).diskImage({ agent: false }, { os_require_quiesce: 'yes' });
    const id = await booted({ imageRef: strict });
    await api.compute('POST', `/servers/${id}/action`, { createImage: { name: 'strict' } });
    expect(await settledServer(api, id)).toMatchObject({ status: 'ACTIVE' });
    expect(await imageNamed('strict')).toBeUndefined();
    await act(api, id, { 'os-stop': null });
    await serverBecomes(api, id, 'SHUTOFF');
    await act(api, id, { createImage: { name: 'strict' } });
    expect(await imageNamed('strict')).toMatchObject({ status: 'active' });
  });
});
