/**
 * A restore onto what a disk holds: from a commit to an overlay that makes the disk that of the backup.
 *
 * First it is found out which chunks differ (`restore-differences.ts`); only then is anything written, so that what will be written is known, and
 * granted, before its first byte. Worker threads fetch the differing chunks, check each against its id, and write it to where this thread has given
 * it room in the overlay. What the backup has no data for becomes zeroes. The overlay gets its tables and its header last.
 *
 * What is equal already is not fetched: damage in the repository matters only where it is needed. Damage does not stop the reading: the rest is
 * checked without being written, so that the error names every range that is lost.
 */
import { rm } from 'node:fs/promises';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { DiskReader } from '../disk/contract.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { openDisk } from '../disk/open-disk.ts';
import { FilledQcow2, qcow2TableBytesMax } from '../disk/write-qcow2-filled.ts';
import { RepositoryError } from '../repository/errors.ts';
import { CHUNK_BYTES, FAN_OUT, LEAF_BYTES } from '../repository/format.ts';
import { LeafFinder, UnreadableNode } from '../repository/leaf-finder.ts';
import { countChunks, hasChunk } from './chunk-mask.ts';
import { CompareStopped } from './compare-disk.ts';
import type { RestoreOntoOutcome } from './contract.ts';
import { damageOf } from './damage.ts';
import { accessOf } from './domain-access.ts';
import { type LeafPlan, leavesOf } from './leaf-plan.ts';
import type { OntoWork } from './onto-work.ts';
import { checkFits, type OpenBackup, openBackup } from './open-backup.ts';
import { type FoundDifferences, findDifferences } from './restore-differences.ts';
import { admit, RestoreProgress, targetError, workersFor } from './restore-progress.ts';
import { runTasks, withJob } from './run-tasks.ts';
import type { RestoreLeafResult, RestoreLeafTask, RestoreTask } from './worker-protocol.ts';

export async function runRestoreOnto(work: OntoWork): Promise<RestoreOntoOutcome> {
  const { order, options } = work;
  // What an attempt left that was killed takes space that this one may need.
  await rm(order.target.path, { force: true });
  const backup = await openBackup(work.repository, work.keys, order.session);
  checkFits(backup.commit, order.target.sizeBytes);
  try {
    const differences = await differencesOf(work, backup);
    return await writeOverlay(work, backup, differences);
  } catch (error) {
    if (options.signal.aborted) throw new RepositoryError('aborted', 'the restore was aborted', { cause: error });
    if (error instanceof CompareStopped) return { kind: 'unreadable', reason: error.message };
    throw error;
  }
}

async function differencesOf(work: OntoWork, backup: OpenBackup): Promise<FoundDifferences> {
  const reader = openCurrent(work);
  try {
    return await findDifferences(work, backup, reader);
  } finally {
    reader.close();
  }
}

function openCurrent({ order }: OntoWork): DiskReader {
  try {
    // The bulk is read by the workers.
    return openDisk(order.current, { expectedBytes: 0 });
  } catch (error) {
    throw new CompareStopped('disk', messageOf(error), { cause: error });
  }
}

async function writeOverlay(work: OntoWork, backup: OpenBackup, differences: FoundDifferences): Promise<RestoreOntoOutcome> {
  const { order, options } = work;
  const { path, sizeBytes, backing } = order.target;
  if (differences.damages.length === 0) await admit(path, overlayBytesMax(differences, sizeBytes), options);
  const overlay = await ofTarget(path, () => FilledQcow2.create(path, { sizeBytes, backing }));
  const progress = new RestoreProgress({
    totalBytes: differences.write.totalBytes,
    doneBytes: differences.passedBytes,
    flush: () => overlay.flush(),
    onProgress: options.onProgress,
  });
  progress.damages.push(...differences.damages);
  try {
    await moveLeaves(work, backup, differences, overlay, progress).finally(() => progress.settled());
    progress.throwDamage(work.onDamage);
    crashPoint('restore.before-flush');
    await ofTarget(path, () => overlay.finish());
  } catch (error) {
    await overlay.discard();
    throw error;
  }
  const { comparedBytes, write, zero, knownProblem, audit } = differences;
  return {
    kind: 'restored',
    root: backup.commit.root,
    written: write.union(zero).clamp(sizeBytes).encode().toString('base64'),
    writtenBytes: progress.writtenBytes,
    comparedBytes,
    ...(knownProblem === undefined ? {} : { knownProblem }),
    ...(audit === undefined ? {} : { audit }),
  };
}

function overlayBytesMax({ write, zero }: FoundDifferences, sizeBytes: number): number {
  return write.totalBytes + qcow2TableBytesMax(sizeBytes, write.union(zero), write.totalBytes);
}

async function moveLeaves(
  work: OntoWork,
  backup: OpenBackup,
  differences: FoundDifferences,
  overlay: FilledQcow2,
  progress: RestoreProgress,
): Promise<void> {
  const { pool, repository, keys, order, options } = work;
  const context = {
    kind: 'restore',
    access: accessOf(order.repository.store, repository, keys),
    targetPath: order.target.path,
    sizeBytes: backup.commit.map.sizeBytes,
  } as const;
  await withJob(pool, context, workersFor(differences.write.totalBytes), (job) =>
    runTasks<RestoreTask, RestoreLeafResult[]>(job, tasksOf(work, backup, differences, overlay, progress), options.signal, (results) => {
      for (const result of results) progress.note(result);
    }),
  );
}

const TASK_LEAVES_MAX = 16;

async function* tasksOf(
  { order }: OntoWork,
  backup: OpenBackup,
  { write, zero }: FoundDifferences,
  overlay: FilledQcow2,
  progress: RestoreProgress,
): AsyncGenerator<RestoreTask, void, undefined> {
  const finder = new LeafFinder(backup.tools.nodes, backup.commit.map);
  let task: RestoreLeafTask[] = [];
  let chunks = 0;
  for (const leaf of leavesOf({ changed: write.union(zero), read: write, readBytes: 0, allocated: ExtentSet.empty })) {
    const hostBytes = await ofTarget(order.target.path, () => giveRoom(overlay, leaf));
    const next = await taskOf(leaf, hostBytes, finder, backup, progress);
    if (next === undefined) continue;
    task.push(next);
    chunks += countChunks(leaf.read);
    if (chunks < FAN_OUT && task.length < TASK_LEAVES_MAX) continue;
    yield task;
    task = [];
    chunks = 0;
  }
  if (task.length > 0) yield task;
}

/** Enters the changed chunks of a leaf into the overlay. Returns where the data of each goes; -1: nowhere. */
async function giveRoom(overlay: FilledQcow2, { leafIndex, changed, read: write }: LeafPlan): Promise<Float64Array> {
  const hostBytes = new Float64Array(FAN_OUT).fill(-1);
  for (let from = 0; from < FAN_OUT; ) {
    const isData = hasChunk(write, from);
    let to = from + 1;
    while (to < FAN_OUT && hasChunk(changed, to) === hasChunk(changed, from) && hasChunk(write, to) === isData) to += 1;
    const offsetBytes = leafIndex * LEAF_BYTES + from * CHUNK_BYTES;
    if (isData) {
      const start = await overlay.addData(offsetBytes, to - from);
      for (let index = from; index < to; index += 1) hostBytes[index] = start + (index - from) * CHUNK_BYTES;
    } else if (hasChunk(changed, from)) {
      await overlay.addZeroes(offsetBytes, to - from);
    }
    from = to;
  }
  return hostBytes;
}

async function taskOf(
  { leafIndex, read: write }: LeafPlan,
  hostBytes: Float64Array,
  finder: LeafFinder,
  backup: OpenBackup,
  progress: RestoreProgress,
): Promise<RestoreLeafTask | undefined> {
  if (countChunks(write) === 0) return undefined;
  try {
    const { id, address } = await finder.leafAt(leafIndex);
    if (address === undefined) throw new Error(`leaf ${leafIndex} has become a hole`);
    return { leafIndex, leaf: { id: new Uint8Array(id), address }, hostBytes, checkOnly: progress.checkOnly };
  } catch (error) {
    if (!(error instanceof UnreadableNode)) throw error;
    progress.damages.push(damageOf(error.cause, error.offsetBytes, error.lengthBytes, backup.commit.map.sizeBytes));
    return undefined;
  }
}

async function ofTarget<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    throw targetError(path, error);
  }
}
