/**
 * When a layer's row and its file contradict each other. Pure: rows and files in, contradictions out.
 *
 * What is allowed to differ, because work is under way, shows in the rows:
 * - a `planned` layer may have no file, or an unfinished one, and a `doomed` one may have none any more;
 * - while a layer is `merging`, it and its neighbours are between two states: headers may name the next layer but one already, and the older
 *   layer may have the size of the younger one. An older layer that nobody names keeps that size when the merge is given up.
 */
import type { StoredLayer } from '../../engine/volumes/inventory-contract.ts';
import type { LayerRow } from './layer-store.ts';

export interface LayerFacts extends LayerRow {
  /** Changes with every change of the row. */
  readonly version: string;
  /** A point lies on it: somebody may read exactly this layer. */
  readonly hasPoint: boolean;
}

export type LayerProblem =
  | { readonly kind: 'layer-missing'; readonly row: LayerFacts; readonly elsewhere: readonly StoredLayer[] }
  | { readonly kind: 'layer-unknown'; readonly file: StoredLayer }
  | { readonly kind: 'layer-misplaced'; readonly row: LayerFacts; readonly file: StoredLayer }
  | { readonly kind: 'layer-damaged'; readonly row: LayerFacts; readonly file: StoredLayer; readonly damage: string }
  | { readonly kind: 'parent-differs'; readonly row: LayerFacts; readonly file: StoredLayer; readonly expected: LayerFacts | undefined }
  | { readonly kind: 'size-differs'; readonly row: LayerFacts; readonly file: StoredLayer; readonly sizeBytes: number }
  | { readonly kind: 'space-leaked'; readonly row: LayerFacts; readonly file: StoredLayer };

/** What has to be known of all to judge what may be done about one. */
export interface Surroundings {
  /** By the homes in which they should be. */
  readonly missing: ReadonlyMap<string, readonly LayerRow[]>;
  readonly unknownCount: number;
  readonly fileCount: number;
}

export interface LayerTree {
  readonly byId: ReadonlyMap<string, LayerFacts>;
  readonly children: ReadonlyMap<string | null, readonly LayerFacts[]>;
}

export function treeOf(rows: readonly LayerFacts[]): LayerTree {
  return { byId: new Map(rows.map((row) => [row.id, row])), children: Map.groupBy(rows, (row) => row.parentId) };
}

/** All that is wrong with one layer. `files`: everything stored under its id, wherever. */
export function judgeLayer(tree: LayerTree, id: string, files: readonly StoredLayer[]): LayerProblem[] {
  const row = tree.byId.get(id);
  if (row === undefined) return files.filter((file) => !file.isKept).map((file) => ({ kind: 'layer-unknown', file }));
  const own = files.find((file) => file.home === row.home && file.format === row.format);
  const elsewhere = files.filter((file) => file !== own);
  const misplaced = elsewhere.map((file): LayerProblem => ({ kind: 'layer-misplaced', row, file }));
  if (row.state === 'planned' || row.state === 'doomed') return misplaced;
  if (own === undefined) return [...misplaced, { kind: 'layer-missing', row, elsewhere }];
  return [...misplaced, ...judgeFile(tree, row, own)];
}

function judgeFile(tree: LayerTree, row: LayerFacts, file: StoredLayer): LayerProblem[] {
  const damage = file.damage ?? (file.content === undefined ? 'it cannot be read' : undefined);
  if (damage !== undefined || file.content === undefined) return [{ kind: 'layer-damaged', row, file, damage: damage ?? '' }];
  const children = tree.children.get(row.id) ?? [];
  if (row.state === 'merging' || children.some((child) => child.state === 'merging')) return [];
  const problems: LayerProblem[] = [];
  const parent = row.parentId === null ? undefined : tree.byId.get(row.parentId);
  if (!mayStandOn(tree, parent, file.content.below)) problems.push({ kind: 'parent-differs', row, file, expected: parent });
  const [onlyChild, ...others] = children;
  const sizes = [row.sizeBytes, ...(row.hasPoint || onlyChild === undefined || others.length > 0 ? [] : [onlyChild.sizeBytes])];
  if (!sizes.includes(file.content.sizeBytes)) problems.push({ kind: 'size-differs', row, file, sizeBytes: file.content.sizeBytes });
  if (file.openMark === 'left') problems.push({ kind: 'space-leaked', row, file });
  return problems;
}

function mayStandOn(tree: LayerTree, parent: LayerFacts | undefined, below: { id: string; home: string; format: string } | null): boolean {
  const is = (layer: LayerFacts | undefined): boolean =>
    layer === undefined ? below === null : below?.id === layer.id && below.home === layer.home && below.format === layer.format;
  if (is(parent)) return true;
  const grandparent = parent?.parentId == null ? undefined : tree.byId.get(parent.parentId);
  return parent?.state === 'merging' && is(grandparent);
}

/** The same for as long as the same thing is wrong with the same layer. */
export function keyOf(problem: LayerProblem): string {
  if (problem.kind === 'layer-missing') return `${problem.kind}:${problem.row.id}`;
  const { home, id, format } = problem.file;
  return `${problem.kind}:${home}/${id}.${format}`;
}
