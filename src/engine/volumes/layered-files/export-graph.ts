/**
 * What a storage daemon really serves: the export's node, and from there down along the `backing` edges of its block graph. What our
 * rows say may be behind (a crash between a snapshot and the note of it); the daemon is right.
 */
import { basename, extname } from 'node:path';
import { VolumeBackendError } from '../errors.ts';
import type { LayerFile } from './layer-paths.ts';
import type { QmpClient } from './qmp.ts';

interface BlockGraph {
  readonly nodes: readonly { readonly id: number; readonly type: string; readonly name: string }[];
  readonly edges: readonly { readonly parent: number; readonly child: number; readonly name: string }[];
}

interface NamedNode {
  readonly 'node-name'?: string;
  readonly file: string;
}

interface BlockExport {
  readonly id: string;
  readonly 'node-name': string;
}

export interface ExportGraph {
  /** Bottom first. */
  readonly layerIds: readonly string[];
  readonly top: LayerFile & { readonly node: string };
  readonly nodeNames: ReadonlySet<string>;
}

/** QEMU wants ids to begin with a letter. */
export const daemonExportId = (exportId: string): string => `export-${exportId}`;

export async function readGraph(monitor: QmpClient, exportId: string): Promise<ExportGraph> {
  const exports = await monitor.execute<readonly BlockExport[]>('query-block-exports');
  const topNode = exports.find((candidate) => candidate.id === daemonExportId(exportId))?.['node-name'];
  if (topNode === undefined) throw new VolumeBackendError('mismatch', 'the storage daemon does not have the export');
  const graph = await monitor.execute<BlockGraph>('x-debug-query-block-graph');
  const named = await monitor.execute<readonly NamedNode[]>('query-named-block-nodes', { flat: true });
  const fileOf = new Map(named.map((node) => [node['node-name'], node.file]));
  const nameOf = new Map(graph.nodes.map((node) => [node.id, node.name]));
  const childOf = (name: string, edge: string): string | undefined => {
    const found = graph.edges.find((candidate) => candidate.name === edge && nameOf.get(candidate.parent) === name);
    return found === undefined ? undefined : nameOf.get(found.child);
  };
  const pathOf = (node: string): string => {
    const path = fileOf.get(childOf(node, 'file'));
    if (path === undefined) throw new VolumeBackendError('mismatch', `the storage daemon does not say which file ${node} is`);
    return path;
  };
  const layerIds: string[] = [];
  for (let node: string | undefined = topNode; node !== undefined; node = childOf(node, 'backing')) {
    layerIds.unshift(basename(pathOf(node), extname(pathOf(node))));
  }
  const path = pathOf(topNode);
  const top = { node: topNode, path, format: extname(path) === '.raw' ? 'raw' : 'qcow2' } as const;
  return { layerIds, top, nodeNames: new Set(fileOf.keys().filter((name) => name !== undefined)) };
}
