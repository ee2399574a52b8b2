/**
 * The real service on a disk whose power is cut at moments that nobody chose, with everything that runs on it: the service, the data mover, the servers
 * of disks, volumes, images, repositories and keys. The database stands elsewhere: PostgreSQL has proofs of its own. Afterwards every byte that a
 * client was told to be safe is there, and everything goes on.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { seededRandom } from '../../src/lib/random.ts';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { testDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database-server.ts';
import { connectNbd, type NbdClient, socketPathOf } from '../support/nbd-client.ts';
import { canCutPower, type PowerCutDisk, startPowerCutDisk } from '../support/power-cut/power-cut-disk.ts';
import { processes } from '../support/processes.ts';
import { connect, disconnect, letGo, makeBackup, makeSnapshot, makeVolume, mustBecomeQuiet, mustSettle } from '../support/scenario.ts';
import { removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Date.now() % 2 ** 31);
const cutCount = Number(process.env.STILLPOINT_SERVICE_POWER_CUTS ?? 12);
const mib = 2 ** 20;
/** The part of the volume that is written to and compared. */
const headBytes = 16 * mib;
const sectorBytes = 512;
const operationsPerRun = 40;
const cutWithinMs = 2_500;

describe.skipIf(!canCutPower())('power cuts of a whole service', () => {
  const random = seededRandom(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  let parent: string;
  let disk: PowerCutDisk;
  let stateDir: string;
  let held: TestDatabase;
  let service: ServiceUnderTest;
  let api: Api;

  let volumeId: string;
  /** What clients were told to be safe. */
  let flushed: Buffer = Buffer.alloc(headBytes);
  /** Sector by sector, what may be there instead: writes that nobody was told of. */
  let unflushed: readonly Buffer[] = [];
  /** The whole content that a revert or restore, which was on its way, may have led to. */
  let alternative: Buffer | undefined;
  const snapshots = new Map<string, Buffer>();
  const backups = new Map<string, Buffer>();

  async function begin(): Promise<void> {
    const { host, user, database } = held.connection as { host: string; user: string; database: string };
    const databaseUrl = `postgresql:///${database}?host=${encodeURIComponent(host)}&user=${user}`;
    service = await startServiceUnderTest(stateDir, { DATABASE_URL: databaseUrl, STILLPOINT_DISK_RESERVE_BYTES: '0' });
    api = await signIn(service);
  }

  beforeAll(async () => {
    expect(inject('postgres')).toBeDefined();
    parent = await mkdtemp(join(tmpdir(), 'sp-p-'));
    disk = await startPowerCutDisk(join(parent, 'd'));
    stateDir = join(disk.folder, 'x', 's');
    held = await testDatabase();
    await begin();
    volumeId = await makeVolume(api, { size: 1 });
  });
  afterAll(async () => {
    await service?.stop();
    await removeStateDir(stateDir);
    await disk.stop();
    await held.drop();
    await rm(parent, { recursive: true, force: true });
    process.stdout.write(`power cuts of a whole service: ${cutCount}, STILLPOINT_TEST_SEED=${seed}\n`);
  });

  async function write(client: NbdClient): Promise<void> {
    const later = Buffer.from(flushed);
    const parts = 8;
    const acts: (() => Promise<void>)[] = [];
    for (let part = 0; part < parts; part += 1) {
      const length = sectorBytes * (1 + pick(256));
      const room = headBytes / parts;
      const at = part * room + pick((room - length) / sectorBytes) * sectorBytes;
      const pattern = pick(256);
      later.fill(pattern, at, at + length);
      acts.push(() => (pattern === 0 ? client.zero(at, length) : client.write(at, Buffer.alloc(length, pattern))));
    }
    // Zeroes: see power-cut-layers.test.ts.
    unflushed = [later, Buffer.alloc(headBytes)];
    for (const act of acts) await act();
    await client.flush();
    flushed = later;
    unflushed = [];
  }

  /** What a client does with its volume, for ever; it ends by an error when the power goes. */
  async function live(): Promise<void> {
    for (let count = 0; count < operationsPerRun; count += 1) {
      const client = await connectNbd(socketPathOf(await connect(api, volumeId)));
      for (let round = 1 + pick(4); round > 0; round -= 1) {
        await write(client);
        if (random() < 0.4) snapshots.set(await makeSnapshotOfUsed(), Buffer.from(flushed));
        if (random() < 0.15)
          backups.set(await makeBackup(api, volumeId, { force: true, incremental: backups.size > 0 }), Buffer.from(flushed));
      }
      await client.close();
      await disconnect(api, volumeId);
      if (random() < 0.3) await goBack();
      if (random() < 0.3) await removeSnapshot();
    }
  }

  async function makeSnapshotOfUsed(): Promise<string> {
    const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: volumeId } });
    await mustSettle(api, 'snapshots', snapshot.id, 'available');
    return snapshot.id;
  }

  async function goBack(): Promise<void> {
    const revert = random() < 0.5;
    const known = [...(revert ? snapshots : backups)];
    const [id, content] = known[pick(known.length)] ?? [];
    if (id === undefined || content === undefined) return;
    alternative = content;
    if (revert) {
      const answer = await api.raw('POST', `/api/v1/volumes/${volumeId}/revert`, { snapshot_id: id });
      if (answer.status !== 202) throw new Error(`revert: ${answer.status}`);
    } else {
      await api.volume('POST', `/backups/${id}/restore`, { restore: { volume_id: volumeId } });
    }
    await mustSettle(api, 'volumes', volumeId, 'available');
    flushed = Buffer.from(content);
    alternative = undefined;
  }

  async function removeSnapshot(): Promise<void> {
    const [id] = [...snapshots.keys()];
    if (id === undefined) return;
    // From the request on nobody may rely on it.
    snapshots.delete(id);
    await api.volume('DELETE', `/snapshots/${id}`);
  }

  async function cutPower(): Promise<void> {
    await disk.switchOff();
    await service.kill();
    for (const { id, commandLine } of await processes()) {
      if (!commandLine.includes(stateDir) || !/qemu-storage-daemon|qemu-img|data-mover/.test(commandLine)) continue;
      try {
        process.kill(id, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await disk.switchOn(pick(2 ** 31));
  }

  async function headOf(id: string): Promise<Buffer> {
    const client = await connectNbd(socketPathOf(await connect(api, id, 'ro')));
    const bytes = await client.read(0, headBytes);
    await client.close();
    await disconnect(api, id);
    return bytes;
  }

  /** Takes what is there as what is known from now on. */
  async function checkVolume(): Promise<void> {
    const { volume } = await api.volume('GET', `/volumes/${volumeId}`);
    if (volume.status === 'attaching') await api.volume('POST', `/volumes/${volumeId}/action`, { 'os-unreserve': null });
    if (volume.status === 'detaching') await api.volume('POST', `/volumes/${volumeId}/action`, { 'os-detach': {} });
    await letGo(api, volumeId);
    await mustSettle(api, 'volumes', volumeId, 'available');
    const found = await headOf(volumeId);
    if (alternative !== undefined && found.equals(alternative)) flushed = alternative;
    for (let at = 0; at < headBytes; at += sectorBytes) {
      const isKnown = [flushed, ...unflushed].some((content) => content.compare(found, at, at + sectorBytes, at, at + sectorBytes) === 0);
      if (!isKnown) throw new Error(`the sector at ${at} holds ${found[at]}, flushed was ${flushed[at]}`);
    }
    flushed = found;
    unflushed = [];
    alternative = undefined;
  }

  async function checkSnapshots(): Promise<void> {
    for (const [id, content] of snapshots) {
      const cloneId = await makeVolume(api, { snapshot_id: id });
      expect((await headOf(cloneId)).equals(content), `snapshot ${id}`).toBe(true);
      await api.volume('DELETE', `/volumes/${cloneId}`);
    }
  }

  async function checkNewestBackup(): Promise<void> {
    const [id, content] = [...backups].at(-1) ?? [];
    if (id === undefined || content === undefined) return;
    const { restore } = await api.volume('POST', `/backups/${id}/restore`, { restore: { name: 'check', volume_id: null } });
    await mustSettle(api, 'volumes', restore.volume_id, 'available');
    await mustSettle(api, 'backups', id, 'available');
    expect((await headOf(restore.volume_id)).equals(content), `backup ${id}`).toBe(true);
    await api.volume('DELETE', `/volumes/${restore.volume_id}`);
  }

  it.each(Array.from({ length: cutCount }, (_, i) => i + 1))('cut %i', { timeout: 180_000 }, async (round) => {
    const delayMs = pick(cutWithinMs);
    const living = live().catch((error: unknown) => error);
    await sleep(delayMs);
    await cutPower();
    await living;
    await begin();
    try {
      await mustBecomeQuiet(api);
      await checkVolume();
      await checkSnapshots();
      await checkNewestBackup();
      const statuses = (await api.volume('GET', '/volumes/detail')).volumes.map(({ status }: Answer) => status);
      expect(statuses.filter((status: string) => status.startsWith('error'))).toEqual([]);
      for (const id of [...snapshots.keys()].slice(0, -2)) {
        snapshots.delete(id);
        await api.volume('DELETE', `/snapshots/${id}`);
      }
      await makeSnapshot(api, volumeId).then((id) => api.volume('DELETE', `/snapshots/${id}`));
    } catch (error) {
      throw new Error(`cut ${round}, ${delayMs} ms after the start (seed ${seed}): ${error}\n${service.log().slice(-4000)}`, {
        cause: error,
      });
    }
  });
});
