/** Taking things back out of the trash, and letting go of what has been there for its time. */

import { VolumeBackendError } from '../../engine/volumes/errors.ts';
import type { LayerInventory, LayerName, TrashedItem } from '../../engine/volumes/inventory-contract.ts';
import type { Clock } from '../../lib/clock.ts';
import { conflict, notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import { findLayer } from './layer-store.ts';
import type { Sql } from './locks.ts';
import { withLayersLocked } from './reconcile-layer-repair.ts';

export interface TrashDeps {
  readonly database: Database;
  readonly inventory: LayerInventory;
  readonly clock: Clock;
  readonly log: Log;
  readonly trashDays: number;
}

export interface RestoredItem {
  readonly name: string;
  /** Where it lies now. Null: a stray object, back where it was. */
  readonly place: string | null;
  /** Whether a row knows the layer. Without, it is kept until somebody removes it by hand. */
  readonly isKnown: boolean;
}

const dayMs = 24 * 60 * 60_000;

export async function restoreFromTrash({ database, inventory }: TrashDeps, nameOrLayerId: string): Promise<RestoredItem> {
  const items = (await inventory.listTrash()).filter((item) => item.name === nameOrLayerId || item.layer?.id === nameOrLayerId);
  const [item, ...others] = items;
  if (item === undefined) throw notFound(`The trash has nothing called ${nameOrLayerId}.`);
  if (others.length > 0) throw conflict(`The trash has several of them, name one: ${items.map(({ name }) => name).join(', ')}.`);
  const { layer } = item;
  return await withLayersLocked(database, async (sql) => {
    const isKnown = layer !== undefined && (await isWanted(sql, layer));
    try {
      await inventory.restoreFromTrash(item.name, { keep: !isKnown });
    } catch (error) {
      if (!(error instanceof VolumeBackendError)) throw error;
      throw conflict(`${item.name} cannot be put back: ${error.message}.`, error);
    }
    return { name: item.name, place: layer === undefined ? null : inventory.placeOf(layer), isKnown };
  });
}

/** Nothing that a row misses, and nothing of a folder in which a layer is missing: it may be that layer under another name. */
export async function emptyTrash({ database, inventory, clock, log, trashDays }: TrashDeps): Promise<void> {
  const untilMs = clock.now().getTime() - trashDays * dayMs;
  for (const item of (await inventory.listTrash()).filter(({ trashedAt }) => trashedAt.getTime() <= untilMs)) {
    if (await mayBeNeeded(database.sql, inventory, item)) {
      log.warn({ item: item.name }, 'the trash keeps something beyond its time, because a layer is missing');
      continue;
    }
    await inventory.deleteFromTrash(item.name);
    log.info({ item: item.name, reason: item.reason, trashedAt: item.trashedAt }, 'deleted from the trash');
  }
}

async function mayBeNeeded(sql: Sql, inventory: LayerInventory, { layer }: TrashedItem): Promise<boolean> {
  if (layer === undefined) return false;
  if ((await isWanted(sql, layer)) && (await inventory.findStored(layer)) === undefined) return true;
  if (!isUuid(layer.home)) return false;
  const rows = await sql
    .selectFrom('layers')
    .select(['id', 'home', 'format'])
    .where('home', '=', layer.home)
    .where('state', 'in', ['top', 'frozen', 'merging'])
    .execute();
  for (const row of rows) if ((await inventory.findStored(row)) === undefined) return true;
  return false;
}

async function isWanted(sql: Sql, { id }: LayerName): Promise<boolean> {
  const row = isUuid(id) ? await findLayer(sql, id) : undefined;
  return row !== undefined && row.state !== 'planned' && row.state !== 'doomed';
}
