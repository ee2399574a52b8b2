/**
 * Making, replacing, growing and dropping the disks of volumes. Each runs under the volume's lock, and writes the row of a layer as `planned`
 * before its file, and as what it is after it.
 */
import type { Layer, VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { conflict } from '../../lib/errors.ts';
import { type Exports, isAttached } from './exports.ts';
import {
  chainOf,
  deleteLayer,
  findDisk,
  findTopLayerId,
  layerOf,
  loadDisk,
  moveLayer,
  planLayer,
  setDisk,
  setLayerSize,
} from './layer-store.ts';
import type { Sql } from './locks.ts';
import { findPoint, isReadable } from './point-store.ts';

export interface DiskChangesDeps {
  readonly backend: VolumeBackend;
  readonly exports: Exports;
}

export async function createDisk(
  { backend }: DiskChangesDeps,
  sql: Sql,
  volumeId: string,
  plan: { topLayerId: string; sizeBytes: number; fromPointId: string | null },
): Promise<void> {
  const current = await findTopLayerId(sql, volumeId);
  if (current === undefined) throw new Error(`volume ${volumeId} is gone`);
  if (current.topLayerId === plan.topLayerId) return;
  if (current.topLayerId !== null) throw new Error(`volume ${volumeId} has a disk already`);
  await makeTop(backend, sql, volumeId, plan);
  await sql.transaction().execute(async (tx) => {
    await moveLayer(tx, plan.topLayerId, ['planned'], 'top');
    await setDisk(tx, volumeId, { topLayerId: plan.topLayerId, headPointId: plan.fromPointId });
  });
}

/** A writable layer above a point, planned and made, but not yet anybody's top. */
async function makeTop(
  backend: VolumeBackend,
  sql: Sql,
  volumeId: string,
  plan: { topLayerId: string; sizeBytes: number; fromPointId: string | null },
): Promise<void> {
  const below = plan.fromPointId === null ? [] : await chainOf(sql, await layerOfPoint(sql, plan.fromPointId));
  const layer: Layer = { id: plan.topLayerId, home: volumeId, format: 'qcow2', sizeBytes: plan.sizeBytes };
  await planLayer(sql, layer, below.at(-1)?.id ?? null);
  crashPoint('disk:planned');
  await backend.createLayer(layer, below.map(layerOf));
  crashPoint('disk:made');
}

export async function layerOfPoint(sql: Sql, pointId: string): Promise<string> {
  const point = await findPoint(sql, pointId);
  if (point === undefined || point.layerId === null || !isReadable(point)) throw new Error(`the bytes of point ${pointId} are not there`);
  return point.layerId;
}

export async function replaceDisk(
  { backend, exports }: DiskChangesDeps,
  sql: Sql,
  volumeId: string,
  plan: { fromPointId: string; topLayerId: string; sizeBytes: number },
): Promise<void> {
  const current = await findTopLayerId(sql, volumeId);
  if (current?.topLayerId === plan.topLayerId) return;
  await refuseIfOpen(exports, sql, volumeId);
  // Only now: closing a server may have completed the rows of a freeze, and then the top is another one.
  const disk = await findDisk(sql, volumeId);
  await makeTop(backend, sql, volumeId, plan);
  await sql.transaction().execute(async (tx) => {
    if (disk !== undefined) {
      await tx.updateTable('points').set({ layer_id: null }).where('layer_id', '=', disk.top.id).execute();
      await moveLayer(tx, disk.top.id, ['top'], 'doomed');
    }
    await moveLayer(tx, plan.topLayerId, ['planned'], 'top');
    await setDisk(tx, volumeId, { topLayerId: plan.topLayerId, headPointId: plan.fromPointId });
    // Attaching locks the volume's row, too: whoever comes second sees the other.
    if (await isAttached(tx, volumeId)) throw conflict(`Volume ${volumeId} is attached.`);
  });
}

/** A server that was asked for, but that no attachment uses, gives way. */
async function refuseIfOpen(exports: Exports, sql: Sql, volumeId: string): Promise<void> {
  const disk = await findDisk(sql, volumeId);
  if (disk?.exported === undefined) return;
  if (!(await isAttached(sql, volumeId))) {
    await exports.closeLocked(sql, disk);
    return;
  }
  const settled = await exports.follow(sql, disk);
  if (settled.exported !== undefined) throw conflict(`The disk of volume ${volumeId} is open.`);
}

export async function resizeDisk({ backend, exports }: DiskChangesDeps, sql: Sql, volumeId: string, sizeBytes: number): Promise<void> {
  await refuseIfOpen(exports, sql, volumeId);
  const disk = await loadDisk(sql, volumeId);
  if (disk.top.sizeBytes === sizeBytes) return;
  if (disk.top.sizeBytes > sizeBytes) throw new Error(`volume ${volumeId} cannot shrink to ${sizeBytes} bytes`);
  await backend.resizeTop(disk.chain.map(layerOf), sizeBytes);
  crashPoint('resize:grown');
  await setLayerSize(sql, disk.top.id, sizeBytes);
}

export async function dropDisk({ backend, exports }: DiskChangesDeps, sql: Sql, volumeId: string): Promise<void> {
  const disk = await findDisk(sql, volumeId);
  if (disk === undefined) return;
  const { top } = await exports.closeLocked(sql, disk);
  await sql.transaction().execute(async (tx) => {
    await setDisk(tx, volumeId, { topLayerId: null, headPointId: null });
    await tx.updateTable('points').set({ layer_id: null }).where('layer_id', '=', top.id).execute();
    await moveLayer(tx, top.id, ['top'], 'doomed');
  });
  crashPoint('drop:doomed');
  // What an interrupted freeze planned above it is for `tidy`, which then removes both.
  if ((await sql.selectFrom('layers').select('id').where('parent_id', '=', top.id).executeTakeFirst()) !== undefined) return;
  await backend.removeLayer(layerOf(top));
  crashPoint('drop:removed');
  await deleteLayer(sql, top.id);
}
