/**
 * Creating a backup: a moment of the disk becomes a commit in the repository.
 *
 *   schedule  somebody takes backups, where this one was asked to live
 *   freeze    a hidden point of the volume is made and held (milliseconds), or the snapshot's point is held; from here on the volume may
 *             change as it likes, and the backup holds what the disk held at this moment
 *   transfer  the data mover reads the point and writes packs and, last of all, one commit. A request for an incremental reads only what changed
 *             since the nearest point that the repository already knows; any other reads everything allocated, on purpose (decision 0002).
 *             When the mover's audit finds that something it relied on is not true, it reads everything all the same, and nothing relies on that
 *             again (decision 0012)
 *   publish   one transaction: the backup is available, the point is known under the commit's root, volume or snapshot is back where it
 *             was, and the point's bytes are released (its place among the points stays: later incrementals start there)
 *
 * Half-way. Nothing of a backup counts before its commit is there, and nothing of the commit before the row says `available`. A process that dies
 * is followed by another that takes up the same step: a transfer starts with a session of its own and names the former ones, so that the mover
 * either finds a finished commit among them or makes sure that none of them will ever be one. For that a session is noted before it is used.
 *
 * A failure settles the rows first (the volume must not wait for a broken repository) and leaves the sessions to `backup.discard`, which tries
 * until they are tombstoned. Deletion by force of a backup that is being created is the same walk; the row disappears instead of showing an error.
 */
import type { AuditFinding } from '../../engine/repository/commit.ts';
import type { SpaceAccount } from '../../engine/space/contract.ts';
import type { BackupDescription, BackupOrder, BackupOutcome, DataMover } from '../../engine/transfer/contract.ts';
import { newHexId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import { inTurns } from '../../lib/steps.ts';
import type { Database, Timestamp } from '../database/service.ts';
import type { DisksService } from '../disks/contract.ts';
import type { Events } from '../events/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { SagaDefinition, SagaFailure, StepContext } from '../jobs/saga.ts';
import type { Jobs } from '../jobs/service.ts';
import type { SnapshotsForBackups } from '../snapshots/contract.ts';
import type { VolumesForBackups } from '../volumes/contract.ts';
import { auditEvent, auditText } from './audit-finding.ts';
import { type Backup, failReasonOf } from './backup.ts';
import { discardKind } from './discard.job.ts';
import { explained, withNewMover } from './reasons.ts';
import type { Repositories } from './repositories.ts';
import { guardSpaceIn, requireSpaceIn } from './repository-space.ts';
import { findBackup, lockBackup, move, removeBackup } from './store.ts';

export const createKind = 'backup.create';

/** More than the data mover can serve at once, so that each is frozen soon after its request; fewer than all sagas, so that snapshots get through. */
const createsMax = 8;

export type CreateInput = {
  readonly backupId: string;
  /** Also the repository's domain: a project's backups share chunks and a key. */
  readonly projectId: string;
  readonly volumeId: string;
  readonly snapshotId: string | null;
  readonly repositoryId: string;
  /** The snapshot's own point, or the one that is to be made. */
  readonly pointId: string;
  readonly topLayerId: string;
  readonly incremental: boolean;
  /** Where the backup was asked to live; null = wherever. */
  readonly availabilityZone: string | null;
};

export interface CreateJobDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'start'>;
  readonly disks: DisksService;
  readonly mover: Pick<DataMover, 'backup'>;
  readonly volumes: VolumesForBackups;
  readonly snapshots: SnapshotsForBackups;
  readonly repositories: Repositories;
  readonly space: SpaceAccount;
  readonly placement: Pick<Placement, 'takesBackups'>;
  readonly events: Pick<Events, 'record'>;
  readonly availabilityZone: string;
  readonly log: Log;
}

type Context = StepContext<CreateInput>;

type TransferOutput = {
  /** All sessions that were ever used, the newest last. */
  readonly sessions: readonly string[];
  readonly outcome?: {
    readonly session: string;
    readonly root: string;
    readonly sizeBytes: number;
    readonly objectCount: number;
    readonly readBytes: number;
    readonly storedBytes: number;
    readonly finding?: { readonly wrong: AuditFinding['wrong']; readonly offsetBytes: number; readonly baseSession?: string };
  };
};

const holderOf = (input: CreateInput): string => `backup:${input.backupId}`;

export function createBackupSaga(deps: CreateJobDeps): SagaDefinition<CreateInput> {
  return {
    kind: createKind,
    concurrency: createsMax,
    steps: [
      { name: 'schedule', run: (context) => schedule(deps, context), undo: { notNeeded: 'It only looks.' } },
      { name: 'freeze', run: (context) => freeze(deps, context), undo: (context) => releasePoint(deps, context) },
      {
        name: 'transfer',
        run: (context) => transfer(deps, context),
        undo: {
          notNeeded:
            'Settling starts backup.discard for the sessions: the volume must not wait until a full or broken store takes a tombstone.',
        },
      },
      {
        name: 'publish',
        run: (context) => publish(deps, context),
        undo: { notNeeded: 'It is one transaction, and the last step.' },
      },
    ],
    settle: (context, failure) => settle(deps, context, failure),
  };
}

async function schedule(deps: CreateJobDeps, { input }: Context): Promise<undefined> {
  const inOurZone = input.availabilityZone === null || input.availabilityZone === deps.availabilityZone;
  if (inOurZone && (await deps.placement.takesBackups(deps.database.sql))) return;
  throw new Error('Service not found for creating backup.');
}

async function freeze(deps: CreateJobDeps, context: Context): Promise<undefined> {
  const { input } = context;
  const repository = await deps.repositories.addressOf(input.repositoryId);
  await explained(context.signal, () => requireSpaceIn(deps.space, repository));
  if (input.snapshotId !== null) {
    await context.effect('hold', () => deps.database.transact((tx) => deps.disks.hold(tx, input.pointId, holderOf(input))));
    return;
  }
  const plan = { pointId: input.pointId, topLayerId: input.topLayerId, holder: holderOf(input) };
  await explained(context.signal, () => context.effect('freeze', () => deps.disks.freeze(input.volumeId, plan)));
}

async function releasePoint(deps: CreateJobDeps, { input }: Context): Promise<void> {
  await deps.database.transact((tx) => deps.disks.release(tx, input.pointId, holderOf(input)));
}

async function transfer(deps: CreateJobDeps, context: Context): Promise<TransferOutput> {
  const { input } = context;
  const backup = await findBackup(deps.database.sql, input.backupId);
  if (backup === undefined) throw new Error(`the row of backup ${input.backupId} is gone`);
  const repository = await deps.repositories.addressOf(input.repositoryId);
  const sessions = [...(context.output<TransferOutput>('transfer')?.sessions ?? [])];
  const space = guardSpaceIn(deps.space, repository);
  const signal = AbortSignal.any([context.signal, space.signal]);
  const attempt = async (): Promise<BackupOutcome> => {
    const formerSessions = [...sessions];
    const session = newHexId();
    sessions.push(session);
    await context.note({ sessions });
    const source = await deps.disks.sourceOf(input.pointId);
    const common = { repository, domain: input.projectId, session, formerSessions, source, describe: describe(backup) };
    const order: BackupOrder = { ...common, ...(await baseOf(deps, input)) };
    return await context.effect('move', () =>
      deps.mover.backup(order, {
        signal,
        onProgress(doneBytes, totalBytes) {
          space.look();
          context.progress({ doneBytes, totalBytes });
        },
      }),
    );
  };
  const outcome = await explained(context.signal, async () => {
    try {
      return await withNewMover(signal, attempt);
    } catch (error) {
      throw space.signal.aborted ? space.signal.reason : error;
    }
  });
  deps.log.info({ backupId: backup.id, asked: input.incremental ? 'incremental' : 'full', ...outcome }, 'a backup was written');
  const finding = outcome.audit?.finding;
  if (finding !== undefined) {
    deps.log.error({ backupId: backup.id, volumeId: backup.volumeId, ...outcome }, auditText('a backup', finding));
    // Before the backup is published: then it is what the next one starts from.
    await context.effect('distrust', () => deps.disks.distrust(input.pointId, finding));
  }
  return { sessions, outcome: plain(outcome) };
}

/** Asked anew on each attempt: another backup may have made a nearer start since, or have taken one away. */
async function baseOf(deps: CreateJobDeps, input: CreateInput): Promise<Pick<BackupOrder, 'base'>> {
  if (!input.incremental) return {};
  const since = await deps.disks.changesSince(input.pointId, { repositoryId: input.repositoryId, domain: input.projectId });
  if (since === undefined) return {};
  const changed = await inTurns(since.changed.encodeSteps());
  return { base: { session: since.session, root: since.root, changed: changed.toString('base64') } };
}

function describe(backup: Backup): BackupDescription {
  return {
    backupId: backup.id,
    projectId: backup.projectId,
    name: backup.name,
    description: backup.description,
    volume: { id: backup.volumeId, sizeGib: backup.sizeGib, ...backup.volumeMeta },
    snapshotId: backup.snapshotId,
    parentBackupId: backup.parentId,
    dataTimestamp: utc(backup.dataTimestamp),
    createdAt: utc(backup.createdAt),
  };
}

const utc = (timestamp: Timestamp): string => `${timestamp}Z`;

/** An interface has no index signature, which the type of stored outputs asks for. */
const plain = ({ session, root, sizeBytes, objectCount, readBytes, storedBytes, audit }: BackupOutcome) => ({
  session,
  root,
  sizeBytes,
  objectCount,
  readBytes,
  storedBytes,
  ...(audit?.finding === undefined ? {} : { finding: { ...audit.finding } }),
});

async function publish(deps: CreateJobDeps, context: Context): Promise<undefined> {
  const { input } = context;
  const outcome = context.output<TransferOutput>('transfer')?.outcome;
  if (outcome === undefined) throw new Error('the transfer left no result');
  const { session, root, objectCount, finding } = outcome;
  const container = await deps.repositories.nameOf(input.repositoryId);
  await context.effect('rows', () =>
    deps.database.transact(async (tx) => {
      const published = await findBackup(tx.sql, input.backupId);
      if (published?.session === session) return;
      // The volume's row first, as everywhere: requests lock it before a backup's.
      await endOnSource(deps, tx, input, 'done');
      const changes = { session, root, objectCount, pointId: input.pointId, container };
      if (!(await move(tx.sql, input.backupId, 'published', changes))) throw new Error('the backup was cancelled');
      await deps.disks.recordRoot(tx, input.pointId, { repositoryId: input.repositoryId, domain: input.projectId, session, root });
      await deps.disks.release(tx, input.pointId, holderOf(input));
      if (finding !== undefined) await deps.events.record(tx, auditEvent('a backup', input, finding));
    }),
  );
}

async function endOnSource(
  deps: CreateJobDeps,
  tx: Parameters<VolumesForBackups['endBackup']>[0],
  input: CreateInput,
  outcome: 'done' | 'failed',
): Promise<void> {
  if (input.snapshotId === null) await deps.volumes.endBackup(tx, input.volumeId, outcome);
  else await deps.snapshots.endBackup(tx, input.snapshotId);
}

async function settle(deps: CreateJobDeps, context: Context, failure: SagaFailure): Promise<void> {
  const { input } = context;
  const sessions = context.output<TransferOutput>('transfer')?.sessions ?? [];
  await deps.database.transact(async (tx) => {
    const backup = await lockBackup(tx.sql, input.backupId);
    const unpublished = backup !== undefined && backup.session === null;
    if (!unpublished) return;
    if (backup.status === 'deleting') await removeBackup(tx.sql, backup.id);
    else if (!(await move(tx.sql, backup.id, 'createFailed', { failReason: failReasonOf(failure.message) }))) return;
    await endOnSource(deps, tx, input, 'failed');
    if (sessions.length === 0) return;
    const order = { repositoryId: input.repositoryId, domain: input.projectId, sessions };
    await deps.jobs.start(tx, { kind: discardKind, subjectId: backup.id, projectId: input.projectId, input: order });
  });
}
