/**
 * Puts an empty overlay on the top of a disk that is being served, without its clients noticing.
 *
 * Writes wait while the daemon switches, for as long as it takes to write out what is dirty. So the file is synced from outside first,
 * and the overlay is opened beforehand; the switch itself is one transaction. QEMU flushes the old top in it and reopens it read-only,
 * so that its tables are complete in the file; our own sync afterwards makes them durable whatever cache mode QEMU believed in.
 *
 * A crash before the transaction leaves the overlay's node open in the daemon, unused: it is removed before the next attempt, because the
 * overlay's file may have been made anew since. A crash after it is found by asking the daemon what it serves.
 */
import { crashPoint } from '../../../lib/crash-points.ts';
import { syncFile } from '../../../lib/durable-files.ts';
import type { DiskExport, Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { blockNode, nodeNamesOf } from './block-nodes.ts';
import { readTop } from './export-graph.ts';
import { type ExportDeps, withMonitor } from './exports.ts';
import type { LayerFile } from './layer-paths.ts';
import { endJobs } from './merge-jobs.ts';
import type { QmpClient } from './qmp.ts';

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
    const { top, jobs } = await readTop(monitor, target.id);
    // A merge that nobody watches any more would refuse the snapshot.
    if (jobs.length > 0) await endJobs(monitor, () => true);
    await prepared;
    if (top.id === overlay.id) return;
    if (top.id !== frozen.id) throw new VolumeBackendError('mismatch', `the server has layer ${top.id} on top, not ${frozen.id}`);
    await switchTop(monitor, top.node, files.overlay);
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

async function switchTop(monitor: QmpClient, topNode: string, overlay: LayerFile): Promise<void> {
  const node = nodeNamesOf(overlay).format;
  const add = () => monitor.execute('blockdev-add', blockNode(overlay, { access: 'writable', backing: null, isNamed: true }));
  await add().catch(async (error: unknown) => {
    // An earlier attempt may have left it open.
    await monitor.execute('blockdev-del', { 'node-name': node }).catch(() => Promise.reject(error));
    await add();
  });
  try {
    crashPoint('snapshot:transaction:before');
    const actions = [{ type: 'blockdev-snapshot', data: { node: topNode, overlay: node } }];
    await monitor.execute('transaction', { actions }, { timeoutMs: transactionTimeoutMs });
  } catch (error) {
    // Refused when it became part of the disk after all.
    await monitor.execute('blockdev-del', { 'node-name': node }).catch(() => {});
    throw error;
  }
}
