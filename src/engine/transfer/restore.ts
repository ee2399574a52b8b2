/**
 * A restore: from a commit to a raw file.
 *
 * The target is made anew and sparse. Worker threads check each chunk against its id and write it; this thread walks the map, checking each
 * node, and makes the file durable while it is written, so that the end does not wait for gigabytes. Success is declared when every leaf
 * is done without damage, which proves the commit's root, and the file and its name are durable. Otherwise the target is removed.
 *
 * Damage does not stop the reading: the rest is checked without being written, so that the error names every range that is lost.
 */
import { close, fdatasync, fsync, ftruncate, open, rm, statfs } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { type Commit, readCommit } from '../repository/commit.ts';
import { childOf, isHole, type NodeReference, rootOf, spanOf } from '../repository/disk-map.ts';
import { RepositoryError } from '../repository/errors.ts';
import { CHUNK_BYTES, FAN_OUT, LEAF_BYTES } from '../repository/format.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import { isTombstoned } from '../repository/tombstone.ts';
import { isFullError } from '../stores/filesystem/system-errors.ts';
import { stretchesOf } from './chunk-mask.ts';
import type { RepositoryAddress, RestoreCallOptions, RestoreOutcome } from './contract.ts';
import { damagedPacks, damageError, damageOf } from './damage.ts';
import { accessOf, type DomainTools, toolsOf } from './domain-access.ts';
import type { PoolJob, WorkerPool } from './worker-pool.ts';
import type { Damage, RestoreLeafResult, RestoreTask } from './worker-protocol.ts';

const openFile = promisify(open);
const closeFile = promisify(close);
const flushData = promisify(fdatasync);
const flushFile = promisify(fsync);
const resize = promisify(ftruncate);
const remove = promisify(rm);
const fileSystemOf = promisify(statfs);

/** A flush of what was written begins after this much. */
const FLUSH_EVERY_BYTES = 128 * 1024 * 1024;
const BYTES_PER_WORKER_MIN = 8 * 1024 * 1024;

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

interface Progress {
  readonly written: ReturnType<typeof ExtentSet.builder>;
  readonly damages: Damage[];
  readonly totalBytes: number;
  writtenBytes: number;
  unflushedBytes: number;
  flush: Promise<void> | undefined;
}

export async function runRestore(work: RestoreWork): Promise<RestoreOutcome> {
  const commit = await liveCommit(work);
  const { repository, keys, targetPath, options } = work;
  const tools = toolsOf(repository.store, repository.id, keys);
  if (rootOf(commit.map, tools.hasher).toString('hex') !== commit.root) {
    throw new RepositoryError('corrupted', `the commit of session ${work.session} does not have its own root`);
  }
  const sizeBytes = work.targetSizeBytes ?? commit.map.sizeBytes;
  if (sizeBytes < commit.map.sizeBytes) throw new RangeError(`a disk of ${commit.map.sizeBytes} bytes does not fit into ${sizeBytes}`);
  const totalBytes = bytesOfMap(commit);
  if (!work.mustBeNew) await remove(targetPath, { force: true });
  const fd = await makeTarget(targetPath);
  try {
    await reserve(work, fd, sizeBytes, totalBytes);
    const progress: Progress = {
      written: ExtentSet.builder(),
      damages: [],
      totalBytes,
      writtenBytes: 0,
      unflushedBytes: 0,
      flush: undefined,
    };
    await moveLeaves(work, commit, tools, fd, progress).finally(() => progress.flush?.catch(() => {}));
    if (progress.damages.length > 0) {
      work.onDamage?.(damagedPacks(progress.damages));
      throw damageError(progress.damages);
    }
    crashPoint('restore.before-flush');
    await flushTarget(fd, targetPath);
    const allocated = progress.written.build().clamp(commit.map.sizeBytes).encode().toString('base64');
    return { root: commit.root, allocated, writtenBytes: progress.writtenBytes };
  } catch (error) {
    await remove(targetPath, { force: true });
    throw options.signal.aborted ? new RepositoryError('aborted', 'the restore was aborted', { cause: error }) : error;
  } finally {
    await closeFile(fd);
  }
}

async function liveCommit({ repository, keys, session }: RestoreWork): Promise<Commit> {
  const found = await readCommit(repository, keys, session);
  if (found?.kind !== 'commit') throw new RepositoryError('not-found', `there is no backup of session ${session}`);
  if (await isTombstoned(repository, session)) throw new RepositoryError('not-found', `the backup of session ${session} was deleted`);
  return found.commit;
}

/** Every chunk entry of a map is one reference to a data pack. */
function bytesOfMap(commit: Commit): number {
  let chunks = 0;
  for (const pack of commit.packs) if (pack.kind === 'data') chunks += pack.live;
  return chunks * CHUNK_BYTES;
}

async function makeTarget(path: string): Promise<number> {
  try {
    return await openFile(path, 'wx+', 0o600);
  } catch (error) {
    throw targetError(path, error);
  }
}

async function reserve(work: RestoreWork, fd: number, sizeBytes: number, totalBytes: number): Promise<void> {
  const { targetPath, options } = work;
  options.onProgress?.(0, totalBytes);
  await options.admit?.(totalBytes);
  try {
    const { bavail, bsize } = await fileSystemOf(dirname(targetPath));
    if (bavail * bsize < totalBytes) {
      throw new RepositoryError('full', `${totalBytes} bytes do not fit beside ${targetPath}: ${bavail * bsize} are free`);
    }
    await resize(fd, sizeBytes);
  } catch (error) {
    throw targetError(targetPath, error);
  }
}

async function moveLeaves(work: RestoreWork, commit: Commit, tools: DomainTools, fd: number, progress: Progress): Promise<void> {
  const { repository, keys, store, targetPath, options } = work;
  const { sizeBytes } = commit.map;
  const context = { kind: 'restore', access: accessOf(store, repository, keys), targetPath, sizeBytes } as const;
  const job = await work.pool.open(context, Math.ceil(progress.totalBytes / BYTES_PER_WORKER_MIN));
  try {
    const running: { readonly leafIndex: number; readonly result: Promise<RestoreLeafResult> }[] = [];
    const take = async (): Promise<void> => {
      const leaf = running.shift();
      if (leaf !== undefined) await noteLeaf(work, fd, progress, leaf.leafIndex, await leaf.result);
    };
    for await (const { leafIndex, leaf } of leavesBelow(tools, commit.map.top, commit.map.topLevel, 0, {
      sizeBytes,
      damages: progress.damages,
    })) {
      options.signal.throwIfAborted();
      if (running.length === job.window) await take();
      running.push({ leafIndex, result: startLeaf(job, { leafIndex, leaf, checkOnly: progress.damages.length > 0 }) });
    }
    while (running.length > 0) {
      options.signal.throwIfAborted();
      await take();
    }
    await job.finish();
  } catch (error) {
    await job.abort();
    throw error;
  }
}

function startLeaf(job: PoolJob, task: RestoreTask): Promise<RestoreLeafResult> {
  const result = job.run<RestoreLeafResult>(task);
  // Reported when its turn comes; until then it must not count as unhandled.
  result.catch(() => {});
  return result;
}

async function noteLeaf(work: RestoreWork, fd: number, progress: Progress, leafIndex: number, result: RestoreLeafResult): Promise<void> {
  const start = leafIndex * LEAF_BYTES;
  for (const [from, to] of stretchesOf(result.written, FAN_OUT)) progress.written.add(start + from * CHUNK_BYTES, start + to * CHUNK_BYTES);
  progress.damages.push(...result.damages);
  progress.writtenBytes += result.writtenBytes;
  progress.unflushedBytes += result.writtenBytes;
  work.options.onProgress?.(progress.writtenBytes, progress.totalBytes);
  if (progress.unflushedBytes < FLUSH_EVERY_BYTES || progress.flush !== undefined) return;
  progress.unflushedBytes = 0;
  // What it fails with, the last flush fails with too, or the disk has recovered.
  progress.flush = flushData(fd).then(
    () => {
      progress.flush = undefined;
    },
    () => {
      progress.flush = undefined;
    },
  );
}

interface StoredLeaf {
  readonly leafIndex: number;
  readonly leaf: RestoreTask['leaf'];
}

/** All leaves below a node that are not holes, ascending. A node that cannot be read is damage of everything below it. */
async function* leavesBelow(
  tools: DomainTools,
  reference: NodeReference,
  level: number,
  index: number,
  found: { readonly sizeBytes: number; readonly damages: Damage[] },
): AsyncGenerator<StoredLeaf, void, undefined> {
  if (isHole(reference) || reference.address === undefined) return;
  if (level === 0) {
    yield { leafIndex: index, leaf: { id: reference.id, address: reference.address } };
    return;
  }
  let children: NodeReference[] = [];
  try {
    const node = await tools.nodes.read(reference, level);
    children = Array.from({ length: FAN_OUT }, (_, child) => childOf(node, child));
  } catch (error) {
    found.damages.push(damageOf(error, index * spanOf(level), spanOf(level), found.sizeBytes));
  }
  for (const [child, below] of children.entries()) yield* leavesBelow(tools, below, level - 1, index * FAN_OUT + child, found);
}

async function flushTarget(fd: number, path: string): Promise<void> {
  try {
    await flushFile(fd);
    const folder = await openFile(dirname(path), 'r');
    await flushFile(folder).finally(() => closeFile(folder));
  } catch (error) {
    throw targetError(path, error);
  }
}

function targetError(path: string, error: unknown): RepositoryError {
  if (error instanceof RepositoryError) return error;
  return new RepositoryError(isFullError(error) ? 'full' : 'transport', `${path} cannot be written: ${messageOf(error)}`, { cause: error });
}
