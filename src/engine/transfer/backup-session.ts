/**
 * The moving part of a backup: hands leaves to worker threads in ascending order, takes their results in the same order, builds the map
 * from them, and makes everything durable. Returns what the commit needs.
 */

import { crashPoint } from '../../lib/crash-points.ts';
import type { DiskReader } from '../disk/contract.ts';
import type { ExtentSet } from '../disk/extent-set.ts';
import type { Commit, CommitFigures } from '../repository/commit.ts';
import { type DiskMap, rootOf } from '../repository/disk-map.ts';
import { DiskMapWriter } from '../repository/disk-map-writer.ts';
import { RepositoryError } from '../repository/errors.ts';
import { FAN_OUT, objectNames } from '../repository/format.ts';
import type { FinishedPack } from '../repository/pack-writer.ts';
import { type PackReferences, ReferenceCounts } from '../repository/reference-counts.ts';
import { guarded } from '../repository/store-access.ts';
import { AuditFailure } from './audit.ts';
import type { BackupWork } from './backup-work.ts';
import { countChunks } from './chunk-mask.ts';
import { type DomainTools, toolsOf } from './domain-access.ts';
import { removePacks } from './former-sessions.ts';
import { type BackupPlan, leavesOf } from './leaf-plan.ts';
import { SessionPacks } from './session-packs.ts';
import type { PoolJob } from './worker-pool.ts';
import type { AbandonedPacks, BackupContext, BackupLeafResult, BackupTask, BackupWorkerEnd, LeafTask } from './worker-protocol.ts';

/** Below this much to read a second thread, with a pack of its own to flush, costs more than it brings. */
const BYTES_PER_WORKER_MIN = 8 * 1024 * 1024;

export interface BackupBase {
  readonly commit: Commit;
  /** Its tombstone is not there: what it needs is there, by the rules of collection. */
  readonly isLive: boolean;
  readonly changed: ExtentSet;
}

export interface SessionResult {
  readonly map: DiskMap;
  readonly root: string;
  readonly packs: readonly PackReferences[];
  readonly figures: CommitFigures;
  /** What the session itself created. */
  readonly written: readonly FinishedPack[];
}

interface Session {
  readonly work: BackupWork;
  readonly plan: BackupPlan;
  readonly tools: DomainTools;
  readonly references: ReferenceCounts;
  readonly metadata: SessionPacks;
  readonly writer: DiskMapWriter;
  /** Data packs that are durable. */
  readonly published: FinishedPack[];
  readBytes: number;
}

export async function runBackupSession(
  work: BackupWork,
  reader: DiskReader,
  plan: BackupPlan,
  base: BackupBase | undefined,
  context: BackupContext,
): Promise<SessionResult> {
  const tools = toolsOf(work.repository.store, work.repository.id, work.keys);
  const references = ReferenceCounts.from(base?.commit.packs ?? []);
  const published: FinishedPack[] = [];
  const metadata = new SessionPacks({ tools, session: work.order.session, kind: 'metadata', sequence: new Int32Array(work.sequence) });
  try {
    const writer = await DiskMapWriter.begin({
      base: base?.commit.map,
      sizeBytes: reader.sizeBytes,
      nodes: tools.nodes,
      hasher: tools.hasher,
      references,
      store: async (encoded, id) => {
        await metadata.prepare();
        return metadata.addFrame(encoded, id);
      },
    });
    const session: Session = { work, plan, tools, references, metadata, writer, published, readBytes: 0 };
    return await complete(session, await moveLeaves(session, context), base);
  } catch (error) {
    // Only what this session created itself, known by name: a second process with the same session must not lose anything.
    await removePacks(work.repository.store, [...published, ...(await metadata.abort())]);
    throw error;
  }
}

interface FinishedMap {
  readonly map: DiskMap;
  readonly metadata: readonly FinishedPack[];
}

async function moveLeaves(session: Session, context: BackupContext): Promise<FinishedMap> {
  const { plan, work, references } = session;
  if (plan.changed.isEmpty) return finishMap(session);
  const job = await work.deps.pool.open(context, Math.ceil(plan.readBytes / BYTES_PER_WORKER_MIN));
  try {
    await runLeaves(session, job);
    // All leaves are known: the map's packs become durable beside the last data packs.
    const [ends, finished] = await Promise.all([job.finish<BackupWorkerEnd>(), finishMap(session)]);
    for (const pack of ends.flatMap((end) => end.sharedPacks)) references.describe({ ...pack, kind: 'data' });
    session.published.push(...ends.flatMap((end) => end.packs));
    return finished;
  } catch (error) {
    for (const { packs } of await job.abort<AbandonedPacks>()) session.published.push(...packs);
    throw error;
  }
}

/** A task ends with the leaf that brings it to this many chunks, or leaves. */
const TASK_CHUNKS = FAN_OUT;
const TASK_LEAVES_MAX = 16;

interface RunningTask {
  readonly task: BackupTask;
  readonly results: Promise<BackupLeafResult[]>;
}

async function runLeaves(session: Session, job: PoolJob): Promise<void> {
  const running: RunningTask[] = [];
  const { signal } = session.work.options;
  for await (const task of tasksOf(session)) {
    signal.throwIfAborted();
    if (running.length === job.window) await takeResults(session, running.shift() as RunningTask);
    const results = job.run<BackupLeafResult[]>(task);
    // Reported when its turn comes; until then it must not count as unhandled.
    results.catch(() => {});
    running.push({ task, results });
  }
  for (const task of running) {
    signal.throwIfAborted();
    await takeResults(session, task);
  }
}

async function* tasksOf({ plan, writer }: Session): AsyncGenerator<BackupTask, void, undefined> {
  let task: LeafTask[] = [];
  let chunks = 0;
  for (const leaf of leavesOf(plan)) {
    const { id, address } = await writer.baseLeaf(leaf.leafIndex);
    task.push(address === undefined ? leaf : { ...leaf, base: { id: new Uint8Array(id), address } });
    chunks += countChunks(leaf.read);
    if (chunks < TASK_CHUNKS && task.length < TASK_LEAVES_MAX) continue;
    yield task;
    task = [];
    chunks = 0;
  }
  if (task.length > 0) yield task;
}

async function takeResults(session: Session, { task, results }: RunningTask): Promise<void> {
  for (const [i, { leaf, readBytes, references, finding }] of (await results).entries()) {
    if (finding !== undefined) throw new AuditFailure(finding, 1);
    for (const [pack, change] of references) session.references.add(pack, change);
    const encoded = leaf?.encoded === undefined ? undefined : bufferOf(leaf.encoded);
    if (leaf !== undefined) await session.writer.put((task[i] as LeafTask).leafIndex, bufferOf(leaf.id), encoded);
    session.readBytes += readBytes;
  }
  session.work.options.onProgress?.(session.readBytes, session.plan.readBytes);
}

async function finishMap({ writer, metadata }: Session): Promise<FinishedMap> {
  const map = await writer.finish();
  return { map, metadata: await metadata.finish() };
}

async function complete(session: Session, { map, metadata }: FinishedMap, base: BackupBase | undefined): Promise<SessionResult> {
  const { references, tools, work, published } = session;
  const written = [...published, ...metadata];
  for (const pack of written) references.describe(pack);
  crashPoint('backup.packs-durable');
  const packs = references.list();
  await checkPacks(session, packs, base);
  work.options.signal.throwIfAborted();
  const storedBytes = written.reduce((sum, pack) => sum + pack.lengthBytes, 0);
  const figures = { objectCount: published.length, readBytes: session.readBytes, storedBytes };
  return { map, packs, written, figures, root: rootOf(map, tools.hasher).toString('hex') };
}

/** Sees every pack that a live base does not vouch for. */
async function checkPacks({ tools }: Session, packs: readonly PackReferences[], base: BackupBase | undefined): Promise<void> {
  const vouched = new Set(base?.isLive ? base.commit.packs.map((pack) => pack.name) : []);
  for (const pack of packs) {
    if (vouched.has(pack.name)) continue;
    const objectName = objectNames.pack(pack.name);
    const lengthBytes = await guarded(objectName, async () => tools.store.length(objectName));
    if (lengthBytes === pack.lengthBytes) continue;
    throw new RepositoryError('missing', `the pack ${objectName} has ${lengthBytes ?? 'no'} bytes instead of ${pack.lengthBytes}`, {
      objectName,
    });
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
