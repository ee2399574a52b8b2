/**
 * A backup found that what is noted of a disk is not true: from here on nothing relies on it.
 *
 * Journals and roots around the point are given up (`distrustLines`), so that the next incremental begins from a backup that read everything. When a
 * base says that it is empty where it holds data, its notes are dropped: it then counts as full, which is slow and right.
 */
import type { AuditFinding } from '../../engine/repository/commit.ts';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import type { Database } from '../database/service.ts';
import { chainOf, layerOf } from './layer-store.ts';
import { distrustLines, findPoint } from './point-store.ts';

export async function distrust(
  { database, backend }: { database: Database; backend: VolumeBackend },
  pointId: string,
  { wrong, baseSession }: AuditFinding,
): Promise<void> {
  await distrustLines(database.sql, pointId, baseSession);
  const point = await findPoint(database.sql, pointId);
  if (wrong !== 'allocation' || point === undefined || point.layerId === null) return;
  for (const layer of await chainOf(database.sql, point.layerId)) {
    if (layer.format === 'raw') await backend.forgetAllocation?.(layerOf(layer));
  }
}
