/**
 * What is safe to do about a layer. Nothing here removes bytes: a file that nobody knows goes into the trash by a rename, and comes back the same way.
 *
 * While a file is moved, the table of layers is locked against changes, so that nobody plans a layer of the same name between the last look and the
 * move. That takes milliseconds, and reading goes on.
 */
import { sql as query } from 'kysely';
import type { LayerInventory, LayerName } from '../../engine/volumes/inventory-contract.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../database/service.ts';
import { findLayer } from './layer-store.ts';
import type { Sql, VolumeLocks } from './locks.ts';
import type { LayerProblem, Surroundings } from './reconcile-layer-rules.ts';
import { isSame, labelOf } from './reconcile-layer-texts.ts';
import type { Repair } from './reconcile-report.ts';
import { affectedBy, loadServedVolumes } from './reconcile-rows.ts';

/** What becomes of a volume whose disk cannot be opened. The folder of volumes owns their states. */
export interface DamagePort {
  /** Moves a volume that looks fine to `error`. False: it is in a state that somebody else has to end, or in error already. */
  markDamaged(volumeId: string, reason: string): Promise<boolean>;
}

export interface LayerRepairDeps {
  readonly database: Database;
  readonly inventory: LayerInventory;
  readonly locks: VolumeLocks;
  readonly clock: Clock;
  readonly volumes: DamagePort;
}

export interface LayerRepairOptions {
  readonly automatic: boolean;
  readonly surroundings: Surroundings;
  readonly isStillSo: (sql: Sql) => Promise<boolean>;
}

/** More than a few, and more than this part of all files, look like the wrong database rather than like leftovers: nobody moves them unasked. */
const unknownMaxUnasked = 3;
const unknownShareUnasked = 0.1;
const lockWait = '5s';

export async function repairLayerProblem(
  deps: LayerRepairDeps,
  problem: LayerProblem,
  options: LayerRepairOptions,
): Promise<Repair | undefined> {
  switch (problem.kind) {
    case 'layer-unknown':
      return await trashUnknown(deps, problem.file, options);
    case 'layer-missing':
      return (await takeBack(deps, problem.row)) ?? (await markVolumes(deps, problem.row.id, `layer ${problem.row.id} is missing`));
    case 'layer-damaged':
      return await markVolumes(deps, problem.row.id, `layer ${problem.row.id} is damaged: ${problem.damage}`);
    case 'space-leaked':
      return await deps.locks.tryWithVolume(problem.row.home, async (sql) => {
        if (!(await options.isStillSo(sql))) return undefined;
        await deps.inventory.repairLayer(problem.row);
        return { done: 'Repaired: the space that it did not use is free again.', isRepaired: true };
      });
    case 'layer-misplaced':
    case 'parent-differs':
    case 'size-differs':
      return undefined;
  }
}

/** Runs `move` while no row of a layer can be written. */
export async function withLayersLocked<T>(database: Database, move: (sql: Sql) => Promise<T>): Promise<T> {
  return await database.sql.transaction().execute(async (tx) => {
    await query`SET LOCAL lock_timeout = ${query.lit(lockWait)}`.execute(tx);
    await query`LOCK TABLE layers IN SHARE MODE`.execute(tx);
    return await move(tx);
  });
}

async function trashUnknown(
  deps: LayerRepairDeps,
  file: LayerName,
  { automatic, surroundings }: LayerRepairOptions,
): Promise<Repair | undefined> {
  const { missing, unknownCount, fileCount } = surroundings;
  if (missing.has(file.home)) return undefined;
  const isMuch = unknownCount === fileCount || (unknownCount > unknownMaxUnasked && unknownCount > fileCount * unknownShareUnasked);
  if (automatic && isMuch) {
    const done =
      `Left where it is: ${unknownCount} of ${fileCount} files are unknown, which looks like the wrong database (DATABASE_URL) for this state directory. ` +
      'If the database is the right one: stillpoint doctor --disks --repair';
    return { done, isRepaired: false };
  }
  const moved = await withLayersLocked(deps.database, async (sql) => {
    // Somebody may have planned it, or taken it out of the trash to keep it, since it was looked at.
    if ((await findLayer(sql, file.id)) !== undefined || (await deps.inventory.findStored(file))?.isKept !== false) return false;
    return await deps.inventory.trashLayer(file, { reason: 'no row knows this layer', at: deps.clock.now() });
  });
  return moved ? { done: 'Moved to the trash.', isRepaired: true } : undefined;
}

/** The row came back (the right database, say) after the file had gone to the trash. */
async function takeBack(deps: LayerRepairDeps, layer: LayerName): Promise<Repair | undefined> {
  const item = (await deps.inventory.listTrash()).find((one) => isSame(one.layer, layer));
  if (item === undefined) return undefined;
  return await withLayersLocked(deps.database, async (sql) => {
    const row = await findLayer(sql, layer.id);
    if (row === undefined || row.state === 'planned' || row.state === 'doomed') return undefined;
    await deps.inventory.restoreFromTrash(item.name, { keep: false });
    return { done: 'Taken back out of the trash.', isRepaired: true };
  });
}

/** Volumes that cannot be opened must not look as if they could. One that is being served works for as long as its server lives. */
export async function markVolumes(
  { database, inventory, volumes }: LayerRepairDeps,
  layerId: string,
  reason: string,
): Promise<Repair | undefined> {
  const affected = (await affectedBy(database.sql, [layerId])).filter(({ type }) => type === 'volume');
  if (affected.length === 0) return undefined;
  const alive = new Set((await inventory.listExports()).filter(({ isAlive }) => isAlive).map(({ name }) => name));
  const served = (await loadServedVolumes(database.sql)).filter(({ target }) => alive.has(inventory.exportNameOf(target.id)));
  const marked: string[] = [];
  for (const volume of affected) {
    if (served.some(({ volumeId }) => volumeId === volume.id)) continue;
    if (await volumes.markDamaged(volume.id, reason)) marked.push(labelOf('volume', volume));
  }
  return marked.length === 0 ? undefined : { done: `In status error now: ${marked.join(', ')}.`, isRepaired: false };
}
