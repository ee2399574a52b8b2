/**
 * What a storage daemon really serves: the export's node, and from there down along the `backing` edges of its block graph. What our
 * rows say may be behind (a crash between a snapshot and the note of it); the daemon is right.
 */
import { VolumeBackendError } from '../errors.ts';
import { isMergeName, layerOfNode, type NamedLayer } from './node-names.ts';
import type { QmpClient } from './qmp.ts';

interface BlockGraph {
  readonly nodes: readonly { readonly id: number; readonly name: string }[];
  readonly edges: readonly { readonly parent: number; readonly child: number; readonly name: string }[];
}

interface BlockExport {
  readonly id: string;
  readonly 'node-name': string;
}

/** A merge that the daemon runs. It stays until somebody dismisses it, so that its end is not missed. */
export interface MergeJob {
  readonly id: string;
  readonly status: 'created' | 'running' | 'paused' | 'waiting' | 'pending' | 'aborting' | 'concluded';
  readonly 'current-progress': number;
  readonly 'total-progress': number;
  /** Why it failed. */
  readonly error?: string;
}

export interface ExportGraph {
  readonly layers: readonly NamedLayer[];
  /** Bottom first, both. */
  readonly layerIds: readonly string[];
  readonly top: NamedLayer & { readonly node: string };
  readonly nodeNames: ReadonlySet<string>;
  readonly jobs: readonly MergeJob[];
}

/** QEMU wants ids to begin with a letter. */
export const daemonExportId = (exportId: string): string => `export-${exportId}`;

export async function readGraph(monitor: QmpClient, exportId: string): Promise<ExportGraph> {
  // Sent together: waiting for each answer would take longer than the answers.
  const [topNode, graph, jobs] = await Promise.all([
    queryTopNode(monitor, exportId),
    monitor.execute<BlockGraph>('x-debug-query-block-graph'),
    queryJobs(monitor),
  ]);
  const nameOf = new Map(graph.nodes.map((node) => [node.id, node.name]));
  const backingOf = new Map(
    graph.edges.filter((edge) => edge.name === 'backing').map((edge) => [nameOf.get(edge.parent), nameOf.get(edge.child)]),
  );
  const layers: NamedLayer[] = [];
  for (let node: string | undefined = topNode; node !== undefined; node = backingOf.get(node)) {
    if (!isMergeName(node)) layers.unshift(layerOfNode(node));
  }
  const layerIds = layers.map((layer) => layer.id);
  return { layers, layerIds, top: { node: topNode, ...layerOfNode(topNode) }, nodeNames: new Set(nameOf.values()), jobs };
}

/** What is on the top of what is served, and the merges: a fraction of the work of the whole graph when a chain is long. */
export async function readTop(monitor: QmpClient, exportId: string): Promise<Pick<ExportGraph, 'top' | 'jobs'>> {
  const [node, jobs] = await Promise.all([queryTopNode(monitor, exportId), queryJobs(monitor)]);
  return { top: { node, ...layerOfNode(node) }, jobs };
}

async function queryTopNode(monitor: QmpClient, exportId: string): Promise<string> {
  const exports = await monitor.execute<readonly BlockExport[]>('query-block-exports');
  const topNode = exports.find((candidate) => candidate.id === daemonExportId(exportId))?.['node-name'];
  if (topNode === undefined) throw new VolumeBackendError('mismatch', 'the storage daemon does not have the export');
  return topNode;
}

export async function queryJobs(monitor: QmpClient): Promise<readonly MergeJob[]> {
  return await monitor.execute<readonly MergeJob[]>('query-jobs');
}
