/** The whole service, its PostgreSQL included, on one file system that is filled to the last byte. Only root can mount one. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Api, signIn } from '../support/api.ts';
import { mustRun, stillpoint } from '../support/clients.ts';
import {
  connect,
  disconnect,
  makeBackup,
  makeImage,
  makeModel,
  makeSnapshot,
  makeVolume,
  mustHold,
  mustSettle,
} from '../support/scenario.ts';
import { removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';
import { makeSmallDisk, mayMount, type SmallDisk } from '../support/small-disk.ts';

const mib = 2 ** 20;
const ballastBytes = 64 * mib;
const settings = { STILLPOINT_DISK_RESERVE_BYTES: String(16 * mib), STILLPOINT_BALLAST_BYTES: String(ballastBytes) };

let disk: SmallDisk;
let work: string;
let stateDir: string;
let service: ServiceUnderTest;
let api: Api;

async function start(changed: Record<string, string> = {}): Promise<void> {
  service = await startServiceUnderTest(stateDir, { ...settings, ...changed });
  api = await signIn(service);
}

async function writtenVolume(name: string, dataMib: number): Promise<{ id: string; model: string }> {
  const id = await makeVolume(api, {}, name);
  const bytes = randomBytes(dataMib * mib);
  const model = await makeModel(work, `${name}.raw`, bytes);
  await mustRun('qemu-img', ['convert', '-n', '-S', '4k', '-f', 'raw', '-O', 'raw', model, await connect(api, id)]);
  await disconnect(api, id);
  return { id, model };
}

const ballastPresent = async (): Promise<number> => (await stat(join(stateDir, 'ballast')).catch(() => undefined))?.size ?? 0;
const ballastReturns = () => expect.poll(ballastPresent, { timeout: 30_000, interval: 200 }).toBe(ballastBytes);

describe.runIf(mayMount)('a service on a disk that is full to its last byte', { timeout: 120_000 }, () => {
  beforeEach(async () => {
    work = await mkdtemp(join(tmpdir(), 'sp-work-'));
    disk = await makeSmallDisk(640);
    // A folder around it, which others may pass.
    stateDir = join(disk.path, 'p', 's');
    await mkdir(stateDir, { mode: 0o711, recursive: true });
  });
  afterEach(async () => {
    await service?.stop();
    await removeStateDir(stateDir);
    await disk.unmount();
    await rm(work, { recursive: true, force: true });
  });

  it('starts, reads, deletes what takes the space, and gets its ballast back', async () => {
    await start();
    const kept = await writtenVolume('kept', 16);
    const large = await writtenVolume('large', 160);
    const snapshot = await makeSnapshot(api, large.id);
    const image = await makeImage(api, 'image', randomBytes(32 * mib));
    await ballastReturns();
    await service.stop();
    disk.fill();
    expect(await disk.freeBytes()).toBe(0);

    await start();
    expect(service.log()).toContain('ballast was given up');
    expect(await ballastPresent()).toBeLessThan(ballastBytes);
    await mustHold(api, kept.id, kept.model);
    const download = await fetch(`${service.url}/image/v2/images/${image}/file`, { headers: { 'x-auth-token': api.token } });
    expect((await download.arrayBuffer()).byteLength).toBe(32 * mib);

    await api.volume('DELETE', `/snapshots/${snapshot}`);
    expect(await api.settled('snapshots', snapshot)).toBeUndefined();
    await api.volume('DELETE', `/volumes/${large.id}`);
    expect(await api.settled('volumes', large.id)).toBeUndefined();
    await api.image('DELETE', `/images/${image}`);
    await ballastReturns();
    expect(await disk.freeBytes()).toBeGreaterThan(96 * mib);

    await mustHold(api, kept.id, kept.model);
    const fresh = await writtenVolume('fresh', 16);
    await mustHold(api, fresh.id, fresh.model);
  });

  it('takes up a restore that a crash cut short, and reserves anew: refused without space, done with it', async () => {
    await start({ STILLPOINT_CRASH_POINT: 'base:planned:kill', STILLPOINT_BALLAST_BYTES: '0' });
    const source = await writtenVolume('source', 24);
    const backup = await makeBackup(api, source.id);
    const restore = async (): Promise<string> =>
      (await api.volume('POST', `/backups/${backup}/restore`, { restore: { volume_id: null } })).restore.volume_id;
    const restored = await restore();
    await service.ended;
    disk.fill();
    await truncate(join(disk.path, 'filler'), (await stat(join(disk.path, 'filler'))).size - 30 * mib);
    await start({ STILLPOINT_BALLAST_BYTES: '0' });
    await mustSettle(api, 'volumes', restored, 'error');
    expect((await api.volume('GET', `/backups/${backup}`)).backup).toMatchObject({
      status: 'available',
      fail_reason: expect.stringMatching(
        /^Not enough space for the restore: 24 MiB are needed, \d+ MiB are free beside the 16 MiB kept back\.$/,
      ),
    });
    await disk.empty();
    const again = await restore();
    await mustSettle(api, 'volumes', again, 'available');
    await mustHold(api, again, source.model);
    await mustHold(api, source.id, source.model);
  });

  it.each([
    ['gives it the ballast, and it is back while the disk is full', ballastBytes],
    ['answers 503 without one, and it is back when there is space', 0],
  ])('whose PostgreSQL dies of it %s; nothing is lost', async (_what, ballast) => {
    await start({ STILLPOINT_BALLAST_BYTES: String(ballast) });
    const kept = await writtenVolume('kept', 8);
    const snapshot = await makeSnapshot(api, kept.id);
    if (ballast > 0) await ballastReturns();
    disk.fill();
    await fillLog();
    const answer = async () => (await api.raw('GET', `/volume/v3/snapshots/${snapshot}`)).status;
    if (ballast === 0) {
      await expect.poll(answer, { timeout: 20_000 }).toBe(503);
      const { status, body } = await api.raw('POST', '/volume/v3/volumes', { volume: { size: 1 } });
      expect({ status, fault: Object.keys(body) }).toEqual({ status: 503, fault: ['serviceUnavailable'] });
      await disk.empty();
    }
    await expect.poll(answer, { timeout: 60_000 }).toBe(200);
    expect(await postgresLog()).toMatch(/PANIC: {2}could not write to file "pg_wal\/xlogtemp.*No space left on device/);
    await mustSettle(api, 'snapshots', snapshot, 'available');
    await mustHold(api, kept.id, kept.model);
    await disk.empty();
    if (ballast > 0) await ballastReturns();
    const fresh = await writtenVolume('fresh', 8);
    await mustHold(api, fresh.id, fresh.model);
    expect((await stillpoint(service, 'status')).code).toBe(0);
  });
});

const postgresLog = (): Promise<string> => readFile(join(stateDir, 'postgres/log'), 'utf8');

/** Makes PostgreSQL begin new files of its log until it cannot. */
async function fillLog(): Promise<void> {
  const client = new pg.Client({ host: join(stateDir, 'run/postgres'), port: 5432, user: 'stillpoint', database: 'postgres' });
  client.on('error', () => {});
  await client.connect();
  const write = async (): Promise<void> => {
    for (;;) {
      await client.query("SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000))");
      await client.query('SELECT pg_switch_wal()');
    }
  };
  await expect(write()).rejects.toThrow(/No space left on device|terminat/);
  await client.end().catch(() => {});
}
