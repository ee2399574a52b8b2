/**
 * Puts an empty overlay on the top of a disk that is being served, without its clients noticing.
 *
 * Writes wait while the daemon switches, for as long as it takes to write out what is dirty. So the file is synced from outside first,
 * and the overlay is opened beforehand; the switch itself is one transaction. QEMU flushes the old top in it and reopens it read-only,
 * so that its tables are complete in the file; our own sync afterwards makes them durable whatever cache mode QEMU believed in.
 *
 * A crash before the transaction leaves the overlay's node open in the daemon, unused: it is removed before the next attempt, because the
 * overlay's file may have been made anew since. A crash after it is found by asking the daemon what it serves: not before, for that takes a while when
 * the chain is long, but when the repeat is refused.
 */
import { crashPoint } from '../../../lib/crash-points.ts';
import { syncFile } from '../../../lib/durable-files.ts';
import { type QmpClient, QmpError } from '../../qemu/qmp.ts';
import type { DiskExport, Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { blockNode, nodeNamesOf } from './block-nodes.ts';
import { queryJobs, queryServedNode, readGraph } from './export-graph.ts';
import { type ExportDeps, withMonitor } from './exports.ts';
import { gateNode } from './gate-nodes.ts';
import type { LayerFile } from './layer-paths.ts';
import { endJobs } from './merge-jobs.ts';

const transactionTimeoutMs = 60_000;

export async function snapshotExport(deps: ExportDeps, target: DiskExport, chain: LayerChain, overlay: Layer): Promise<void> {
  const frozen = chain.at(-1);
  if (frozen === undefined) throw new VolumeBackendError('mismatch', 'a disk has at least one layer');
  if (overlay.home !== target.home) throw new VolumeBackendError('mismatch', 'an overlay belongs into the home of the disk that is served');
  const files = { frozen: deps.paths.fileOf(frozen), overlay: deps.paths.fileOf(overlay) };
  // Marked before anything is opened; the daemon that has the old top open will have the overlay open too.
  const mark = { owner: target.id, processId: target.processId };
  const prepared = allEnded([deps.marks.set(files.overlay, mark), syncFile(files.frozen.path)]);
  const switched = withMonitor(target, async (monitor) => {
    const [servedNode, jobs] = await Promise.all([queryServedNode(monitor, target.id), queryJobs(monitor)]);
    // A merge that nobody watches any more would refuse the snapshot.
    if (jobs.length > 0) await endJobs(monitor, () => true);
    await prepared;
    try {
      await switchTop(monitor, { servedNode, frozen: nodeNamesOf(files.frozen).format, overlay: files.overlay });
    } catch (error) {
      const { top } = await readGraph(monitor, target.id).catch(() => Promise.reject(error));
      if (top.id === overlay.id) return;
      if (top.id === frozen.id) throw error;
      throw new VolumeBackendError('mismatch', `the server has layer ${top.id} on top, not ${frozen.id}`, { cause: error });
    }
  });
  await allEnded([prepared, switched]);
  crashPoint('snapshot:transaction:after');
  await syncFile(files.frozen.path);
  await deps.marks.clear(files.frozen, target.id);
}

/** Rejects with the first failure, and not before nothing is under way any more. */
async function allEnded(works: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(works);
  await Promise.all(works);
}

interface Switch {
  /** What clients are served: the top, or the gate above it. */
  readonly servedNode: string;
  /** The node that should be the top. */
  readonly frozen: string;
  readonly overlay: LayerFile;
}

async function switchTop(monitor: QmpClient, { servedNode, frozen, overlay }: Switch): Promise<void> {
  await requireOnTop(monitor, servedNode, frozen);
  const node = nodeNamesOf(overlay).format;
  const add = () => monitor.execute('blockdev-add', blockNode(overlay, { access: 'writable', backing: null, isNamed: true }));
  await add().catch(async (error: unknown) => {
    // An earlier attempt may have left it open.
    await monitor.execute('blockdev-del', { 'node-name': node }).catch(() => Promise.reject(error));
    await add();
  });
  try {
    crashPoint('snapshot:transaction:before');
    const actions = [{ type: 'blockdev-snapshot', data: { node: frozen, overlay: node } }];
    await monitor.execute('transaction', { actions }, { timeoutMs: transactionTimeoutMs });
  } catch (error) {
    // Refused when it became part of the disk after all.
    await monitor.execute('blockdev-del', { 'node-name': node }).catch(() => {});
    throw error;
  }
}

/**
 * Below a gate the top cannot be seen without reading the whole graph, 6 ms above 200 layers. But QEMU puts nothing on a node that has an overlay
 * already; and one that is open without being part of the disk (the overlay of an attempt that broke off) can be closed, which is how it is found.
 */
async function requireOnTop(monitor: QmpClient, servedNode: string, node: string): Promise<void> {
  if (servedNode === node) return;
  if (servedNode !== gateNode || (await isClosed(monitor, node))) throw new Error(`${node} is not the top`);
}

async function isClosed(monitor: QmpClient, node: string): Promise<boolean> {
  return await monitor.execute('blockdev-del', { 'node-name': node }).then(
    () => true,
    (error: unknown) => {
      if (error instanceof QmpError && error.failure === 'refused') return false;
      throw error;
    },
  );
}
