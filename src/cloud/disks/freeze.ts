/**
 * Freezing a disk: what a volume holds now becomes a point, and writing goes on in an empty layer on top.
 *
 * Order, each part durable before the next begins:
 *   1. rows: the overlay as `planned`, the point (on what is still the top) with its hold;
 *   2. the overlay's file;
 *   3. where a process has the disk open, its QMP transaction puts the overlay on top: this is the moment itself;
 *   4. rows in one statement: the former top is `frozen`, the overlay is the `top`, the volume's head is the point.
 * The journal of the frozen layer is computed after that.
 *
 * When this process dies before 3, the planned rows are taken over by a repeat, or cleared by the next freeze or by `tidy`. When it dies between 3
 * and 4, writes already go to the overlay, and the rows must follow: `follow` does that before anything else is done to the disk, so the
 * overlay is never made anew. A point whose layer is still a top is thus no point yet, and nobody can read it.
 */
import { sql as query } from 'kysely';
import type { Layer, VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { PointConsistency, Quiescence } from './contract.ts';
import { type DiskState, type FreezeStart, isUnsettled, layerOf, loadDisk, loadForFreeze } from './layer-store.ts';
import type { Sql } from './locks.ts';
import { unproven } from './point-store.ts';

export interface FreezePlan {
  readonly pointId: string;
  readonly topLayerId: string;
  readonly holder: string;
  /** Made with others, which may come to nothing: see freeze-together.ts. */
  readonly isUnproven?: true;
}

export interface FreezeDeps {
  readonly backend: VolumeBackend;
  readonly quiescence: Quiescence;
  readonly log: Log;
  /** Makes the rows follow what the process that has the disk open really serves; see `exports.ts`. */
  readonly follow: (sql: Sql, disk: DiskState) => Promise<DiskState>;
}

/** Runs under the volume's lock. True when it made the point, false when it had been made before. */
export async function freezeDisk(deps: FreezeDeps, sql: Sql, volumeId: string, plan: FreezePlan): Promise<boolean> {
  const { disk, isMade } = await settleForFreeze(deps, sql, volumeId, plan.pointId);
  if (isMade) return false;
  try {
    await freezeOnce(deps, sql, disk, plan);
  } catch (error) {
    if (disk.exported === undefined) throw error;
    deps.log.warn({ volumeId, error: messageOf(error) }, 'freezing an open disk failed; looking at what its server did');
    await deps.follow(sql, await loadDisk(sql, volumeId));
    const followed = await loadForFreeze(sql, volumeId, plan.pointId);
    if (followed.isMade) return true;
    // The server is gone: nobody has the disk open any more. One that is still there refused, and would refuse again.
    if (followed.disk.exported !== undefined) throw error;
    await freezeOnce(deps, sql, followed.disk, plan);
  }
  return true;
}

/** The disk, and whether the point is there, when the rows have followed what its server did before. */
export async function settleForFreeze(deps: FreezeDeps, sql: Sql, volumeId: string, pointId: string): Promise<FreezeStart> {
  const start = await loadForFreeze(sql, volumeId, pointId);
  if (start.isMade || start.disk.exported === undefined || !isUnsettled(start.disk)) return start;
  await deps.follow(sql, start.disk);
  return await loadForFreeze(sql, volumeId, pointId);
}

async function freezeOnce(deps: FreezeDeps, sql: Sql, disk: DiskState, plan: FreezePlan): Promise<void> {
  const overlay = await prepareFreeze(deps, sql, disk, plan);
  const isOpen = disk.exported?.readOnly === false;
  const stood = isOpen ? await deps.quiescence.around([disk.volumeId], () => switchServer(deps, disk, overlay)) : unknownConsistency;
  await recordFreeze(sql, disk.volumeId, { frozenId: disk.top.id, topId: plan.topLayerId, pointId: plan.pointId, ...stood });
}

const unknownConsistency: PointConsistency = { consistency: null, freezeMs: null };

/** Parts 1 and 2. */
export async function prepareFreeze({ backend }: FreezeDeps, sql: Sql, disk: DiskState, plan: FreezePlan): Promise<Layer> {
  const overlay = { id: plan.topLayerId, home: disk.volumeId, format: 'qcow2', sizeBytes: disk.top.sizeBytes } as const;
  await recordPlan(sql, disk, plan);
  crashPoint('freeze:planned');
  await backend.createLayer(overlay, disk.chain.map(layerOf));
  crashPoint('freeze:layer-made');
  return overlay;
}

/** Part 3. A server that only reads goes on serving what is frozen now: the bytes are the same. */
export async function switchServer({ backend }: FreezeDeps, { chain, exported }: DiskState, overlay: Layer): Promise<void> {
  if (exported === undefined || exported.readOnly) return;
  await backend.snapshotExport(exported.target, chain.map(layerOf), overlay);
  crashPoint('freeze:switched');
}

/**
 * One statement, for a freeze has no time to lose. What interrupted freezes with other ids left on this top goes; their sagas may repeat: then they
 * plan anew. Rows of the same freeze are taken over.
 */
async function recordPlan(sql: Sql, { volumeId, top, headPointId }: DiskState, plan: FreezePlan): Promise<void> {
  const holders = plan.isUnproven === true ? [plan.holder, unproven(plan.holder)] : [plan.holder];
  const { rows } = await query<{ id: string }>`
    WITH others AS (SELECT id FROM points WHERE layer_id = ${top.id} AND id <> ${plan.pointId}),
      other_holds AS (DELETE FROM point_holds WHERE point_id IN (SELECT id FROM others)),
      other_points AS (DELETE FROM points WHERE id IN (SELECT id FROM others)),
      other_overlays AS (
        UPDATE layers SET state = 'doomed' WHERE parent_id = ${top.id} AND state = 'planned' AND id <> ${plan.topLayerId}),
      overlay AS (
        INSERT INTO layers (id, parent_id, home, format, size_bytes, state)
        VALUES (${plan.topLayerId}, ${top.id}, ${volumeId}, 'qcow2', ${top.sizeBytes}, 'planned')
        ON CONFLICT (id) DO UPDATE SET parent_id = EXCLUDED.parent_id, size_bytes = EXCLUDED.size_bytes, state = 'planned', allocated_bytes = NULL
        WHERE layers.state IN ('planned', 'doomed') RETURNING id),
      point AS (
        INSERT INTO points (id, parent_id, layer_id, size_bytes) VALUES (${plan.pointId}, ${headPointId}, ${top.id}, ${top.sizeBytes})
        ON CONFLICT (id) DO UPDATE SET parent_id = EXCLUDED.parent_id, layer_id = EXCLUDED.layer_id, size_bytes = EXCLUDED.size_bytes),
      hold AS (INSERT INTO point_holds (point_id, holder) SELECT ${plan.pointId}, unnest(${holders}::text[]) ON CONFLICT DO NOTHING)
    SELECT id FROM overlay`.execute(sql);
  if (rows.length !== 1) throw new Error(`layer ${plan.topLayerId} is in use already`);
}

/** The rows after the moment: one statement, so all of it or nothing. */
export async function recordFreeze(
  sql: Sql,
  volumeId: string,
  moment: { frozenId: string; topId: string; pointId: string } & Partial<PointConsistency>,
): Promise<void> {
  const { consistency = null, freezeMs = null } = moment;
  const { rows } = await query<{ id: string }>`
    WITH frozen AS (UPDATE layers SET state = 'frozen', allocated_bytes = NULL WHERE id = ${moment.frozenId} AND state = 'top' RETURNING id),
      raised AS (UPDATE layers SET state = 'top' WHERE id = ${moment.topId} AND state = 'planned' RETURNING id),
      stood AS (UPDATE points SET consistency = ${consistency}, freeze_ms = ${freezeMs} FROM frozen WHERE points.id = ${moment.pointId})
    UPDATE volumes SET top_layer_id = raised.id, head_point_id = ${moment.pointId}
    FROM frozen, raised WHERE volumes.id = ${volumeId} AND top_layer_id = frozen.id RETURNING volumes.id`.execute(sql);
  if (rows.length !== 1) throw new Error(`the disk of volume ${volumeId} changed under its lock`);
}
