/**
 * Housekeeping of the tree of layers: a plan that is computed from the rows alone, then carried out piece by piece.
 *
 * - A layer is needed when it is a volume's top, or a held point lies on it, or a needed layer stands on it. The others go, upper ones first:
 *   the row says `doomed` before the file is removed, and is deleted after it, so that a crash leaves a row to continue from.
 * - Of the needed ones, neighbours without a held point on either are merged, the younger into the older, which must carry nothing else. The
 *   first unnamed layer above a named one thereby becomes the accumulator, and each merge costs what the younger one holds.
 * - In a chain that somebody has open, a merge is for the one server that writes the disk, into the files of its own volume: others, which
 *   other servers may open too, wait until nobody has them open. So do layers of which the younger is smaller.
 *
 * Every piece looks again, under the lock of the tree, whether it still may be done. So a plan that has become old does no harm.
 */
import { sql as query } from 'kysely';
import { isReader } from './holders.ts';
import type { LayerRow } from './layer-store.ts';
import type { Sql } from './locks.ts';
import type { MergePlan } from './merge-rows.ts';

export interface TidyLayer extends LayerRow {
  /** A held point lies on it. */
  readonly named: boolean;
  readonly topOfVolume: boolean;
  /** Who has a chain open that it belongs to: volumes with a server that writes, and '' for servers and readers that only read. */
  readonly openers: readonly string[];
}

export interface TidyPlan {
  /** Upper layers before those they stand on. */
  readonly remove: readonly TidyLayer[];
  /** Layers that were never finished, and may have been given up. */
  readonly examine: readonly TidyLayer[];
  /** Those of lower layers first: then each layer is copied once. What one makes possible is found by the next pass. */
  readonly merge: readonly MergePlan[];
}

export async function loadTidyLayers(sql: Sql): Promise<TidyLayer[]> {
  const { rows } = await query<TidyLayer>`
    WITH RECURSIVE open_layers AS (
      SELECT top_layer_id AS id, CASE WHEN read_only THEN '' ELSE volume_id::text END AS opener
        FROM volumes JOIN volume_exports ON volume_id = volumes.id WHERE top_layer_id IS NOT NULL
      UNION SELECT layer_id, '' FROM points JOIN point_holds ON point_id = points.id
        WHERE layer_id IS NOT NULL AND ${isReader}
      UNION SELECT parent_id, opener FROM layers JOIN open_layers ON open_layers.id = layers.id WHERE parent_id IS NOT NULL
    ), openers AS (SELECT id, array_agg(opener) AS openers FROM open_layers GROUP BY id)
    SELECT id, parent_id AS "parentId", home, format, size_bytes AS "sizeBytes", state,
      EXISTS (SELECT FROM points JOIN point_holds ON point_id = points.id WHERE layer_id = layers.id) AS named,
      EXISTS (SELECT FROM volumes WHERE top_layer_id = layers.id) AS "topOfVolume",
      coalesce((SELECT openers FROM openers WHERE openers.id = layers.id), '{}') AS openers
    FROM layers`.execute(sql);
  return rows;
}

export function planTidy(layers: readonly TidyLayer[]): TidyPlan {
  const byId = new Map(layers.map((layer) => [layer.id, layer]));
  const children = Map.groupBy(layers, (layer) => layer.parentId);
  const needed = new Set<string>();
  for (const layer of layers) {
    if (!layer.topOfVolume && !layer.named) continue;
    for (let at: TidyLayer | undefined = layer; at !== undefined && !needed.has(at.id); at = parentOf(at)) needed.add(at.id);
  }
  function parentOf(layer: TidyLayer): TidyLayer | undefined {
    return layer.parentId === null ? undefined : byId.get(layer.parentId);
  }

  const unfinished = layers.filter((layer) => layer.state === 'planned');
  const standing = new Set(unfinished.map((layer) => layer.parentId));
  const removable = layers.filter((layer) => !needed.has(layer.id) && layer.state !== 'planned' && layer.state !== 'top');
  return {
    remove: upperFirst(removable, children).filter((layer) => !standing.has(layer.id)),
    examine: unfinished,
    merge: layers
      .flatMap((younger) => mergeAt(younger, parentOf(younger), children) ?? [])
      .filter(({ older }) => needed.has(older.id))
      .map((plan) => ({ plan, height: heightOf(plan.older, byId) }))
      .sort((a, b) => a.height - b.height)
      .map(({ plan }) => plan),
  };
}

function heightOf({ parentId }: LayerRow, byId: ReadonlyMap<string, LayerRow>): number {
  let height = 0;
  for (let at = parentId; at !== null; at = byId.get(at)?.parentId ?? null) height += 1;
  return height;
}

function mergeAt(
  younger: TidyLayer,
  older: TidyLayer | undefined,
  children: ReadonlyMap<string | null, readonly TidyLayer[]>,
): MergePlan | undefined {
  const [child, ...others] = children.get(younger.id) ?? [];
  if (older === undefined || child === undefined || others.length > 0 || children.get(older.id)?.length !== 1) return undefined;
  const mayMerge = younger.state === 'merging' || (younger.state === 'frozen' && !younger.named);
  if (!mayMerge || older.state !== 'frozen' || older.named) return undefined;
  if (child.state !== 'top' && child.state !== 'frozen') return undefined;
  // Whoever has the younger open has the older open, too.
  if (older.openers.length === 0) return { older, younger, child, server: null };
  const server = serverFor(older, younger, child);
  return server === undefined ? undefined : { older, younger, child, server };
}

function serverFor(older: TidyLayer, younger: TidyLayer, child: TidyLayer): string | undefined {
  const [server = '', ...others] = older.openers;
  if (server === '' || others.length > 0 || younger.sizeBytes < older.sizeBytes) return undefined;
  return [older, younger, child].every(({ home }) => home === server) ? server : undefined;
}

/** Deepest first, so that a layer goes before what it stands on. */
function upperFirst(removable: readonly TidyLayer[], children: ReadonlyMap<string | null, readonly TidyLayer[]>): TidyLayer[] {
  const wanted = new Set(removable);
  const ordered: TidyLayer[] = [];
  const visit = (layer: TidyLayer): boolean => {
    const free = (children.get(layer.id) ?? []).every((child) => wanted.has(child) && visitOnce(child));
    if (free) ordered.push(layer);
    return free;
  };
  const seen = new Map<TidyLayer, boolean>();
  function visitOnce(layer: TidyLayer): boolean {
    const known = seen.get(layer) ?? visit(layer);
    seen.set(layer, known);
    return known;
  }
  for (const layer of removable) visitOnce(layer);
  return ordered;
}
