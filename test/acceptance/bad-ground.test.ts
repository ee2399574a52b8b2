import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { mustRun, openstack, stillpoint } from '../support/clients.ts';
import { connect, disconnect, makeBackup, makeModel, makeVolume, mustBecomeQuiet, mustHold, mustSettle } from '../support/scenario.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/** Storage that lies or is full below the whole service: what fails says why, and what it did not concern is as it was. */

const mib = 1 << 20;
let work: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'stillpoint-bad-ground-'));
});
afterAll(() => rm(work, { recursive: true, force: true }));

/** A blank volume whose first bytes are random, and a file that holds the same. */
async function randomVolume(api: Api, name: string, dataMib: number): Promise<{ id: string; model: string }> {
  const id = await makeVolume(api, {}, name);
  const bytes = randomBytes(dataMib * mib);
  const head = join(work, `${name}.head`);
  await writeFile(head, bytes);
  const uri = await connect(api, id);
  await mustRun('nbdcopy', ['--flush', head, uri]);
  await disconnect(api, id);
  return { id, model: await makeModel(work, `${name}.raw`, bytes) };
}

const restoreTo = async (api: Api, backupId: string, volumeId: string | null): Promise<string> =>
  (await api.volume('POST', `/backups/${backupId}/restore`, { restore: { volume_id: volumeId } })).restore.volume_id;

const resetVolume = (api: Api, id: string) => api.volume('POST', `/volumes/${id}/action`, { 'os-reset_status': { status: 'available' } });

async function backupReason(api: Api, id: string): Promise<string> {
  const { backup } = await api.volume('GET', `/backups/${id}`);
  expect(backup.status).toBe('available');
  return backup.fail_reason;
}

describe('a damaged pack', () => {
  let stateDir: string;
  let service: ServiceUnderTest;
  let api: Api;
  let packs: string;

  beforeAll(async () => {
    stateDir = await makeStateDir();
    service = await startServiceUnderTest(stateDir);
    api = await signIn(service);
    packs = join(stateDir, 'repositories/default/p');
  });
  afterAll(async () => {
    await service?.stop();
    await removeStateDir(stateDir);
  });

  async function largestPackBeside(known: readonly string[]): Promise<string> {
    const files = (await readdir(packs, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const paths = files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => !known.includes(path));
    const sized = await Promise.all(paths.map(async (path) => ({ path, size: (await stat(path)).size })));
    return sized.toSorted((a, b) => b.size - a.size)[0]?.path ?? '';
  }

  async function flipByte(path: string): Promise<void> {
    const file = await open(path, 'r+');
    const at = Math.floor((await file.stat()).size / 2);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    await file.write(Buffer.of((byte[0] ?? 0) ^ 0x40), 0, 1, at);
    await file.close();
  }

  it('fails the restore with the damaged range, and leaves the target and other backups alone', async () => {
    const good = await randomVolume(api, 'good', 8);
    const goodBackup = await makeBackup(api, good.id);
    const goodPack = await largestPackBeside([]);
    const harmed = await randomVolume(api, 'harmed', 16);
    const harmedBackup = await makeBackup(api, harmed.id);
    await flipByte(await largestPackBeside([goodPack]));

    const reason = /^Stored data is corrupted: disk bytes (\d+)-(\d+) cannot be read\.$/;
    await restoreTo(api, harmedBackup, good.id);
    await mustSettle(api, 'volumes', good.id, 'error_restoring');
    const [, first, last] = reason.exec(await backupReason(api, harmedBackup)) ?? [];
    expect(Number(last)).toBeLessThan(16 * mib);
    expect(Number(last) - Number(first) + 1).toBeLessThanOrEqual(4 * 65_536);
    await resetVolume(api, good.id);
    await mustHold(api, good.id, good.model);

    const fresh = await restoreTo(api, harmedBackup, null);
    await mustSettle(api, 'volumes', fresh, 'error');
    expect(await backupReason(api, harmedBackup)).toMatch(reason);
    expect((await openstack(service, 'volume', 'delete', fresh)).code).toBe(0);
    expect(await api.settled('volumes', fresh)).toBeUndefined();

    const output = join(work, 'offline.raw');
    const repository = ['--repo', join(stateDir, 'repositories/default'), '--key', join(stateDir, 'keys/default.key')];
    const offline = await stillpoint(service, 'repository', 'restore', ...repository, '--backup', harmedBackup, '--output', output);
    expect(offline.code).not.toBe(0);
    expect(offline.stderr).toContain(`bytes ${first}-${last}`);

    const whole = await restoreTo(api, goodBackup, null);
    await mustSettle(api, 'volumes', whole, 'available');
    await mustHold(api, whole, good.model);
    await mustHold(api, harmed.id, harmed.model);
    await mustBecomeQuiet(api);
  });

  it('a pack that is gone fails the restore, too', async () => {
    const before = await readdir(packs, { recursive: true });
    const lost = await randomVolume(api, 'lost', 4);
    const backup = await makeBackup(api, lost.id);
    await rm(await largestPackBeside(before.map((name) => join(packs, name))));
    // A disk that still holds what was backed up would need nothing of the repository.
    const other = await randomVolume(api, 'other', 4);
    await restoreTo(api, backup, other.id);
    await mustSettle(api, 'volumes', other.id, 'error_restoring');
    expect(await backupReason(api, backup)).toMatch(/^Stored data is missing/);
    await resetVolume(api, other.id);
    await mustHold(api, other.id, other.model);
  });

  it('a second service on the same state is refused, and the first one goes on', async () => {
    await expect(startServiceUnderTest(stateDir)).rejects.toThrow(/ended \([1-9]\d*\) before it was ready[\s\S]*stillpoint: /);
    expect((await api.volume('GET', '/volumes')).volumes.length).toBeGreaterThan(0);
  });
});

describe.runIf(process.getuid?.() === 0)('a full disk', () => {
  let stateDir: string;
  let service: ServiceUnderTest;
  let api: Api;
  const small = (name: string) => join(stateDir, name);
  const mounted = ['images', 'repositories', 'volumes'];
  const resize = (name: string, sizeMib: number) => mustRun('mount', ['-o', `remount,size=${sizeMib}m`, small(name)]);

  beforeAll(async () => {
    stateDir = await makeStateDir();
    for (const name of mounted) {
      await mkdir(small(name), { mode: 0o700 });
      await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'tmpfs', small(name)]);
    }
    await resize('volumes', 96);
    await chmod(stateDir, 0o711);
    service = await startServiceUnderTest(stateDir, { STILLPOINT_DISK_RESERVE_BYTES: '0' });
    api = await signIn(service);
  });
  afterAll(async () => {
    await service?.stop();
    for (const name of mounted) await mustRun('umount', ['-l', small(name)]).catch(() => undefined);
    await removeStateDir(stateDir);
  });

  it('refuses an image that does not fit, and takes it when there is room', async () => {
    const { id } = await api.image('POST', '/images', { name: 'large', disk_format: 'raw', container_format: 'bare' });
    const bytes = randomBytes(32 * mib);
    expect(await api.upload(id, bytes)).toBe(413);
    expect((await api.image('GET', `/images/${id}`)).status).toBe('queued');
    const left = await readdir(small('images'), { recursive: true, withFileTypes: true });
    expect(left.filter((entry) => entry.isFile())).toEqual([]);
    await resize('images', 96);
    expect(await api.upload(id, bytes)).toBe(204);
    await api.image('DELETE', `/images/${id}`);
  });

  it('fails a backup with the reason, frees the volume, and the next backup is whole', async () => {
    const { id, model } = await randomVolume(api, 'source', 32);
    const { backup } = await api.volume('POST', '/backups', { backup: { volume_id: id } });
    expect(await mustSettle(api, 'backups', backup.id, 'error')).toMatchObject({ fail_reason: 'No space left on the disk.' });
    await mustSettle(api, 'volumes', id, 'available');
    await mustHold(api, id, model);
    await resize('repositories', 160);
    await makeBackup(api, id);
    await api.volume('DELETE', `/backups/${backup.id}`);
    expect(await api.settled('backups', backup.id)).toBeUndefined();
  });

  it('fails a restore with the reason, the target keeps its bytes, and the next restore is whole', async () => {
    const { volumes } = await api.volume('GET', '/volumes/detail?name=source');
    const { backups } = await api.volume('GET', `/backups/detail?volume_id=${volumes[0].id}`);
    const backupId = backups.find(({ status }: Answer) => status === 'available').id;
    const target = await randomVolume(api, 'target', 8);
    const filler = join(small('volumes'), 'filler');
    await writeFile(filler, Buffer.alloc(32 * mib));
    await restoreTo(api, backupId, target.id);
    await mustSettle(api, 'volumes', target.id, 'error_restoring');
    expect(await backupReason(api, backupId)).toMatch(/space/);
    await resetVolume(api, target.id);
    await mustHold(api, target.id, target.model);
    await rm(filler);
    await restoreTo(api, backupId, target.id);
    await mustSettle(api, 'volumes', target.id, 'available');
    await mustHold(api, target.id, join(work, 'source.raw'));
    await mustBecomeQuiet(api);
  });

  it('fails a write into a connected volume, which goes on when there is room', async () => {
    const id = await makeVolume(api, {}, 'growing');
    const uri = await connect(api, id);
    await resize('volumes', 80);
    const write = ['-f', 'raw', '-c', `write -q -P 9 0 64M`, '-c', 'flush', uri];
    await expect(mustRun('qemu-io', write)).rejects.toThrow(/No space left on device/);
    const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: id } });
    await api.settled('snapshots', snapshot.id);
    await resize('volumes', 400);
    await mustRun('qemu-io', write);
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'read -q -P 9 0 64M', uri]);
    await disconnect(api, id);
    await mustBecomeQuiet(api);
  });
});
