/**
 * What a storage daemon really serves: the export's node, and from there down along the `backing` edges of its block graph. What our
 * rows say may be behind (a crash between a snapshot and the note of it); the daemon is right.
 */
import { VolumeBackendError } from '../errors.ts';
import { layerOfNode, type NamedLayer } from './node-names.ts';
import type { QmpClient } from './qmp.ts';

interface BlockGraph {
  readonly nodes: readonly { readonly id: number; readonly name: string }[];
  readonly edges: readonly { readonly parent: number; readonly child: number; readonly name: string }[];
}

interface BlockExport {
  readonly id: string;
  readonly 'node-name': string;
}

export interface ExportGraph {
  /** Bottom first. */
  readonly layerIds: readonly string[];
  readonly top: NamedLayer & { readonly node: string };
  readonly nodeNames: ReadonlySet<string>;
}

/** QEMU wants ids to begin with a letter. */
export const daemonExportId = (exportId: string): string => `export-${exportId}`;

export async function readGraph(monitor: QmpClient, exportId: string): Promise<ExportGraph> {
  // Sent together: waiting for each answer would take longer than the answers.
  const [exports, graph] = await Promise.all([
    monitor.execute<readonly BlockExport[]>('query-block-exports'),
    monitor.execute<BlockGraph>('x-debug-query-block-graph'),
  ]);
  const topNode = exports.find((candidate) => candidate.id === daemonExportId(exportId))?.['node-name'];
  if (topNode === undefined) throw new VolumeBackendError('mismatch', 'the storage daemon does not have the export');
  const nameOf = new Map(graph.nodes.map((node) => [node.id, node.name]));
  const backingOf = new Map(
    graph.edges.filter((edge) => edge.name === 'backing').map((edge) => [nameOf.get(edge.parent), nameOf.get(edge.child)]),
  );
  const layerIds: string[] = [];
  for (let node: string | undefined = topNode; node !== undefined; node = backingOf.get(node)) layerIds.unshift(layerOfNode(node).id);
  return { layerIds, top: { node: topNode, ...layerOfNode(topNode) }, nodeNames: new Set(nameOf.values()) };
}
