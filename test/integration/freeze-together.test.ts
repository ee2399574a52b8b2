/** Freezing connected disks together when something goes wrong in the middle: stalls, servers that die. The ordinary case is in group-moments.test.ts. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDisksService } from '../../src/cloud/disks/service.ts';
import type { VolumeBackend } from '../../src/engine/volumes/contract.ts';
import { VolumeBackendError } from '../../src/engine/volumes/errors.ts';
import { recordCrashPoints } from '../../src/lib/crash-points.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { waitForEnd } from '../../src/lib/processes.ts';
import { type DiskTree, makeDiskTree, mib, testHolder } from '../support/disk-tree.ts';

let tree: DiskTree;
let volumeIds: string[];

beforeEach(async () => {
  tree = await makeDiskTree();
  volumeIds = [];
  for (let count = 0; count < 3; count += 1) {
    const id = await tree.volume();
    await tree.disks.openExport(id, { readOnly: false });
    await tree.write(id, [{ offset: 0, length: mib, pattern: 1 }]);
    volumeIds.push(id);
  }
});
afterEach(() => tree.stop());

const plansOf = (ids: readonly string[]) =>
  ids.map((volumeId) => ({ volumeId, pointId: newId(), topLayerId: newId(), holder: testHolder }));

async function serverOf(volumeId: string): Promise<{ processId: number; exportId: string }> {
  const row = await tree.database.sql.selectFrom('volume_exports').selectAll().where('volume_id', '=', volumeId).executeTakeFirstOrThrow();
  return { processId: row.process_id, exportId: row.export_id };
}

async function killServer(volumeId: string): Promise<void> {
  const { processId, exportId } = await serverOf(volumeId);
  process.kill(processId, 'SIGKILL');
  expect(await waitForEnd(processId, exportId, 5_000)).toBe(true);
}

/** Runs it at an instant in the middle of the work. */
async function at<T>(instant: string, happens: () => void, work: () => Promise<T>): Promise<T> {
  const recorder = recordCrashPoints((name) => {
    if (name === instant) happens();
  });
  try {
    return await work();
  } finally {
    expect(recorder.stop()).toContain(instant);
  }
}

/** Writes are not held back: they would be for at least two seconds. */
async function expectWritesPass(ids: readonly string[]): Promise<void> {
  const startedAt = performance.now();
  for (const id of ids) await tree.write(id, [{ offset: 0, length: 4096, pattern: 9 }]);
  expect(performance.now() - startedAt).toBeLessThan(1_500);
}

const holdCount = async (pointIds: readonly string[]): Promise<number> =>
  (await tree.database.sql.selectFrom('point_holds').select('point_id').where('point_id', 'in', pointIds).execute()).length;

it('what was done may be repeated', async () => {
  const plans = plansOf(volumeIds);
  await tree.disks.freezeTogether(plans);
  await tree.disks.freezeTogether(plans);
  for (const { pointId } of plans) expect((await tree.bytesOfPoint(pointId))[0]).toBe(1);
  expect(await holdCount(plans.map(({ pointId }) => pointId))).toBe(plans.length);
});

it('a stall that is longer than clients may be held up is a failure, now and when it is repeated', async () => {
  const plans = plansOf(volumeIds);
  const stall = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000);
  await expect(at('freeze-together:paused', stall, () => tree.disks.freezeTogether(plans))).rejects.toThrow('clients may be held up');
  await expectWritesPass(volumeIds);
  await expect(tree.disks.freezeTogether(plans)).rejects.toThrow('different moments');
  for (const { pointId } of plans) await tree.release(pointId);
  expect(await holdCount(plans.map(({ pointId }) => pointId))).toBe(0);
  await tree.disks.freezeTogether(plansOf(volumeIds));
});

it('a server that died before is done without', async () => {
  const plans = plansOf(volumeIds);
  await killServer(volumeIds[1] as string);
  await tree.disks.freezeTogether(plans);
  for (const { pointId } of plans) expect((await tree.bytesOfPoint(pointId))[0]).toBe(1);
  await expectWritesPass([volumeIds[0] as string, volumeIds[2] as string]);
  expect(await holdCount(plans.map(({ pointId }) => pointId))).toBe(plans.length);
});

it('a server that dies in the middle holds nobody up', async () => {
  const plans = plansOf(volumeIds);
  const { processId } = await serverOf(volumeIds[1] as string);
  const kill = (): void => void process.kill(processId, 'SIGKILL');
  await expect(at('freeze-together:paused', kill, () => tree.disks.freezeTogether(plans))).rejects.toThrow('different moments');
  await expectWritesPass([volumeIds[0] as string, volumeIds[2] as string]);
  for (const { pointId } of plans) await tree.release(pointId);
  await tree.disks.freezeTogether(plansOf(volumeIds));
});

it('a server that dies when it was switched already is not done without', async () => {
  const [first, second] = volumeIds as [string, string, string];
  const plans = plansOf([first, second]);
  const { processId } = await serverOf(first);
  const overlay = join(tree.folder, 'volumes', second, `${plans[1]?.topLayerId}.qcow2`);
  const recorder = recordCrashPoints((name) => {
    // Without its overlay the second cannot be switched.
    if (name === 'freeze-together:paused') rmSync(overlay);
    if (name === 'freeze:switched') process.kill(processId, 'SIGKILL');
  });
  await expect(tree.disks.freezeTogether(plans)).rejects.toThrow('different moments');
  expect(recorder.stop()).toContain('freeze:switched');
  await expectWritesPass([second]);
  for (const { pointId } of plans) await tree.release(pointId);
  await tree.disks.freezeTogether(plansOf(volumeIds));
});

/** The disks, of which some calls to the backend go elsewhere. */
const disksWith = (changed: Partial<VolumeBackend>) =>
  createDisksService({ database: tree.database, backend: { ...tree.backend, ...changed }, log: silentLog });

it('what is dirty is written out before anybody is held up', async () => {
  const calls: string[] = [];
  const watched = disksWith({
    async writeOut(...plan) {
      await tree.backend.writeOut(...plan);
      calls.push('written out');
    },
    async pauseWrites(...plan) {
      calls.push('held up');
      return await tree.backend.pauseWrites(...plan);
    },
  });
  await watched.freezeTogether(plansOf(volumeIds));
  expect(calls).toEqual([...volumeIds.map(() => 'written out'), 'held up']);
  await watched.stop();
});

it('a server that cannot hold writes back is a refusal that says what helps', async () => {
  const older = disksWith({ pauseWrites: () => Promise.reject(new VolumeBackendError('mismatch', 'it is of an older version')) });
  const refusal = { kind: 'conflict', message: 'The volumes cannot be frozen together: it is of an older version.' };
  await expect(older.freezeTogether(plansOf(volumeIds))).rejects.toMatchObject(refusal);
  await older.stop();
});

it('writes that a dead process held back go on, also where the server cannot be asked anything else', async () => {
  const [target] = await tree.database.sql.selectFrom('volume_exports').select('export_id').execute();
  const resumed: string[] = [];
  const next = disksWith({
    inspectExport: () => Promise.reject(new Error('no answer')),
    async resumeWrites(server) {
      await tree.backend.resumeWrites(server);
      resumed.push(server.id);
    },
  });
  await next.adoptExports();
  expect(resumed).toContain(target?.export_id);
  expect(resumed).toHaveLength(volumeIds.length);
  await next.stop();
});

it('disks that nobody has open, or only for reading, are frozen with the others', async () => {
  const [first, second, third] = volumeIds as [string, string, string];
  await tree.disks.closeExport(second);
  await tree.disks.closeExport(third);
  await tree.disks.openExport(third, { readOnly: true });
  const plans = plansOf([first, second, third]);
  await tree.disks.freezeTogether(plans);
  await tree.disks.freezeTogether(plans);
  for (const { pointId } of plans) expect((await tree.bytesOfPoint(pointId))[0]).toBe(1);
});
