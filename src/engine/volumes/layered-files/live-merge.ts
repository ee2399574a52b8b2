/**
 * Folds a layer into the one below it while a daemon serves the disk, without its clients noticing: `block-commit` of QEMU. The layers are
 * `older`, `younger` on it, and `child` on that, all in the home of the disk; below and above may be more.
 *
 * Order, and what a crash of this process leaves:
 *  1. the notes and the mark of `older`, as in an offline merge (merge.ts): too much may be noted, and a mark only asks for a check;
 *  2. the job copies. `younger` hides what becomes of `older`, so the disk and all points above read as before. When it is done the job waits:
 *     without us the daemon never changes its chain;
 *  3. `older` is made durable, while clients go on;
 *  4. the space that the header of `child` takes is made sure of; then the job is finalised: the header of `child` names `older`, and `younger` is out of the chain. Then its node is closed;
 *  5. `older` and `child` are made durable, and the notes exact. The caller records it and removes the file of `younger`.
 * A repeat asks the daemon how far it came and goes on from there. When the daemon dies instead, nothing has happened: chains are opened by
 * our lists, in which `younger` still hides `older`; the mark has `older` repaired.
 *
 * The job copies at a pace, and what it wrote is synced all the time: a cancel and the finalising wait for what is dirty, and clients wait for
 * them. A monitor has one owner, so each question to the daemon is a turn of its own; others get theirs in between.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { crashPoint } from '../../../lib/crash-points.ts';
import { syncFile } from '../../../lib/durable-files.ts';
import { messageOf } from '../../../lib/errors.ts';
import { layerContent } from '../../disk/layer-content.ts';
import { type QmpClient, QmpError } from '../../qemu/qmp.ts';
import type { CallOptions, DiskExport, Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { nodeNamesOf } from './block-nodes.ts';
import { queryJobs, queryServedNode, readGraph } from './export-graph.ts';
import { type ExportDeps, withMonitor } from './exports.ts';
import { takeHeaderSpace } from './header-space.ts';
import type { LayerFile } from './layer-paths.ts';
import { exists, progressReporter, rewriteNotes } from './merge.ts';
import { endJobs, untilConcluded } from './merge-jobs.ts';
import { createPaceKeeper, type MergePace } from './merge-pace.ts';
import { mergeNameOf } from './node-names.ts';
import { nameOf } from './offline-tools.ts';

const pollPauseMs = 100;
const finaliseTimeoutMs = 60_000;

export interface LiveMergeDeps extends ExportDeps {
  readonly pace: MergePace;
  /** Runs work while nobody else talks to the daemon of this export. */
  readonly alone: <T>(exportId: string, work: () => Promise<T>) => Promise<T>;
}

/** One merge, and how its daemon is asked. */
interface LiveMerge {
  readonly deps: LiveMergeDeps;
  readonly target: DiskExport;
  readonly jobId: string;
  readonly files: { readonly older: LayerFile; readonly younger: LayerFile; readonly child: LayerFile; readonly top: LayerFile };
  /** What the header of `child` shall name. */
  readonly backingName: string;
  /** Layer ids, joined. */
  readonly chains: { readonly before: string; readonly after: string };
  ask<T>(work: (monitor: QmpClient) => Promise<T>): Promise<T>;
}

/** `merged`: the daemon reads the chain without `younger`, and has closed it. */
type Progress = 'apart' | 'copying' | 'merged';

export async function mergeExport(
  deps: LiveMergeDeps,
  target: DiskExport,
  chain: LayerChain,
  pair: { readonly older: Layer; readonly younger: Layer },
  options: CallOptions,
): Promise<void> {
  const merge = planOf(deps, target, chain, pair);
  options.signal.throwIfAborted();
  const progress = await merge.ask((monitor) => progressOf(monitor, merge));
  if (progress === 'apart') {
    options.signal.throwIfAborted();
    await prepare(merge);
    crashPoint('live-merge:prepared');
    await merge.ask((monitor) => start(monitor, merge));
    crashPoint('live-merge:started');
  }
  if (progress !== 'merged') await complete(merge, options);
  crashPoint('live-merge:merged');
  await makeDurable(merge);
}

/** A wrong order would destroy a disk. */
function planOf(deps: LiveMergeDeps, target: DiskExport, chain: LayerChain, pair: { older: Layer; younger: Layer }): LiveMerge {
  const at = chain.findIndex((layer) => layer.id === pair.younger.id);
  const [older, younger, child] = at < 1 ? [] : chain.slice(at - 1);
  const top = chain.at(-1);
  if (older?.id !== pair.older.id || younger === undefined || child === undefined || top === undefined) {
    throw new VolumeBackendError('mismatch', `${pair.younger.id} is no layer between ${pair.older.id} and the top`);
  }
  if ([older, younger, child].some((layer) => layer.home !== target.home)) {
    throw new VolumeBackendError('mismatch', 'the server of a disk may write to the layers of its own home only');
  }
  if (younger.sizeBytes < older.sizeBytes) {
    throw new VolumeBackendError('mismatch', `${younger.id} is smaller than ${older.id}, whose end would show again`);
  }
  const { fileOf, backingNameOf } = deps.paths;
  return {
    deps,
    target,
    jobId: mergeNameOf(younger),
    files: { older: fileOf(older), younger: fileOf(younger), child: fileOf(child), top: fileOf(top) },
    backingName: backingNameOf(older),
    chains: {
      before: chain.map(({ id }) => id).join(),
      after: chain
        .filter((layer) => layer !== younger)
        .map(({ id }) => id)
        .join(),
    },
    ask: (work) => deps.alone(target.id, () => withMonitor(target, work)),
  };
}

/** Also clears away what earlier runs left: jobs that are over, jobs for other layers, the node of a layer that has left the chain. */
async function progressOf(monitor: QmpClient, { target, jobId, files, chains }: LiveMerge): Promise<Progress> {
  await endJobs(monitor, (job) => job.id !== jobId || job.status === 'concluded');
  const graph = await readGraph(monitor, target.id);
  const served = graph.layerIds.join();
  if (served === chains.before) return graph.jobs.some((job) => job.id === jobId) ? 'copying' : 'apart';
  if (served !== chains.after) throw new VolumeBackendError('mismatch', `the server has the layers ${served}, not ${chains.before}`);
  const node = nodeNamesOf(files.younger).format;
  if (graph.nodeNames.has(node)) await monitor.execute('blockdev-del', { 'node-name': node });
  return 'merged';
}

/** A node can be closed only when nothing reads through it: proof enough that the chain goes without it, at no cost of its length. */
async function letGo(monitor: QmpClient, { jobId, files }: LiveMerge): Promise<boolean> {
  await monitor.execute('job-dismiss', { id: jobId });
  return await monitor.execute('blockdev-del', { 'node-name': nodeNamesOf(files.younger).format }).then(
    () => true,
    () => false,
  );
}

async function prepare({ deps, target, files: { older, younger } }: LiveMerge): Promise<void> {
  const owner = await deps.marks.ownerOf(older);
  if (owner !== undefined && owner !== target.id) throw new VolumeBackendError('busy', `${nameOf(older)} has to be repaired first`);
  if (older.format === 'qcow2') return await deps.marks.set(older, { owner: target.id, processId: target.processId });
  const held = await layerContent(younger);
  // Zeroes are not taken out yet: too much may be noted, never too little.
  await rewriteNotes(older, 'open', (noted) => noted.union(held.data));
}

async function start(monitor: QmpClient, { deps, target, jobId, files, backingName }: LiveMerge): Promise<void> {
  await monitor.execute('block-commit', {
    'job-id': jobId,
    'filter-node-name': jobId,
    // The root of the chain.
    device: await queryServedNode(monitor, target.id),
    'top-node': nodeNamesOf(files.younger).format,
    'base-node': nodeNamesOf(files.older).format,
    // Else QEMU writes the absolute name that it opened, and the tree could not be moved.
    'backing-file': backingName,
    speed: deps.pace.whileWritten,
    'auto-finalize': false,
    'auto-dismiss': false,
  });
}

/** Rejects only when the chain is as it was. */
async function complete(merge: LiveMerge, options: CallOptions): Promise<void> {
  const { deps, target, files, jobId } = merge;
  try {
    await untilCopied(merge, options);
    await untilAborted(options.signal, syncFile(files.older.path));
    crashPoint('live-merge:copied');
    await takeHeaderSpace(files.child);
    crashPoint('live-merge:ready');
    await merge.ask(async (monitor) => {
      await monitor.execute('job-finalize', { id: jobId }, { timeoutMs: finaliseTimeoutMs });
      const { error } = await untilConcluded(monitor, jobId);
      crashPoint('live-merge:finalised');
      if (error === undefined && (await letGo(monitor, merge))) return;
      if ((await progressOf(monitor, merge)) !== 'merged') throw failureOf(error);
    });
  } catch (reason) {
    const progress = await merge
      .ask((monitor) => giveUp(monitor, merge))
      .catch((cause: unknown) => {
        throw new VolumeBackendError('failed', `a merge could not be given up: ${messageOf(cause)}`, { cause: reason });
      });
    if (progress === 'merged') return;
    // The daemon has flushed `older` before it gave up writing to it.
    await deps.marks.clear(files.older, target.id);
    throw reason;
  }
}

/** What did not come in time may be complete all the same. */
async function giveUp(monitor: QmpClient, merge: LiveMerge): Promise<Progress> {
  await endJobs(monitor, () => true);
  return await progressOf(monitor, merge);
}

async function untilCopied(merge: LiveMerge, { signal, onProgress }: CallOptions): Promise<void> {
  const report = progressReporter(onProgress);
  const paceNow = createPaceKeeper(merge.files.top.path, merge.deps.pace);
  /** Not known of a job that another process started. */
  let pace: number | undefined;
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, pollPauseMs)) {
    signal.throwIfAborted();
    const wanted = await paceNow();
    if (wanted !== pace) await merge.ask((monitor) => setPace(monitor, merge.jobId, wanted));
    pace = wanted;
    const job = (await merge.ask(queryJobs)).find(({ id }) => id === merge.jobId);
    if (job === undefined || job.status === 'concluded') throw failureOf(job?.error);
    report(job['current-progress'], job['total-progress']);
    if (job.status === 'pending') return;
    await untilAborted(signal, syncFile(merge.files.older.path));
    await untilAborted(signal, sleep(pauseMs));
  }
}

/** A job that is over takes no pace. */
async function setPace(monitor: QmpClient, jobId: string, bytesPerSecond: number): Promise<void> {
  await monitor.execute('block-job-set-speed', { device: jobId, speed: bytesPerSecond }).catch(ignoreRefusal);
}

function ignoreRefusal(error: unknown): void {
  if (!(error instanceof QmpError) || error.failure !== 'refused') throw error;
}

function failureOf(error: string | undefined): Error {
  return new VolumeBackendError('failed', `the server ended a merge: ${error ?? 'without a reason'}`);
}

async function makeDurable({ deps, target, files: { older, younger, child } }: LiveMerge): Promise<void> {
  await syncFile(older.path);
  await syncFile(child.path);
  crashPoint('live-merge:durable');
  if (older.format === 'raw' && (await exists(younger))) {
    const held = await layerContent(younger);
    await rewriteNotes(older, 'sealed', (noted) => noted.subtract(held.zeroes).union(held.data));
  }
  await deps.marks.clear(older, target.id);
}

/** Does not wait for the end of work that an abort has made superfluous. */
async function untilAborted(signal: AbortSignal, work: Promise<void>): Promise<void> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
