import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { mustRun, openstack } from '../support/clients.ts';
import {
  connect,
  disconnect,
  makeBackup,
  makeImage,
  makeModel,
  makeSnapshot,
  makeVolume,
  mustBecomeQuiet,
  mustHold,
} from '../support/scenario.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/** Requests that have to be refused: each gets the contract's answer, and everything that was there is as it was. */

const content = randomBytes(3 << 20);
let stateDir: string;
let service: ServiceUnderTest;
let work: string;
let api: Api;
let volumeId: string;
let model: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'stillpoint-bad-input-'));
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
  volumeId = await makeVolume(api, { imageRef: await makeImage(api, 'good', content) }, 'good');
  model = await makeModel(work, 'model.raw', content);
});

afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
  await rm(work, { recursive: true, force: true });
});

/** What one call answers, as `code: message`. */
async function answerTo(method: string, path: string, body?: unknown): Promise<string> {
  const reply = await api.raw(method, `/volume/v3${path}`, body);
  const [fault] = Object.values<Answer>(typeof reply.body === 'object' ? reply.body : {});
  return `${reply.status}: ${fault?.message ?? reply.body}`;
}

const setQuota = (quota: Record<string, number>) => api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: quota });

describe('an id that nobody has', () => {
  const id = randomUUID();
  const volume = `404: Volume ${id} could not be found.`;
  const snapshot = `404: Snapshot ${id} could not be found.`;
  const backup = `404: Backup ${id} could not be found.`;

  it.each([
    ['GET', `/volumes/${id}`, undefined, volume],
    ['DELETE', `/volumes/${id}`, undefined, volume],
    ['PUT', `/volumes/${id}`, { volume: { name: 'x' } }, volume],
    ['POST', `/volumes/${id}/action`, { 'os-extend': { new_size: 2 } }, volume],
    ['POST', '/volumes', { volume: { size: 1, snapshot_id: id } }, snapshot],
    ['POST', '/volumes', { volume: { size: 1, source_volid: id } }, volume],
    ['POST', '/volumes', { volume: { size: 1, imageRef: id } }, '400: Invalid image identifier or unable to access requested image.'],
    ['POST', '/snapshots', { snapshot: { volume_id: id } }, volume],
    ['GET', `/snapshots/${id}`, undefined, snapshot],
    ['DELETE', `/snapshots/${id}`, undefined, snapshot],
    ['POST', '/backups', { backup: { volume_id: id } }, volume],
    ['GET', `/backups/${id}`, undefined, backup],
    ['DELETE', `/backups/${id}`, undefined, backup],
    ['POST', `/backups/${id}/restore`, { restore: {} }, backup],
    ['POST', `/backups/${id}/action`, { 'os-force_delete': {} }, backup],
  ])('%s %s', async (method, path, body, answer) => {
    expect(await answerTo(method, path, body)).toBe(answer);
  });

  it('as a snapshot to back up, or as the volume to restore to', async () => {
    expect(await answerTo('POST', '/backups', { backup: { volume_id: volumeId, snapshot_id: id } })).toBe(snapshot);
    const backupId = await makeBackup(api, volumeId);
    expect(await answerTo('POST', `/backups/${backupId}/restore`, { restore: { volume_id: id } })).toBe(volume);
    await api.volume('DELETE', `/backups/${backupId}`);
    await api.settled('backups', backupId);
  });

  it('is told to the client by name, too', async () => {
    const shown = await openstack(service, 'volume', 'show', 'nobody');
    expect([shown.code, shown.stderr.trim()]).toEqual([1, "No volume with a name or ID of 'nobody' exists."]);
    const deleted = await openstack(service, 'volume', 'backup', 'delete', id);
    expect(deleted.code).toBe(1);
    expect(deleted.stderr).toContain(`No volumebackup with a name or ID of '${id}' exists.`);
  });
});

describe('a resource in the wrong state', () => {
  const notDeletable = /^400: Invalid volume: Volume status must be available or error/;

  it('a volume with snapshots is not deleted', async () => {
    const snapshotId = await makeSnapshot(api, volumeId);
    expect(await answerTo('DELETE', `/volumes/${volumeId}`)).toMatch(notDeletable);
    await api.volume('DELETE', `/snapshots/${snapshotId}`);
    expect(await api.settled('snapshots', snapshotId)).toBeUndefined();
  });

  it('a connected volume is neither deleted, restored to, nor backed up without force', async () => {
    const backupId = await makeBackup(api, volumeId);
    await connect(api, volumeId);
    expect(await answerTo('DELETE', `/volumes/${volumeId}`)).toMatch(notDeletable);
    expect(await answerTo('POST', `/backups/${backupId}/restore`, { restore: { volume_id: volumeId } })).toBe(
      '400: Invalid volume: Volume to be restored to must be available',
    );
    const refused = await openstack(service, 'volume', 'backup', 'create', volumeId);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('Invalid volume: Backing up an in-use volume must use the force flag. (HTTP 400)');
    expect((await api.volume('GET', `/volumes/${volumeId}`)).volume.status).toBe('in-use');
    await disconnect(api, volumeId);
    await api.volume('DELETE', `/backups/${backupId}`);
    await api.settled('backups', backupId);
  });

  it('a volume or snapshot or backup in error is not worked with', async () => {
    const snapshotId = await makeSnapshot(api, volumeId);
    const backupId = await makeBackup(api, volumeId);
    const reset = (path: string, status: string) => api.volume('POST', `${path}/action`, { 'os-reset_status': { status } });
    await reset(`/volumes/${volumeId}`, 'error');
    await reset(`/snapshots/${snapshotId}`, 'error');
    await reset(`/backups/${backupId}`, 'error');
    expect(await answerTo('POST', '/snapshots', { snapshot: { volume_id: volumeId } })).toMatch(/^400: Invalid volume: /);
    expect(await answerTo('POST', '/backups', { backup: { volume_id: volumeId } })).toMatch(/^400: Invalid volume: /);
    expect(await answerTo('POST', '/volumes', { volume: { size: 1, source_volid: volumeId } })).toMatch(/^400: Invalid volume: /);
    expect(await answerTo('POST', `/volumes/${volumeId}/action`, { 'os-extend': { new_size: 2 } })).toMatch(/^400: Invalid volume: /);
    expect(await answerTo('POST', '/volumes', { volume: { size: 1, snapshot_id: snapshotId } })).toMatch(/^400: Invalid snapshot: /);
    expect(await answerTo('POST', `/backups/${backupId}/restore`, { restore: {} })).toBe(
      '400: Invalid backup: Backup status must be available',
    );
    await reset(`/volumes/${volumeId}`, 'available');
    expect(await answerTo('POST', '/backups', { backup: { volume_id: volumeId, snapshot_id: snapshotId } })).toMatch(
      /^400: Invalid snapshot: /,
    );
    expect(await answerTo('POST', '/backups', { backup: { volume_id: volumeId, incremental: true } })).toBe(
      '400: Invalid backup: The parent backup must be available for incremental backup.',
    );
    await api.volume('DELETE', `/snapshots/${snapshotId}`);
    await api.volume('DELETE', `/backups/${backupId}`);
    await api.settled('snapshots', snapshotId);
    await api.settled('backups', backupId);
  });

  it('an increment needs a full backup, and a backup with increments stays', async () => {
    const create = (incremental: boolean) => answerTo('POST', '/backups', { backup: { volume_id: volumeId, incremental } });
    expect(await create(true)).toBe('400: Invalid backup: No backups available to do an incremental backup.');
    const full = await makeBackup(api, volumeId);
    const increment = await makeBackup(api, volumeId, { incremental: true });
    const dependents = '400: Invalid backup: Incremental backups exist for this backup.';
    expect(await answerTo('DELETE', `/backups/${full}`)).toBe(dependents);
    expect(await answerTo('POST', `/backups/${full}/action`, { 'os-force_delete': {} })).toBe(dependents);
    for (const id of [increment, full]) {
      await api.volume('DELETE', `/backups/${id}`);
      expect(await api.settled('backups', id)).toBeUndefined();
    }
  });
});

describe('a size that is too small', () => {
  it('a volume smaller than its image, its snapshot, its source or its backup', async () => {
    const wide = join(work, 'wide.qcow2');
    await mustRun('qemu-img', ['create', '-q', '-f', 'qcow2', wide, '2G']);
    const image = await makeImage(api, 'wide', await readFile(wide), 'qcow2');
    expect(await answerTo('POST', '/volumes', { volume: { size: 1, imageRef: image } })).toBe(
      "400: Invalid input received: Size of specified image '2'GB is larger than volume size '1'GB.",
    );
    const large = await makeVolume(api, { size: 2, imageRef: image }, 'large');
    const snapshotId = await makeSnapshot(api, large);
    const backupId = await makeBackup(api, large);
    expect(await answerTo('POST', '/volumes', { volume: { size: 1, snapshot_id: snapshotId } })).toMatch(
      /^400: Invalid input received: Volume size '1'GB cannot be smaller than the snapshot size 2GB/,
    );
    expect(await answerTo('POST', '/volumes', { volume: { size: 1, source_volid: large } })).toMatch(/^400: Invalid input received: /);
    expect(await answerTo('POST', `/backups/${backupId}/restore`, { restore: { volume_id: volumeId } })).toBe(
      '400: Invalid volume: volume size 1 is too small to restore backup of size 2.',
    );
    expect(await answerTo('POST', `/volumes/${large}/action`, { 'os-extend': { new_size: 2 } })).toMatch(/^400: /);
    await api.volume('DELETE', `/backups/${backupId}`);
    expect(await api.settled('backups', backupId)).toBeUndefined();
    await api.volume('DELETE', `/volumes/${large}?cascade=True`);
    expect(await api.settled('volumes', large)).toBeUndefined();
  });

  it.each([0, -1, 1.5, 'x', null])('a volume of %s GiB', async (size) => {
    expect(await answerTo('POST', '/volumes', { volume: { size } })).toMatch(/^400: /);
  });
});

describe('more than the quota allows', () => {
  it('is refused with the name of the limit, and takes nothing', async () => {
    const backupId = await makeBackup(api, volumeId);
    await setQuota({ volumes: 1, snapshots: 0, backups: 1 });
    const one = { volume: { size: 1 } };
    expect(await answerTo('POST', '/volumes', one)).toBe(
      "413: VolumeLimitExceeded: Maximum number of volumes allowed (1) exceeded for quota 'volumes'.",
    );
    expect(await answerTo('POST', '/snapshots', { snapshot: { volume_id: volumeId } })).toBe(
      '413: SnapshotLimitExceeded: Maximum number of snapshots allowed (0) exceeded',
    );
    const backUp = () => answerTo('POST', '/backups', { backup: { volume_id: volumeId } });
    expect(await backUp()).toBe('413: BackupLimitExceeded: Maximum number of backups allowed (1) exceeded');
    expect(await answerTo('POST', `/backups/${backupId}/restore`, { restore: {} })).toMatch(/^413: VolumeLimitExceeded: /);
    await setQuota({ volumes: -1, snapshots: -1, backups: -1, gigabytes: 1, backup_gigabytes: 1 });
    expect(await backUp()).toBe(
      '413: VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. Requested 1G, quota is 1G and 1G has been consumed.',
    );
    const gigabytes =
      '413: VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested 1G, quota is 1G and 1G has been consumed.';
    expect(await answerTo('POST', '/volumes', one)).toBe(gigabytes);
    expect(await answerTo('POST', '/snapshots', { snapshot: { volume_id: volumeId } })).toBe(gigabytes);
    expect(await answerTo('POST', `/volumes/${volumeId}/action`, { 'os-extend': { new_size: 2 } })).toBe(gigabytes);
    const refused = await openstack(service, 'volume', 'create', '--size', '1', 'more');
    expect([refused.code, refused.stderr.includes('VolumeSizeExceedsAvailableQuota')]).toEqual([1, true]);
    await setQuota({ gigabytes: 1000, backup_gigabytes: 1000 });
    const { quota_set: usage } = await api.volume('GET', `/os-quota-sets/${api.projectId}?usage=True`);
    expect([usage.volumes.in_use, usage.snapshots.in_use, usage.backups.in_use]).toEqual([1, 0, 1]);
    expect((await api.volume('GET', `/backups/${backupId}`)).backup.status).toBe('available');
  });
});

describe('an image that is not what it says', () => {
  /** The status of the upload, and what became of the image. */
  async function upload(path: string): Promise<{ status: number; image: Answer }> {
    const { id } = await api.image('POST', '/images', { name: 'bad', disk_format: 'qcow2', container_format: 'bare' });
    const status = await api.upload(id, await readFile(path));
    return { status, image: await api.image('GET', `/images/${id}`) };
  }
  const expectRefused = async (path: string): Promise<void> => {
    const { status, image } = await upload(path);
    expect(status).toBe(400);
    expect(image.status).toBe('queued');
    expect(await answerTo('POST', '/volumes', { volume: { size: 1, imageRef: image.id } })).toMatch(/^400: /);
    expect((await api.raw('GET', `/image/v2/images/${image.id}/file`)).body).not.toContain('root:');
    await api.image('DELETE', `/images/${image.id}`);
  };
  const qcow2 = async (name: string, ...options: string[]): Promise<string> => {
    const path = join(work, `${name}.qcow2`);
    await mustRun('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, path, '64M']);
    return path;
  };

  it('a truncated qcow2', async () => {
    const raw = join(work, 'random.raw');
    const path = join(work, 'short.qcow2');
    await writeFile(raw, content);
    await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
    const whole = await readFile(path);
    for (const length of [10, 72, 300, 65_536, whole.length - 200_000]) {
      await writeFile(path, whole.subarray(0, length));
      await expectRefused(path);
    }
  });

  it('a qcow2 on top of a file of the server', async () => {
    await expectRefused(await qcow2('backed', '-b', '/etc/passwd', '-F', 'raw', '-u'));
  });

  it('a qcow2 whose data is in a file of the server', async () => {
    const path = await qcow2('external', '-o', `data_file=${join(work, 'data')},data_file_raw=on`);
    const bytes = await readFile(path);
    // The same, pointing at a file that every server has.
    const at = bytes.indexOf(join(work, 'data'));
    expect(at).toBeGreaterThan(0);
    await expectRefused(path);
    bytes.write('/etc/passwd\0', at, 'latin1');
    await writeFile(path, bytes);
    await expectRefused(path);
  });

  it('an upload that is given up half-way leaves its connection usable', async () => {
    const { id } = await api.image('POST', '/images', { name: 'half', disk_format: 'raw', container_format: 'bare' });
    const socket = connectTcp(Number(new URL(service.url).port), '127.0.0.1');
    let answers = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answers += text;
    });
    const head = `host: x\r\nx-auth-token: ${api.token}\r\n`;
    const upload = `${head}content-type: application/octet-stream\r\ncontent-length: ${content.length}\r\n\r\n`;
    socket.write(`PUT /image/v2/images/${id}/file HTTP/1.1\r\n${upload}`);
    socket.write(content.subarray(0, 1 << 20));
    await expect.poll(async () => (await api.image('GET', `/images/${id}`)).status).toBe('saving');
    await api.image('DELETE', `/images/${id}`);
    await expect.poll(() => answers).toMatch(/^HTTP\/1.1 410/);
    socket.write(content.subarray(1 << 20));
    answers = '';
    socket.write(`GET /image/v2/images/${id} HTTP/1.1\r\n${head}\r\n`);
    await expect.poll(() => answers, { timeout: 5_000 }).toMatch(/HTTP\/1.1 404/);
    socket.destroy();
  });

  it('raw bytes that are called qcow2', async () => {
    const path = join(work, 'raw.qcow2');
    await writeFile(path, content);
    await expectRefused(path);
  });

  it('a qcow2 that is called raw and names a file of the server stays a sequence of bytes', async () => {
    const path = await qcow2('disguised', '-b', '/etc/passwd', '-F', 'raw', '-u');
    const bytes = await readFile(path);
    const { id } = await api.image('POST', '/images', { name: 'raw', disk_format: 'raw', container_format: 'bare' });
    if ((await api.upload(id, bytes)) !== 204) return;
    const made = await makeVolume(api, { imageRef: id }, 'disguised');
    await mustHold(api, made, await makeModel(work, 'disguised.raw', bytes));
    await api.volume('DELETE', `/volumes/${made}`);
    await api.settled('volumes', made);
  });
});

it('leaves the volume as it was and nothing on its way', async () => {
  await mustBecomeQuiet(api);
  await mustHold(api, volumeId, model);
  const { volumes } = await api.volume('GET', '/volumes/detail');
  expect(volumes.map(({ id, status }: Answer) => [id, status])).toEqual([[volumeId, 'available']]);
});
