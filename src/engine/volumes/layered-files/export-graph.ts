/**
 * What a storage daemon really serves: the export's node, the top below it where that is a gate (gate-nodes.ts; daemons that an older version started have
 * none), and from there down along the `backing` edges of its block graph. What our
 * rows say may be behind (a crash between a snapshot and the note of it); the daemon is right.
 */

import type { QmpClient } from '../../qemu/qmp.ts';
import { VolumeBackendError } from '../errors.ts';
import { gateNode } from './gate-nodes.ts';
import { isMergeName, layerOfNode, type NamedLayer } from './node-names.ts';

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
  const [servedNode, graph, jobs] = await Promise.all([
    queryServedNode(monitor, exportId),
    monitor.execute<BlockGraph>('x-debug-query-block-graph'),
    queryJobs(monitor),
  ]);
  const nameOf = new Map(graph.nodes.map((node) => [node.id, node.name]));
  const below = (kind: string): Map<string | undefined, string | undefined> =>
    new Map(graph.edges.filter((edge) => edge.name === kind).map((edge) => [nameOf.get(edge.parent), nameOf.get(edge.child)]));
  const topNode = servedNode === gateNode ? below('file').get(gateNode) : servedNode;
  if (topNode === undefined) throw new VolumeBackendError('mismatch', 'the storage daemon serves no layer');
  const backingOf = below('backing');
  const layers: NamedLayer[] = [];
  for (let node: string | undefined = topNode; node !== undefined; node = backingOf.get(node)) {
    if (!isMergeName(node)) layers.unshift(layerOfNode(node));
  }
  const layerIds = layers.map((layer) => layer.id);
  return { layers, layerIds, top: { node: topNode, ...layerOfNode(topNode) }, nodeNames: new Set(nameOf.values()), jobs };
}

/** What clients are served: a gate, or the top itself. */
export async function queryServedNode(monitor: QmpClient, exportId: string): Promise<string> {
  const exports = await monitor.execute<readonly BlockExport[]>('query-block-exports');
  const node = exports.find((candidate) => candidate.id === daemonExportId(exportId))?.['node-name'];
  if (node === undefined) throw new VolumeBackendError('mismatch', 'the storage daemon does not have the export');
  return node;
}

export async function queryJobs(monitor: QmpClient): Promise<readonly MergeJob[]> {
  return await monitor.execute<readonly MergeJob[]>('query-jobs');
}
