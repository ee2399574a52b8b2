/** What a comparison with the disks has to know of the rows. Reads only. */
import { sql as query } from 'kysely';
import type { DiskExport } from '../../engine/volumes/contract.ts';
import type { Sql } from './locks.ts';
import type { LayerFacts } from './reconcile-layer-rules.ts';
import type { Affected } from './reconcile-report.ts';

const facts = query.raw(`
  layers.id, parent_id AS "parentId", home, format, size_bytes AS "sizeBytes", state, layers.xmin::text AS version,
  EXISTS (SELECT FROM points WHERE layer_id = layers.id) AS "hasPoint"`);

export async function loadLayers(sql: Sql): Promise<LayerFacts[]> {
  return (await query<LayerFacts>`SELECT ${facts} FROM layers`.execute(sql)).rows;
}

/** A layer with what stands on it, what it stands on, and what is below that. */
export async function loadNeighbours(sql: Sql, layerId: string): Promise<LayerFacts[]> {
  const { rows } = await query<LayerFacts>`
    WITH own AS (SELECT id, parent_id FROM layers WHERE id = ${layerId}),
      parent AS (SELECT layers.id, layers.parent_id FROM layers JOIN own ON layers.id = own.parent_id)
    SELECT ${facts} FROM layers
    WHERE parent_id = ${layerId} OR id IN (SELECT id FROM own UNION SELECT id FROM parent UNION SELECT parent_id FROM parent)
    ORDER BY id`.execute(sql);
  return rows;
}

/** Everything whose bytes are in these layers, or in layers above them. */
export async function affectedBy(sql: Sql, layerIds: readonly string[]): Promise<Affected[]> {
  const { rows } = await query<Affected>`
    WITH RECURSIVE above AS (
      SELECT id FROM layers WHERE id = ANY(${[...layerIds]})
      UNION SELECT layers.id FROM layers JOIN above ON parent_id = above.id
    ), hit AS (SELECT id FROM points WHERE layer_id IN (SELECT id FROM above))
    SELECT 'volume' AS type, id, name FROM volumes WHERE top_layer_id IN (SELECT id FROM above)
    UNION ALL SELECT 'snapshot', id, name FROM snapshots WHERE point_id IN (SELECT id FROM hit)
    UNION ALL SELECT 'image', id, name FROM images WHERE point_id IN (SELECT id FROM hit)
    UNION ALL SELECT 'backup', id, name FROM backups WHERE status = 'creating' AND point_id IN (SELECT id FROM hit)`.execute(sql);
  return rows;
}

export interface Rescue {
  readonly id: string;
  readonly volumeId: string;
  readonly takenAt: string;
}

/** The newest backup of each volume that can be restored, the newest of all first. */
export async function backupsOf(sql: Sql, volumeIds: readonly string[]): Promise<Rescue[]> {
  const { rows } = await query<Rescue>`
    SELECT * FROM (
      SELECT DISTINCT ON (volume_id) id, volume_id AS "volumeId", to_char(data_timestamp, 'YYYY-MM-DD HH24:MI') AS "takenAt"
      FROM backups WHERE volume_id = ANY(${[...volumeIds]}) AND status = 'available' ORDER BY volume_id, data_timestamp DESC
    ) AS newest ORDER BY "takenAt" DESC`.execute(sql);
  return rows;
}

export interface ServedVolume {
  readonly volumeId: string;
  readonly volumeName: string | null;
  readonly status: string;
  readonly isAttached: boolean;
  /** Begun longer ago than a client needs to attach. */
  readonly isOld: boolean;
  readonly readOnly: boolean;
  readonly target: DiskExport;
}

/** A client that connects a volume attaches it within seconds. */
const attachWithin = '10 minutes';

export async function loadServedVolumes(sql: Sql): Promise<ServedVolume[]> {
  const { rows } = await query<Omit<ServedVolume, 'target'> & Omit<DiskExport, 'home'>>`
    SELECT volume_id AS "volumeId", volumes.name AS "volumeName", volumes.status, read_only AS "readOnly",
      EXISTS (SELECT FROM volume_attachments WHERE volume_attachments.volume_id = volumes.id) AS "isAttached",
      volume_exports.created_at < now() - ${attachWithin}::interval AS "isOld",
      export_id AS id, socket_path AS "socketPath", monitor_path AS "monitorPath", process_id AS "processId"
    FROM volume_exports JOIN volumes ON volumes.id = volume_id`.execute(sql);
  return rows.map(({ id, socketPath, monitorPath, processId, ...volume }) => ({
    ...volume,
    target: { id, home: volume.volumeId, socketPath, monitorPath, processId },
  }));
}

/** The volume, when there is one of this id: for naming what lies in a home. */
export async function volumeNamed(
  sql: Sql,
  id: string,
): Promise<{ readonly name: string | null; readonly isAttached: boolean } | undefined> {
  const { rows } = await query<{ name: string | null; isAttached: boolean }>`
    SELECT name, EXISTS (SELECT FROM volume_attachments WHERE volume_id = volumes.id) AS "isAttached" FROM volumes WHERE id = ${id}`.execute(
    sql,
  );
  return rows[0];
}
