/** The figures of space, over the public APIs, against `du` of the layers' files. */
import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskFigures } from '../../src/cloud/disks/space.ts';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { mustRun, stillpoint } from '../support/clients.ts';
import { testDatabase } from '../support/database.ts';
import { connect, disconnect, makeBackup, makeImage, makeSnapshot, makeVolume, mustSettle } from '../support/scenario.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;

describe('the figures of space', () => {
  let stateDir: string;
  let service: ServiceUnderTest;
  let api: Api;

  const start = async (): Promise<void> => {
    service = await startServiceUnderTest(stateDir, { STILLPOINT_DISK_RESERVE_BYTES: String(8 * mib) });
    api = await signIn(service);
  };
  // For each its own: merges of what an earlier one left come when its volumes have been at rest for a while.
  beforeEach(async () => {
    stateDir = await makeStateDir();
    await start();
  });
  afterEach(async () => {
    await service?.stop();
    await removeStateDir(stateDir);
  });

  /** What `du` says of all layers. */
  async function layersTake(): Promise<number> {
    const root = join(stateDir, 'volumes');
    const names = await readdir(root, { recursive: true });
    const files = names.filter((name) => /\.(?:raw|qcow2)$/.test(name)).map((name) => join(root, name));
    if (files.length === 0) return 0;
    const lines = (await mustRun('du', ['--block-size=1', '--total', ...files])).trim().split('\n');
    return Number(lines.at(-1)?.split('\t')[0]);
  }

  const spaceNow = async (): Promise<Answer> => (await api.raw('GET', '/api/v1/status')).body.space;
  const usageOf = async (id: string): Promise<Answer> => (await api.raw('GET', `/api/v1/volumes/${id}/usage`)).body.usage;
  const writeThrough = (uri: string, atMib: number, lengthMib: number) =>
    mustRun('qemu-io', ['-f', 'raw', '-c', `write -q -P ${1 + (atMib % 200)} ${atMib}M ${lengthMib}M`, '-c', 'flush', uri]);

  async function write(id: string, atMib: number, lengthMib: number): Promise<void> {
    await writeThrough(await connect(api, id), atMib, lengthMib);
    await disconnect(api, id);
  }

  /** Merges and removals follow soon after what made them possible: the figures are compared with files that did not change meanwhile. */
  async function mustAgree(): Promise<void> {
    const difference = async (): Promise<number | string> => {
      const [before, figure, after] = [await layersTake(), (await spaceNow()).allocated_bytes, await layersTake()];
      return before === after ? figure - after : 'something moves';
    };
    await expect.poll(difference, { timeout: 30_000 }).toBe(0);
  }

  /** The volume goes, and so much becomes free. */
  async function deletionMustFree(id: string, bytes: number): Promise<void> {
    const before = await layersTake();
    await api.volume('DELETE', `/volumes/${id}`);
    expect(await api.settled('volumes', id)).toBeUndefined();
    await expect.poll(async () => before - (await layersTake()), { timeout: 30_000 }).toBe(bytes);
    await mustAgree();
  }

  /** Waits until so many layers are left of a volume's own. */
  const mergedTo = (id: string, count: number) =>
    expect
      .poll(async () => (await readdir(join(stateDir, 'volumes', id))).filter((name) => name.endsWith('.qcow2')).length, {
        timeout: 30_000,
      })
      .toBe(count);

  it('are those of du, whatever happens to disks', async () => {
    expect(await spaceNow()).toMatchObject({ virtual_bytes: 0, allocated_bytes: 0, reserved_bytes: 0, kept_bytes: 8 * mib });
    const image = await makeImage(api, 'image', randomBytes(8 * mib));
    await mustAgree();
    const volume = await makeVolume(api, { imageRef: image }, 'volume');
    await write(volume, 16, 4);
    await mustAgree();
    const snapshot = await makeSnapshot(api, volume);
    await write(volume, 32, 2);
    const clone = await makeVolume(api, { source_volid: volume, size: 2 }, 'clone');
    await write(clone, 48, 3);
    await mustAgree();
    const {
      virtual_bytes: virtualBytes,
      overcommit_ratio: ratio,
      allocated_bytes: allocated,
      available_bytes: available,
    } = await spaceNow();
    expect(virtualBytes).toBe(3 * gib);
    expect(ratio).toBeCloseTo(virtualBytes / (allocated + available), 1);

    const uri = await connect(api, volume);
    for (const atMib of [64, 128, 192]) {
      await writeThrough(uri, atMib, 5);
      expect((await spaceNow()).allocated_bytes).toBe(await layersTake());
    }
    const live = await makeSnapshot(api, volume);
    await writeThrough(uri, 256, 1);
    await mustAgree();
    await disconnect(api, volume);
    await api.volume('POST', `/volumes/${clone}/action`, { 'os-extend': { new_size: 5 } });
    await mustSettle(api, 'volumes', clone, 'available');
    await mustAgree();
    expect((await spaceNow()).virtual_bytes).toBe(6 * gib);

    await service.kill();
    await start();
    await mustAgree();
    for (const one of [snapshot, live]) await api.volume('DELETE', `/snapshots/${one}`);
    await mustAgree();
    const backup = await makeBackup(api, volume);
    await api.volume('POST', `/backups/${backup}/restore`, { restore: { volume_id: null } });
    await mustSettle(api, 'backups', backup, 'available');
    await mustAgree();
  });

  it('of one volume tell what its deletion would free, and who needs the rest', async () => {
    const image = await makeImage(api, 'base', randomBytes(4 * mib));
    const volume = await makeVolume(api, { imageRef: image }, 'layered');
    await write(volume, 16, 3);
    await makeSnapshot(api, volume);
    await write(volume, 32, 2);
    const clone = await makeVolume(api, { source_volid: volume }, 'copy');
    await write(clone, 48, 1);
    const usage = await usageOf(volume);
    expect(usage.virtual_bytes).toBe(gib);
    expect(usage.shared_bytes.images).toBe(4 * mib);
    expect(usage.shared_bytes.snapshots).toBeGreaterThanOrEqual(3 * mib);
    expect(usage.shared_bytes.volumes).toBeGreaterThanOrEqual(2 * mib);
    expect(usage.exclusive_bytes).toBeLessThan(mib);
    expect(usage.allocated_bytes).toBe(
      usage.exclusive_bytes + usage.shared_bytes.images + usage.shared_bytes.snapshots + usage.shared_bytes.volumes,
    );

    const own = await usageOf(clone);
    expect(own.shared_bytes).toMatchObject({ images: 4 * mib, others: 0 });
    await deletionMustFree(clone, own.exclusive_bytes);
    const alone = await usageOf(volume);
    expect(alone.shared_bytes.volumes).toBe(0);
    expect(alone.exclusive_bytes).toBeGreaterThanOrEqual(2 * mib);
    for (const { id } of (await api.volume('GET', `/snapshots?volume_id=${volume}`)).snapshots)
      await api.volume('DELETE', `/snapshots/${id}`);
    await mergedTo(volume, 2);
    await mustAgree();
    const last = await usageOf(volume);
    expect(last.shared_bytes).toEqual({ images: 4 * mib, snapshots: 0, volumes: 0, others: 0 });
    await deletionMustFree(volume, last.exclusive_bytes);
    expect((await api.raw('GET', `/api/v1/volumes/${volume}/usage`)).status).toBe(404);
  });

  it('are printed by stillpoint status', async () => {
    await makeImage(api, 'image', randomBytes(2 * mib));
    await makeVolume(api, {}, 'volume');
    const { stdout } = await stillpoint(service, 'status');
    expect(stdout).toMatch(/^disk free +\S+ \w+, 8.00 MiB kept back, 0 B reserved$/m);
    expect(stdout).toMatch(/^disks take +\S+ MiB of \S+ GiB promised \(overcommit [\d.]+\)$/m);
    const ballast = await stat(join(stateDir, 'ballast'));
    expect((await spaceNow()).ballast).toEqual({ size_bytes: ballast.size, present_bytes: ballast.size });
  });
});

describe('with a hundred thousand layers', () => {
  it('files are looked at once', async () => {
    const held = await testDatabase();
    const { database } = held;
    try {
      await sql`INSERT INTO layers (id, home, format, size_bytes, state)
        SELECT gen_random_uuid(), gen_random_uuid(), 'qcow2', 1073741824, 'frozen' FROM generate_series(1, 100000)`.execute(database.sql);
      let looks = 0;
      const backend = {
        allocatedBytes: async () => {
          looks += 1;
          return 65_536;
        },
      };
      const figures = createDiskFigures({ database, backend });
      expect((await figures.total()).allocatedBytes).toBe(100_000 * 65_536);
      expect(looks).toBe(100_000);
      await sql`UPDATE layers SET allocated_bytes = NULL WHERE id IN (SELECT id FROM layers LIMIT 3)`.execute(database.sql);
      const startedAt = performance.now();
      expect((await figures.total()).allocatedBytes).toBe(100_000 * 65_536);
      console.log(`the figures of 100,000 layers took ${Math.round(performance.now() - startedAt)} ms`);
      expect(looks).toBe(100_003);
    } finally {
      await held.drop();
    }
  });
});
