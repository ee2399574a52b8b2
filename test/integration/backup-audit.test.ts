/** Someone lies about what changed, or about what a disk holds: the backup is right all the same, and says so. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createEvents } from '../../src/cloud/events/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import type { Volume } from '../../src/cloud/volumes/service.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { extentsFileOf } from '../../src/engine/disk/raw-layer.ts';
import { replaceBytesDurably } from '../../src/lib/durable-files.ts';
import { newHexId } from '../../src/lib/ids.ts';
import { type BackupCloud, type BlockOfBytes, callerOf, startBackupCloud } from '../support/backup-cloud.ts';
import { notingLog } from '../support/noting-log.ts';

const mib = 1024 ** 2;
const chunkBytes = 64 * 1024;
const log = notingLog();

let cloud: BackupCloud;
let caller: Caller;
beforeAll(async () => {
  cloud = await startBackupCloud({ log });
});
afterAll(() => cloud.stop());
beforeEach(() => {
  caller = callerOf(newHexId());
  log.entries.length = 0;
});

const block = (offset: number, length = chunkBytes): BlockOfBytes => ({ offset, bytes: randomBytes(length) });
const sql = () => cloud.held.database.sql;
const lastOutcome = () => cloud.outcomes.at(-1);
const events = () => createEvents({ database: cloud.held.database }).since(0, { projectId: caller.projectId ?? '', limit: 1000 });
const errors = () => log.entries.filter(({ level }) => level === 'error');

async function makeVolume(): Promise<{ volume: Volume; model: string }> {
  const volume = await cloud.makeVolume(caller);
  const model = await cloud.makeModel(`${volume.id}.raw`);
  await cloud.write(volume.id, model, [block(0, 2 * chunkBytes), block(500 * mib)]);
  return { volume, model };
}

const backUp = (volume: Volume, order: { incremental?: boolean; snapshotId?: string } = {}) =>
  cloud.backUp(caller, { volumeId: volume.id, ...order });

async function expectRestores(backupId: string, model: string): Promise<Volume> {
  const { volumeId } = await cloud.backups.restore(caller, backupId, { volumeId: null, name: null });
  const volume = await cloud.settledVolume(caller, volumeId);
  await cloud.compare(volumeId, model);
  return volume;
}

async function pointOfSnapshot(snapshotId: string): Promise<string> {
  const { point_id } = await sql().selectFrom('snapshots').select('point_id').where('id', '=', snapshotId).executeTakeFirstOrThrow();
  return point_id ?? '';
}

/** The journal of a snapshot's point says from now on that nothing changed. */
async function silenceJournal(snapshotId: string): Promise<void> {
  const pointId = await pointOfSnapshot(snapshotId);
  await cloud.disks.idle();
  const changed = await sql().updateTable('points').set({ journal: ExtentSet.empty.encode() }).where('id', '=', pointId).executeTakeFirst();
  expect(changed.numUpdatedRows).toBe(1n);
}

test('a journal that missed a change costs a full read, is reported, and is not used again', async () => {
  const { volume, model } = await makeVolume();
  await backUp(volume);
  await cloud.write(volume.id, model, [block(0)]);
  const snapshot = await cloud.makeSnapshot(caller, volume.id);
  const atSnapshot = await cloud.copyModel(model, `${volume.id}.snapshot.raw`);
  await silenceJournal(snapshot.id);
  await cloud.write(volume.id, model, [block(500 * mib)]);

  const second = await backUp(volume, { incremental: true });
  expect(lastOutcome()).toMatchObject({ baseProblem: 'the journals missed a change at 0', readBytes: 3 * chunkBytes });
  await expectRestores(second.id, model);

  const told = (await events()).filter((event) => event.kind === 'backup.audit_failed');
  expect(told).toMatchObject([
    { resourceType: 'volume', resourceId: volume.id, payload: { backupId: second.id, wrong: 'changes', offsetBytes: 0 } },
  ]);
  expect(errors()).toMatchObject([{ fields: { backupId: second.id, volumeId: volume.id, audit: { finding: { offsetBytes: 0 } } } }]);
  const roots = await sql().selectFrom('point_roots').select('session').where('domain', '=', caller.projectId).execute();
  expect(new Set(roots.map(({ session }) => session))).toEqual(new Set([lastOutcome()?.session]));

  // What comes after the backup that read everything is small again.
  await cloud.write(volume.id, model, [block(0)]);
  const third = await backUp(volume, { incremental: true });
  expect(lastOutcome()?.baseProblem).toBeUndefined();
  expect(lastOutcome()?.readBytes).toBe(chunkBytes);
  await expectRestores(third.id, model);

  // What leads over the journals of before reads everything, and finds nothing wrong any more.
  const old = await backUp(volume, { incremental: true, snapshotId: snapshot.id });
  expect(lastOutcome()).toMatchObject({ readBytes: 3 * chunkBytes });
  expect(lastOutcome()?.baseProblem).toBeUndefined();
  await expectRestores(old.id, atSnapshot);
  expect((await events()).filter((event) => event.kind === 'backup.audit_failed')).toHaveLength(1);
});

test('a base that says it is empty where it holds data is read whole, and its notes are dropped', async () => {
  const { volume, model } = await makeVolume();
  const first = await backUp(volume);
  const copy = await expectRestores(first.id, model);
  await backUp(copy);
  const { layer_id } = await sql()
    .selectFrom('point_roots')
    .innerJoin('points', 'points.id', 'point_id')
    .innerJoin('layers', 'layers.id', 'layer_id')
    .select('layer_id')
    .where('domain', '=', caller.projectId)
    .where('format', '=', 'raw')
    .executeTakeFirstOrThrow();
  const notes = extentsFileOf(join(cloud.folder, 'volumes', copy.id, `${layer_id}.raw`));
  expect(existsSync(notes)).toBe(true);
  await replaceBytesDurably(notes, ExtentSet.of([[0, chunkBytes]]).encode());

  const second = await backUp(copy, { incremental: true });
  expect(lastOutcome()).toMatchObject({ audit: { finding: { wrong: 'allocation' } }, readBytes: 1024 * mib });
  await expectRestores(second.id, model);
  expect(existsSync(notes)).toBe(false);
  expect((await events()).filter((event) => event.kind === 'backup.audit_failed')).toMatchObject([{ payload: { wrong: 'allocation' } }]);
  expect(errors()).toHaveLength(1);

  await backUp(copy, { incremental: true });
  expect(lastOutcome()).toMatchObject({ readBytes: 0, root: lastOutcome()?.root });
  expect(lastOutcome()?.baseProblem).toBeUndefined();
});
