/** The rows of layers, and what a volume's disk is made of. */
import { sql as query } from 'kysely';
import type { DiskExport, Layer } from '../../engine/volumes/contract.ts';
import type { Sql } from './locks.ts';

export type LayerState = 'planned' | 'top' | 'frozen' | 'merging' | 'doomed';

export interface LayerRow {
  readonly id: string;
  readonly parentId: string | null;
  readonly home: string;
  readonly format: 'raw' | 'qcow2';
  readonly sizeBytes: number;
  readonly state: LayerState;
}

export const layerOf = ({ id, home, format, sizeBytes }: LayerRow): Layer => ({ id, home, format, sizeBytes });

/** The server of a volume's bytes as its row knows it. */
export interface ExportRow {
  readonly target: DiskExport;
  readonly readOnly: boolean;
}

/** What a volume's disk is made of right now. */
export interface DiskState {
  readonly volumeId: string;
  /** The layers from the bottom to the top. */
  readonly chain: readonly LayerRow[];
  readonly top: LayerRow;
  readonly headPointId: string | null;
  readonly exported: ExportRow | undefined;
  /** An overlay that an interrupted freeze made, or was about to make, above the top. */
  readonly plannedOverlay: LayerRow | undefined;
}

/** What an interrupted freeze, or an interrupted merge, may have done in a server is not in the rows yet. */
export const isUnsettled = ({ chain, plannedOverlay }: DiskState): boolean =>
  plannedOverlay !== undefined || chain.some((layer) => layer.state === 'merging');

const layerColumns = query.raw('id, parent_id AS "parentId", home, format, size_bytes AS "sizeBytes", state');

/**
 * A step down a chain. The limit keeps PostgreSQL from reading all layers in each step, which it thinks is cheaper than a look into the index, so that a
 * chain would take time that grows with the square of its length (400 layers 21 ms instead of 2).
 */
export const layerBelow = query.raw('chain CROSS JOIN LATERAL (SELECT * FROM layers WHERE layers.id = chain.parent_id LIMIT 1) AS below');

/** The chain of a layer from the bottom to the layer itself. */
export async function chainOf(sql: Sql, layerId: string): Promise<LayerRow[]> {
  const { rows } = await query<LayerRow>`
    WITH RECURSIVE chain AS (
      SELECT layers.*, 0 AS depth FROM layers WHERE id = ${layerId}
      UNION ALL
      SELECT below.*, depth + 1 FROM ${layerBelow}
    )
    SELECT ${layerColumns} FROM chain ORDER BY depth DESC`.execute(sql);
  return rows;
}

interface DiskRow {
  readonly pointLayer: { readonly state: LayerState | null } | null;
  readonly headPointId: string | null;
  readonly topLayerId: string | null;
  readonly chain: readonly LayerRow[] | null;
  readonly planned: LayerRow | null;
  readonly export: {
    readonly export_id: string;
    readonly socket_path: string;
    readonly monitor_path: string;
    readonly process_id: number;
    readonly read_only: boolean;
  } | null;
}

async function diskRow(sql: Sql, volumeId: string, pointId: string | null): Promise<DiskRow | undefined> {
  const { rows } = await query<DiskRow>`
    WITH RECURSIVE volume AS (
      SELECT top_layer_id, head_point_id FROM volumes WHERE id = ${volumeId}
    ), chain AS (
      SELECT layers.*, 0 AS depth FROM layers JOIN volume ON id = top_layer_id
      UNION ALL
      SELECT below.*, depth + 1 FROM ${layerBelow}
    )
    SELECT head_point_id AS "headPointId", top_layer_id AS "topLayerId",
      (SELECT json_agg(json_build_object('id', id, 'parentId', parent_id, 'home', home, 'format', format,
         'sizeBytes', size_bytes, 'state', state) ORDER BY depth DESC) FROM chain) AS chain,
      (SELECT json_build_object('id', id, 'parentId', parent_id, 'home', home, 'format', format, 'sizeBytes', size_bytes, 'state', state)
         FROM layers WHERE parent_id = top_layer_id AND state = 'planned' LIMIT 1) AS planned,
      (SELECT row_to_json(volume_exports) FROM volume_exports WHERE volume_id = ${volumeId}) AS export,
      (SELECT json_build_object('state', layers.state) FROM points LEFT JOIN layers ON layers.id = layer_id
         WHERE points.id = ${pointId}) AS "pointLayer"
    FROM volume`.execute(sql);
  return rows[0];
}

export async function findTopLayerId(sql: Sql, volumeId: string): Promise<{ topLayerId: string | null } | undefined> {
  return await sql.selectFrom('volumes').select('top_layer_id as topLayerId').where('id', '=', volumeId).executeTakeFirst();
}

/** Undefined when the volume is gone or has no disk. */
export async function findDisk(sql: Sql, volumeId: string): Promise<DiskState | undefined> {
  return diskOf(volumeId, await diskRow(sql, volumeId, null));
}

function diskOf(volumeId: string, row: DiskRow | undefined): DiskState | undefined {
  const top = row?.chain?.at(-1);
  if (row === undefined || row.chain === null || top === undefined) return undefined;
  const exported = row.export === null ? undefined : exportOf(volumeId, row.export);
  return { volumeId, chain: row.chain, top, headPointId: row.headPointId, exported, plannedOverlay: row.planned ?? undefined };
}

export async function loadDisk(sql: Sql, volumeId: string): Promise<DiskState> {
  const disk = await findDisk(sql, volumeId);
  if (disk === undefined) throw new Error(`volume ${volumeId} has no disk`);
  return disk;
}

export interface FreezeStart {
  readonly disk: DiskState;
  /** The point is there already. */
  readonly isMade: boolean;
}

/** What a freeze has to know, in one statement. */
export async function loadForFreeze(sql: Sql, volumeId: string, pointId: string): Promise<FreezeStart> {
  const row = await diskRow(sql, volumeId, pointId);
  const disk = diskOf(volumeId, row);
  if (disk === undefined) throw new Error(`volume ${volumeId} has no disk`);
  const point = row?.pointLayer ?? undefined;
  if (point !== undefined && (point.state === null || point.state === 'doomed')) {
    throw new Error(`point ${pointId} was made and given up before`);
  }
  // A point on what is still a top, or only planned, is not made yet.
  return { disk, isMade: point?.state === 'frozen' || point?.state === 'merging' };
}

function exportOf(volumeId: string, row: NonNullable<DiskRow['export']>): ExportRow {
  const target = {
    id: row.export_id,
    home: volumeId,
    socketPath: row.socket_path,
    monitorPath: row.monitor_path,
    processId: row.process_id,
  };
  return { target, readOnly: row.read_only };
}

export async function findLayer(sql: Sql, layerId: string): Promise<LayerRow | undefined> {
  return (await query<LayerRow>`SELECT ${layerColumns} FROM layers WHERE id = ${layerId}`.execute(sql)).rows[0];
}

export async function childrenOf(sql: Sql, layerId: string): Promise<LayerRow[]> {
  return (await query<LayerRow>`SELECT ${layerColumns} FROM layers WHERE parent_id = ${layerId}`.execute(sql)).rows;
}

/** Writes a layer's row before its file is made. A row that an interrupted attempt left is taken over. */
export async function planLayer(sql: Sql, layer: Layer, parentId: string | null): Promise<void> {
  const { home, format, sizeBytes } = layer;
  const values = { parent_id: parentId, home, format, size_bytes: sizeBytes, state: 'planned' as const, allocated_bytes: null };
  const written = await sql
    .insertInto('layers')
    .values({ id: layer.id, ...values })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(values).where('layers.state', 'in', ['planned', 'doomed']))
    .executeTakeFirst();
  if (written.numInsertedOrUpdatedRows === 0n) throw new Error(`layer ${layer.id} is in use already`);
}

/** Moves a layer from one state to another; false when it was in neither of them. */
export async function moveLayer(sql: Sql, layerId: string, from: readonly LayerState[], to: LayerState): Promise<boolean> {
  const moved = await sql
    .updateTable('layers')
    .set({ state: to })
    .where('id', '=', layerId)
    .where('state', 'in', [...from, to])
    .executeTakeFirst();
  return moved.numUpdatedRows > 0n;
}

/** Forgets a layer whose files are gone. */
export async function deleteLayer(sql: Sql, layerId: string): Promise<void> {
  await sql.deleteFrom('layers').where('id', '=', layerId).where('state', '=', 'doomed').execute();
}

export async function setDisk(sql: Sql, volumeId: string, disk: { topLayerId: string | null; headPointId: string | null }): Promise<void> {
  const changed = await sql
    .updateTable('volumes')
    .set({ top_layer_id: disk.topLayerId, head_point_id: disk.headPointId })
    .where('id', '=', volumeId)
    .executeTakeFirst();
  if (changed.numUpdatedRows === 0n) throw new Error(`volume ${volumeId} is gone`);
}

export async function setLayerSize(sql: Sql, layerId: string, sizeBytes: number): Promise<void> {
  await sql.updateTable('layers').set({ size_bytes: sizeBytes, allocated_bytes: null }).where('id', '=', layerId).execute();
}
