/**
 * A backup: from a frozen disk to a commit.
 *
 * Order: earlier attempts are ended → base and plan → leaves, in worker threads, whose packs become durable as they fill → metadata packs →
 * every pack that the base does not vouch for is seen to exist with its length → commit. Until the commit nothing of the session is
 * visible, so dying anywhere before leaves packs that nobody refers to; dying after it leaves a complete backup, which the next attempt
 * finds.
 *
 * A failed or aborted session removes its packs, unless the commit was tried: an error there may hide a success, so the name is fenced
 * first, and when the fence loses, the backup exists.
 *
 * A base that cannot be read, or that the sampled audit catches out, costs a full read, never the backup.
 */
import { randomInt } from 'node:crypto';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { DiskReader } from '../disk/contract.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { openDisk } from '../disk/open-disk.ts';
import { type AuditFigures, type Commit, putCommit, putFence, readCommit } from '../repository/commit.ts';
import { isDamage, isRepositoryError, RepositoryError, type RepositoryErrorKind } from '../repository/errors.ts';
import { CHUNK_BYTES, checkSession } from '../repository/format.ts';
import { createRecentChunks } from '../repository/index/recent-chunks.ts';
import type { Repository } from '../repository/repository.ts';
import { isTombstoned } from '../repository/tombstone.ts';
import { AuditFailure, auditSample, describeFinding } from './audit.ts';
import { type BackupBase, runBackupSession, type SessionResult } from './backup-session.ts';
import type { BackupWork, TransferDeps } from './backup-work.ts';
import type { BackupOrder, BackupOutcome, MoverCallOptions } from './contract.ts';
import { accessOf, toolsOf } from './domain-access.ts';
import { findOutcome, outcomeOf, removePacks, settleFormerSessions } from './former-sessions.ts';
import type { IndexLease } from './index-cache.ts';
import { type BackupPlan, planBackup, planWholeDisk } from './leaf-plan.ts';
import type { BackupContext } from './worker-protocol.ts';

export async function runBackup(
  deps: TransferDeps,
  repository: Repository,
  order: BackupOrder,
  options: MoverCallOptions,
): Promise<BackupOutcome> {
  checkSession(order.session);
  const keys = await repository.createDomain(order.domain);
  const earlier =
    (await settleFormerSessions(repository, keys, order.formerSessions, deps.now)) ?? (await findOutcome(repository, keys, order.session));
  if (earlier !== undefined) return earlier;
  const [sequence, auditSeed] = [new SharedArrayBuffer(4), randomInt(2 ** 31)];
  const work: BackupWork = { deps, order, options, repository, keys, sequence, auditSeed };
  // The bulk is read by the workers.
  const reader = openDisk(order.source, { expectedBytes: 0 });
  try {
    return await backUp(work, reader);
  } finally {
    reader.close();
  }
}

async function backUp(work: BackupWork, reader: DiskReader): Promise<BackupOutcome> {
  const found = await findBase(work);
  if (found === undefined) return await backUpAll(work, reader);
  if (typeof found === 'string') return { ...(await backUpAll(work, reader)), baseProblem: found };
  try {
    return await backUpChanges(work, reader, found);
  } catch (error) {
    if (error instanceof AuditFailure) return await backUpAll(work, reader, error);
    // Only a node of the base's map can be damaged here: everything else was just written.
    if (!isDamage(error)) throw error;
    work.deps.log.warn({ error: error.message, session: found.commit.session }, 'the base of a backup is damaged, everything is read');
    return { ...(await backUpAll(work, reader)), baseProblem: error.message };
  }
}

/** Throws `AuditFailure` when the base and the changes since turn out not to add up to the disk. */
async function backUpChanges(work: BackupWork, reader: DiskReader, base: BackupBase): Promise<BackupOutcome> {
  const { repository, keys, auditSeed: seed } = work;
  const { map } = base.commit;
  const plan = planBackup(reader, { changed: base.changed, sizeBytes: map.sizeBytes });
  const audit = await auditSample({ reader, ranges: plan, seed, base: { map, tools: toolsOf(repository.store, repository.id, keys) } });
  if (audit.finding !== undefined) throw new AuditFailure(audit.finding, audit.chunks);
  return await attempt(work, reader, plan, { seed, chunks: audit.chunks }, base);
}

/** Reads everything that the disk holds; when its word for that cannot be taken, everything. */
async function backUpAll(work: BackupWork, reader: DiskReader, failure?: AuditFailure): Promise<BackupOutcome> {
  const { auditSeed: seed, order, deps } = work;
  const plan = planBackup(reader, undefined);
  const own = failure === undefined ? await auditSample({ reader, ranges: plan, seed }) : undefined;
  const { chunks, finding } = own ?? failure ?? { chunks: 0 };
  if (finding === undefined) return await attempt(work, reader, plan, { seed, chunks });
  const baseSession = order.base === undefined ? {} : { baseSession: order.base.session };
  const audit = { seed, chunks, finding: { ...finding, ...baseSession } };
  deps.log.error({ ...audit, session: order.session }, `${describeFinding(finding)}: everything is read`);
  return await attempt(work, reader, finding.wrong === 'allocation' ? planWholeDisk(reader) : plan, audit);
}

/** What is wrong with the base, and not with the way to it. */
const unusableBase: ReadonlySet<RepositoryErrorKind> = new Set(['corrupted', 'missing', 'not-found']);

/** The base of an incremental; a text when there should be one and it cannot be used. */
async function findBase({ order, repository, keys, deps }: BackupWork): Promise<BackupBase | string | undefined> {
  if (order.base === undefined) return undefined;
  const { session, root, changed } = order.base;
  try {
    const found = await readCommit(repository, keys, session);
    if (found?.kind !== 'commit') throw new RepositoryError('not-found', `there is no commit of session ${session}`);
    if (found.commit.root !== root) throw new RepositoryError('corrupted', `the commit of session ${session} has another root`);
    const isLive = !(await isTombstoned(repository, session));
    return { commit: found.commit, isLive, changed: ExtentSet.decode(Buffer.from(changed, 'base64')) };
  } catch (error) {
    if (error instanceof RepositoryError && !unusableBase.has(error.kind)) throw error;
    deps.log.warn({ error: messageOf(error), session }, 'the base of a backup cannot be used, everything is read');
    return messageOf(error);
  }
}

async function attempt(
  work: BackupWork,
  reader: DiskReader,
  plan: BackupPlan,
  audit: AuditFigures,
  base?: BackupBase,
): Promise<BackupOutcome> {
  const { order, deps, repository, keys, options } = work;
  // Without anything to read there is nothing to look up, and nothing to learn.
  const lease = plan.readBytes === 0 ? undefined : await deps.indexes.acquire(repository, keys, order.repository.cacheDir);
  let committed = false;
  try {
    const context = await contextOf(work, plan, lease, base === undefined);
    const result = await runBackupSession(work, reader, plan, base, context);
    const outcome = await publish(work, result, audit, base);
    committed = true;
    return outcome;
  } catch (error) {
    throw options.signal.aborted ? new RepositoryError('aborted', 'the backup was aborted', { cause: error }) : error;
  } finally {
    lease?.release(order.session, committed);
  }
}

async function contextOf(work: BackupWork, plan: BackupPlan, lease: IndexLease | undefined, isFull: boolean): Promise<BackupContext> {
  const { order, repository, keys, sequence } = work;
  return {
    kind: 'backup',
    access: accessOf(order.repository.store, repository, keys),
    session: order.session,
    source: order.source,
    sequence,
    recent: createRecentChunks(Math.ceil(plan.readBytes / CHUNK_BYTES)),
    readBytes: plan.readBytes,
    isIncremental: !isFull,
    auditSeed: work.auditSeed,
    ...(await prepareIndex(work, lease, isFull)),
  };
}

/** Trouble with the local index costs room in the store, not the backup. */
async function prepareIndex({ order, options, deps }: BackupWork, lease: IndexLease | undefined, isFull: boolean) {
  if (lease === undefined) return { segments: [] };
  try {
    if (isFull) await lease.index.catchUp(options.signal);
    return { segments: await lease.index.segments(), indexFolder: lease.index.beginSession(order.session) };
  } catch (error) {
    options.signal.throwIfAborted();
    deps.log.warn({ error: messageOf(error) }, 'a backup goes on without the chunk index');
    return { segments: [] };
  }
}

async function publish(work: BackupWork, result: SessionResult, audit: AuditFigures, base: BackupBase | undefined): Promise<BackupOutcome> {
  const { order, repository, keys, deps } = work;
  const commit: Commit = {
    session: order.session,
    domain: keys.domain,
    parentSession: base?.commit.session,
    map: result.map,
    root: result.root,
    packs: result.packs,
    committedAt: deps.now().toISOString(),
    figures: { ...result.figures, ...(audit.chunks === 0 ? {} : { audit }) },
    description: order.describe,
  };
  crashPoint('backup.before-commit');
  try {
    const { lengthBytes } = await putCommit(repository, keys, commit);
    crashPoint('backup.after-commit');
    return outcomeOf(commit, lengthBytes);
  } catch (error) {
    const hasLost = isRepositoryError(error, 'conflict') || (await putFence(repository, keys, order.session)) === 'fenced';
    const outcome = hasLost ? undefined : await findOutcome(repository, keys, order.session);
    if (outcome !== undefined) return outcome;
    if (hasLost) await removePacks(repository.store, result.written);
    throw error;
  }
}
