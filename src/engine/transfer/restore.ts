/**
 * A restore: from a commit to a raw file.
 *
 * The target is made anew and sparse. Worker threads check each chunk against its id and write it; this thread walks the map, checking each
 * node, and makes the file durable while it is written, so that the end does not wait for gigabytes. Success is declared when every leaf
 * is done without damage, which proves the commit's root, and the file and its name are durable. Otherwise the target is removed.
 *
 * Damage does not stop the reading: the rest is checked without being written, so that the error names every range that is lost.
 */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crashPoint } from '../../lib/crash-points.ts';
import { syncFolder } from '../../lib/durable-files.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { childOf, isHole, type NodeReference, spanOf } from '../repository/disk-map.ts';
import { RepositoryError } from '../repository/errors.ts';
import { CHUNK_BYTES, FAN_OUT, LEAF_BYTES } from '../repository/format.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import { stretchesOf } from './chunk-mask.ts';
import type { RepositoryAddress, RestoreCallOptions, RestoreOutcome } from './contract.ts';
import { damageOf } from './damage.ts';
import { accessOf } from './domain-access.ts';
import { bytesOfMap, checkFits, type OpenBackup, openBackup } from './open-backup.ts';
import { admit, RestoreProgress, targetError, workersFor } from './restore-progress.ts';
import { runTasks, withJob } from './run-tasks.ts';
import type { WorkerPool } from './worker-pool.ts';
import type { RestoreLeafResult, RestoreLeafTask, RestoreTask } from './worker-protocol.ts';

export interface RestoreWork {
  readonly pool: WorkerPool;
  readonly repository: Repository;
  readonly keys: DomainKeys;
  readonly store: RepositoryAddress['store'];
  readonly session: string;
  readonly targetPath: string;
  readonly targetSizeBytes: number | undefined;
  /** An existing target is an error, not replaced. */
  readonly mustBeNew: boolean;
  /** Hears the names of packs that turned out damaged or missing, before the restore fails. */
  readonly onDamage?: (packNames: readonly string[]) => void;
  readonly options: RestoreCallOptions;
}

export async function runRestore(work: RestoreWork): Promise<RestoreOutcome> {
  const backup = await openBackup(work.repository, work.keys, work.session);
  const sizeBytes = work.targetSizeBytes ?? backup.commit.map.sizeBytes;
  checkFits(backup.commit, sizeBytes);
  if (!work.mustBeNew) await rm(work.targetPath, { force: true });
  const file = await makeTarget(work.targetPath);
  try {
    return await fillTarget(work, backup, file, sizeBytes);
  } catch (error) {
    await rm(work.targetPath, { force: true });
    throw work.options.signal.aborted ? new RepositoryError('aborted', 'the restore was aborted', { cause: error }) : error;
  } finally {
    await file.close();
  }
}

async function makeTarget(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx+', 0o600);
  } catch (error) {
    throw targetError(path, error);
  }
}

async function fillTarget(work: RestoreWork, backup: OpenBackup, file: FileHandle, sizeBytes: number): Promise<RestoreOutcome> {
  const { targetPath, options } = work;
  const { commit } = backup;
  const totalBytes = bytesOfMap(commit);
  options.onProgress?.(0, totalBytes);
  await admit(targetPath, totalBytes, options);
  const progress = new RestoreProgress({ totalBytes, doneBytes: 0, flush: () => file.datasync(), onProgress: options.onProgress });
  try {
    await file.truncate(sizeBytes).catch((error: unknown) => Promise.reject(targetError(targetPath, error)));
    const written = await moveLeaves(work, backup, totalBytes, progress);
    progress.throwDamage(work.onDamage);
    crashPoint('restore.before-flush');
    await flushTarget(file, targetPath);
    const allocated = written.clamp(commit.map.sizeBytes).encode().toString('base64');
    return { root: commit.root, allocated, writtenBytes: progress.writtenBytes };
  } finally {
    await progress.settled();
  }
}

/** Returns the ranges that were written, in whole chunks. */
async function moveLeaves(work: RestoreWork, backup: OpenBackup, totalBytes: number, progress: RestoreProgress): Promise<ExtentSet> {
  const { pool, repository, keys, store, targetPath, options } = work;
  const { sizeBytes } = backup.commit.map;
  const context = { kind: 'restore', access: accessOf(store, repository, keys), targetPath, sizeBytes } as const;
  const written = ExtentSet.builder();
  const batches = new LeafBatches();
  const take = (results: readonly RestoreLeafResult[], task: RestoreTask): void => {
    for (const [i, result] of results.entries()) {
      const start = (task[i] as RestoreLeafTask).leafIndex * LEAF_BYTES;
      for (const [from, to] of stretchesOf(result.written, FAN_OUT)) written.add(start + from * CHUNK_BYTES, start + to * CHUNK_BYTES);
      batches.note(result.writtenBytes);
      progress.note(result);
    }
  };
  await withJob(pool, context, workersFor(totalBytes), (job) =>
    runTasks(job, batches.of(leavesOf(backup, progress)), options.signal, take),
  );
  return written.build();
}

const TASK_LEAVES_MAX = 16;

/**
 * Puts leaves into tasks. What a leaf holds is seen only when it was read, so it is guessed from those before: full leaves are a task each, but few
 * chunks in many leaves must not cost a message each.
 */
class LeafBatches {
  #leaves = 0;
  #writtenBytes = 0;

  note(writtenBytes: number): void {
    this.#leaves += 1;
    this.#writtenBytes += writtenBytes;
  }

  async *of(leaves: AsyncIterable<RestoreLeafTask>): AsyncGenerator<RestoreTask, void, undefined> {
    let task: RestoreLeafTask[] = [];
    for await (const leaf of leaves) {
      task.push(leaf);
      if (task.length < this.#wanted()) continue;
      yield task;
      task = [];
    }
    if (task.length > 0) yield task;
  }

  #wanted(): number {
    if (this.#leaves === 0) return 1;
    const bytesPerLeaf = Math.max(CHUNK_BYTES, this.#writtenBytes / this.#leaves);
    return Math.max(1, Math.min(TASK_LEAVES_MAX, Math.floor(LEAF_BYTES / bytesPerLeaf)));
  }
}

/** All leaves that are not holes, ascending. */
async function* leavesOf(backup: OpenBackup, progress: RestoreProgress): AsyncGenerator<RestoreLeafTask, void, undefined> {
  const { top, topLevel } = backup.commit.map;
  yield* leavesBelow(backup, progress, top, topLevel, 0);
}

/** A node that cannot be read is damage of everything below it. */
async function* leavesBelow(
  backup: OpenBackup,
  progress: RestoreProgress,
  reference: NodeReference,
  level: number,
  index: number,
): AsyncGenerator<RestoreLeafTask, void, undefined> {
  if (isHole(reference) || reference.address === undefined) return;
  if (level === 0) {
    yield { leafIndex: index, leaf: { id: reference.id, address: reference.address }, checkOnly: progress.checkOnly };
    return;
  }
  let children: NodeReference[] = [];
  try {
    const node = await backup.tools.nodes.read(reference, level);
    children = Array.from({ length: FAN_OUT }, (_, child) => childOf(node, child));
  } catch (error) {
    progress.damages.push(damageOf(error, index * spanOf(level), spanOf(level), backup.commit.map.sizeBytes));
  }
  for (const [child, below] of children.entries()) yield* leavesBelow(backup, progress, below, level - 1, index * FAN_OUT + child);
}

async function flushTarget(file: FileHandle, path: string): Promise<void> {
  try {
    await file.sync();
    await syncFolder(dirname(path));
  } catch (error) {
    throw targetError(path, error);
  }
}
