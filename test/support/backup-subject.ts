/**
 * One volume with a model of its content, and the long operations of backups on it: what the proofs of their sagas order, and what they
 * check afterwards. The checks hold after any end, at any instant: that is the point of them.
 */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import type { SagaStatus } from '../../src/cloud/jobs/service.ts';
import { newHexId } from '../../src/lib/ids.ts';
import { type BackupCloud, backupOrder, callerOf } from './backup-cloud.ts';

/** A restore goes onto a volume's disk, into a new volume, or to a volume whose disk cannot be read. */
export type Operation = 'create' | 'restore' | 'restore-new' | 'restore-damaged' | 'delete';

export const kindOf = (operation: Operation): string => `backup.${operation.split('-')[0]}`;

/** Plain data: it crosses to other processes. */
export interface Subject {
  readonly operation: Operation;
  readonly projectId: string;
  readonly volumeId: string;
  /** What the volume holds now. */
  readonly model: string;
  /** What the backup that is restored or deleted holds. */
  readonly backupModel: string;
  readonly backupId: string | null;
}

const mib = 1024 ** 2;

const callerFor = (subject: { projectId: string }): Caller => callerOf(subject.projectId, ['admin']);

export async function makeSubject(cloud: BackupCloud, operation: Operation): Promise<Subject> {
  const projectId = newHexId();
  const caller = callerFor({ projectId });
  const { id: volumeId } = await cloud.makeVolume(caller);
  const model = await cloud.makeModel(`${volumeId}.raw`);
  await cloud.write(volumeId, model, [{ offset: 0, bytes: randomBytes(mib) }]);
  const backupModel = await cloud.copyModel(model, `${volumeId}.backup.raw`);
  const backupId = operation === 'create' ? null : (await cloud.backUp(caller, { volumeId })).id;
  await cloud.write(volumeId, model, [{ offset: 5 * mib, bytes: randomBytes(mib) }]);
  if (operation === 'restore-damaged') await loseLayer(cloud, volumeId);
  return { operation, projectId, volumeId, model, backupModel, backupId };
}

/** Of the layers that a volume's disk stands on, the lowest goes. */
async function loseLayer(cloud: BackupCloud, volumeId: string): Promise<void> {
  await cloud.disks.tidy();
  const { sql } = cloud.held.database;
  const query = sql.selectFrom('layers').select(['id', 'format']).where('home', '=', volumeId).where('parent_id', 'is', null);
  const { id, format } = await query.executeTakeFirstOrThrow();
  await rm(join(cloud.folder, 'volumes', volumeId, `${id}.${format}`));
}

/** Begins the operation as the product does. Returns its saga. */
export async function beginOperation(cloud: BackupCloud, subject: Subject): Promise<string> {
  const caller = callerFor(subject);
  const backupId = await begin(cloud, caller, subject);
  const saga = (await cloud.jobs.find(backupId)).find(({ kind }) => kind === kindOf(subject.operation));
  if (saga === undefined) throw new Error('no saga was started');
  return saga.id;
}

async function begin(cloud: BackupCloud, caller: Caller, { operation, volumeId, backupId }: Subject): Promise<string> {
  if (operation === 'create') return (await cloud.backups.create(caller, backupOrder({ volumeId }))).id;
  if (backupId === null) throw new Error('there is no backup');
  if (operation === 'delete') await cloud.backups.delete(caller, backupId);
  else await cloud.backups.restore(caller, backupId, { volumeId: operation === 'restore-new' ? null : volumeId, name: null });
  return backupId;
}

/** Waits until nothing is under way any more, and throws when something does not hold that must hold however it ended. */
export async function checkSubject(cloud: BackupCloud, subject: Subject, ended?: SagaStatus): Promise<void> {
  const caller = callerFor(subject);
  const volume = await cloud.settledVolume(caller, subject.volumeId);
  if (subject.operation === 'create') await checkCreated(cloud, caller, subject, ended);
  if (subject.operation === 'restore') await checkRestored(cloud, caller, subject, ended);
  if (subject.operation === 'restore-new') await checkRestoredNew(cloud, caller, subject, ended);
  if (subject.operation === 'restore-damaged') await checkReplaced(cloud, caller, subject, ended);
  if (subject.operation === 'delete') await checkDeleted(cloud, caller, subject, ended);
  if (volume.status !== 'available') await cloud.volumes.resetStatus(caller, volume.id, { status: 'available', attachStatus: null });
  await checkHolds(cloud);
  // Whatever happened, the next backup works.
  await cloud.backUp(caller, { volumeId: subject.volumeId });
}

async function checkCreated(cloud: BackupCloud, caller: Caller, subject: Subject, ended: SagaStatus | undefined): Promise<void> {
  const [backup] = await backupsOf(cloud, subject);
  if (backup === undefined) throw new Error('the row is gone');
  const { status } = await cloud.settledBackup(caller, backup.id);
  if (!['available', 'error'].includes(status) || (ended === 'done' && status !== 'available')) throw new Error(`the backup is ${status}`);
  await cloud.compare(subject.volumeId, subject.model);
  if (status === 'error') {
    await cloud.backups.delete(caller, backup.id);
    await cloud.gone(() => cloud.backups.get(caller, backup.id));
    return;
  }
  const { volumeId } = await cloud.backups.restore(caller, backup.id, { volumeId: null, name: null });
  const restored = await cloud.settledVolume(caller, volumeId);
  if (restored.status !== 'available') throw new Error(`a restore of the backup ends as ${restored.status}`);
  await cloud.compare(volumeId, subject.model);
}

async function checkRestored(cloud: BackupCloud, caller: Caller, subject: Subject, ended: SagaStatus | undefined): Promise<void> {
  const backup = await cloud.settledBackup(caller, String(subject.backupId));
  if (backup.status !== 'available') throw new Error(`the backup is ${backup.status}`);
  const volume = await cloud.volumes.get(caller, subject.volumeId);
  if (ended === 'done' && volume.status !== 'available') throw new Error(`the volume is ${volume.status}`);
  if (!['available', 'error_restoring', 'error'].includes(volume.status)) throw new Error(`the volume is ${volume.status}`);
  // Available: all of the backup. Anything else: all of what was there before.
  await cloud.compare(volume.id, volume.status === 'available' ? subject.backupModel : subject.model);
}

async function checkRestoredNew(cloud: BackupCloud, caller: Caller, subject: Subject, ended: SagaStatus | undefined): Promise<void> {
  const backup = await cloud.settledBackup(caller, String(subject.backupId));
  if (backup.status !== 'available') throw new Error(`the backup is ${backup.status}`);
  await cloud.compare(subject.volumeId, subject.model);
  const { status, id } = await cloud.settledVolume(caller, String(backup.restoreVolumeId));
  if (status !== 'available' && (status !== 'error' || ended === 'done')) throw new Error(`the new volume is ${status}`);
  if (status === 'available') await cloud.compare(id, subject.backupModel);
  await cloud.volumes.delete(caller, id, { cascade: false, force: false });
  await cloud.gone(() => cloud.volumes.get(caller, id));
}

/** What was there before could not be read: when it was not replaced, the next restore does it. */
async function checkReplaced(cloud: BackupCloud, caller: Caller, subject: Subject, ended: SagaStatus | undefined): Promise<void> {
  const { volumeId, backupModel } = subject;
  const backupId = String(subject.backupId);
  const { status } = await cloud.volumes.get(caller, volumeId);
  if (ended === 'done' && status !== 'available') throw new Error(`the volume is ${status}`);
  if (status !== 'available') {
    await cloud.volumes.resetStatus(caller, volumeId, { status: 'available', attachStatus: null });
    await cloud.settledBackup(caller, backupId);
    await cloud.backups.restore(caller, backupId, { volumeId, name: null });
    const again = await cloud.settledVolume(caller, volumeId);
    if (again.status !== 'available') throw new Error(`the next restore leaves the volume ${again.status}`);
  }
  await cloud.compare(volumeId, backupModel);
}

async function checkDeleted(cloud: BackupCloud, caller: Caller, subject: Subject, ended: SagaStatus | undefined): Promise<void> {
  const id = String(subject.backupId);
  const backup = await cloud.settledBackup(caller, id).catch(() => undefined);
  if (backup === undefined) return;
  if (ended === 'done' || backup.status !== 'error') throw new Error(`the backup is ${backup.status}`);
  await cloud.backups.delete(caller, id);
  await cloud.gone(() => cloud.backups.get(caller, id));
}

const backupsOf = (cloud: BackupCloud, { volumeId }: Subject) =>
  cloud.held.database.sql.selectFrom('backups').select(['id', 'status']).where('volume_id', '=', volumeId).orderBy('created_at').execute();

/** A hold that nobody lets go of keeps bytes for ever. */
async function checkHolds(cloud: BackupCloud): Promise<void> {
  const holds = await cloud.held.database.sql.selectFrom('point_holds').select('holder').execute();
  const left = holds.filter(({ holder }) => holder.startsWith('backup:') || holder.startsWith('restore:'));
  if (left.length > 0) throw new Error(`still held: ${left.map(({ holder }) => holder).join(', ')}`);
}
