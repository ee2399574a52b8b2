/**
 * Merging one layer into the layer below it, so that chains stay short.
 *
 * `younger` is folded into `older`; then `child`, the one layer above, stands on `older`. Only unnamed layers take part: no point that anybody
 * holds lies on them. Order:
 *   1. a mark: `younger` is `merging`, and the points on `older` lose their bytes (they are about to be overwritten; nobody holds them);
 *   2. the bytes: commit, then the child's header. `younger` hides whatever changes in `older`, so the chain reads the same all the while,
 *      also when this is interrupted and repeated;
 *   3. rows in one transaction: the child stands on `older`, which now holds the points of `younger`; `younger` is `doomed`;
 *   4. its file, then its row.
 * A process that dies leaves a mark that the next `tidy` continues from.
 *
 * Files of a chain must not be folded while somebody has the chain open. The marks of those (rows of exports, holds of readers) and the mark
 * here are made under the lock of the tree, so one side always sees the other; who wants to open a chain then has the merge cancelled.
 */
import { sql as query } from 'kysely';
import { type Reservation, SpaceError } from '../../engine/space/contract.ts';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { Journals } from './journal.ts';
import { childrenOf, deleteLayer, findLayer, type LayerRow, layerOf } from './layer-store.ts';
import { lockTree, type Sql, type VolumeLocks } from './locks.ts';

export interface MergePlan {
  readonly older: LayerRow;
  readonly younger: LayerRow;
  readonly child: LayerRow;
}

export interface Merges {
  /** True when the layers are merged; false when somebody needs the chain now, or asked to stop. */
  run(plan: MergePlan): Promise<boolean>;
  /** Asks a merge that holds the volume's lock to give it up. */
  cancelOfVolume(volumeId: string): void;
  /** Returns once no merge works on the chain. Its layers may be others then. */
  leave(chain: readonly LayerRow[]): Promise<void>;
  stop(): Promise<void>;
}

interface RunningMerge {
  readonly youngerId: string;
  readonly volumeId: string | undefined;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

export function createMerges(deps: {
  database: Database;
  backend: VolumeBackend;
  locks: VolumeLocks;
  journals: Journals;
  log: Log;
}): Merges {
  const { database, backend, locks, journals, log } = deps;
  /** `tidy` runs alone, and merges one by one. */
  let running: RunningMerge | undefined;

  async function merge(sql: Sql, plan: MergePlan, signal: AbortSignal): Promise<boolean> {
    const { older, younger, child } = plan;
    if (!(await mark(sql, plan))) return false;
    try {
      crashPoint('merge:marked');
      await backend.merge(layerOf(older), layerOf(younger), layerOf(child), { signal });
      crashPoint('merge:folded');
    } catch (error) {
      await sql.updateTable('layers').set({ state: 'frozen' }).where('id', '=', younger.id).where('state', '=', 'merging').execute();
      if (!signal.aborted) log.warn({ layerId: younger.id, error: messageOf(error) }, 'a layer could not be merged');
      return false;
    }
    await record(sql, plan);
    crashPoint('merge:recorded');
    await backend.removeLayer(layerOf(younger));
    await deleteLayer(sql, younger.id);
    return true;
  }

  /** Undefined: there is none. */
  async function takeSpace({ older, younger }: MergePlan): Promise<Reservation | undefined> {
    try {
      return await backend.reserveMerge(layerOf(older), layerOf(younger));
    } catch (error) {
      if (!(error instanceof SpaceError)) throw error;
      log.warn({ layerId: younger.id, error: error.message }, 'no space to merge a layer');
      return undefined;
    }
  }

  async function runTracked(sql: Sql, plan: MergePlan, volumeId: string | undefined): Promise<boolean> {
    const abort = new AbortController();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    running = { youngerId: plan.younger.id, volumeId, abort, ended };
    try {
      return await merge(sql, plan, abort.signal);
    } finally {
      running = undefined;
      end();
    }
  }

  return {
    async run(plan) {
      const space = await takeSpace(plan);
      if (space === undefined) return false;
      try {
        await ensureJournalsOn(plan, database.sql, journals);
        if (plan.child.state !== 'top') return await database.sql.connection().execute((sql) => runTracked(sql, plan, undefined));
        // The child's file is written to, so nobody may freeze, grow or serve the disk meanwhile.
        const volumeId = plan.child.home;
        return (await locks.tryWithVolume(volumeId, (sql) => runTracked(sql, plan, volumeId))) ?? false;
      } finally {
        space.release();
      }
    },
    cancelOfVolume(volumeId) {
      if (running?.volumeId === volumeId) running.abort.abort();
    },
    async leave(chain) {
      const merging = chain.find((layer) => layer.state === 'merging');
      if (merging === undefined) return;
      if (running?.youngerId === merging.id) {
        running.abort.abort();
        await running.ended;
      } else {
        await locks.afterTidy();
      }
    },
    async stop() {
      running?.abort.abort();
      await running?.ended;
    },
  };
}

async function ensureJournalsOn({ older, younger }: MergePlan, sql: Sql, journals: Journals): Promise<void> {
  const unknown = await sql
    .selectFrom('points')
    .select('id')
    .where('layer_id', 'in', [older.id, younger.id])
    .where('journal', 'is', null)
    .execute();
  for (const { id } of unknown) await journals.ensure(id);
}

/** False when the rows have changed since the plan, or when the chain is in use. */
async function mark(sql: Sql, plan: MergePlan): Promise<boolean> {
  return await sql.transaction().execute(async (tx) => {
    await lockTree(tx, 'alone');
    if (!(await isStillSo(tx, plan)) || (await isInUse(tx, plan))) return false;
    await tx.updateTable('layers').set({ state: 'merging' }).where('id', '=', plan.younger.id).execute();
    await tx.updateTable('points').set({ layer_id: null }).where('layer_id', '=', plan.older.id).execute();
    return true;
  });
}

async function isStillSo(tx: Sql, { older, younger, child }: MergePlan): Promise<boolean> {
  const [bottom, middle, aboveOlder, aboveYounger] = [
    await findLayer(tx, older.id),
    await findLayer(tx, younger.id),
    await childrenOf(tx, older.id),
    await childrenOf(tx, younger.id),
  ];
  return (
    bottom?.state === 'frozen' &&
    (middle?.state === 'frozen' || middle?.state === 'merging') &&
    aboveOlder.length === 1 &&
    aboveOlder[0]?.id === younger.id &&
    aboveYounger.length === 1 &&
    aboveYounger[0]?.id === child.id &&
    aboveYounger[0].state === child.state
  );
}

/** A held point on either layer, a server or a reader anywhere above. */
async function isInUse(tx: Sql, { older, younger }: MergePlan): Promise<boolean> {
  const { rows } = await query<{ inUse: boolean }>`
    WITH RECURSIVE above AS (
      SELECT id FROM layers WHERE id = ${older.id}
      UNION ALL SELECT layers.id FROM layers JOIN above ON parent_id = above.id
    ), held AS (
      SELECT layer_id, holder FROM points JOIN point_holds ON point_id = points.id WHERE layer_id IN (SELECT id FROM above)
    )
    SELECT EXISTS (SELECT FROM held WHERE layer_id IN (${older.id}, ${younger.id}) OR holder ^@ 'backup:' OR holder ^@ 'reader:')
      OR EXISTS (SELECT FROM volumes JOIN volume_exports ON volume_id = volumes.id WHERE top_layer_id IN (SELECT id FROM above)) AS "inUse"
  `.execute(tx);
  return rows[0]?.inUse !== false;
}

async function record(sql: Sql, { older, younger, child }: MergePlan): Promise<void> {
  await sql.transaction().execute(async (tx) => {
    await lockTree(tx, 'alone');
    await tx.updateTable('layers').set({ parent_id: older.id }).where('id', '=', child.id).execute();
    await tx.updateTable('points').set({ layer_id: older.id }).where('layer_id', '=', younger.id).execute();
    await tx.updateTable('layers').set({ size_bytes: younger.sizeBytes }).where('id', '=', older.id).execute();
    await tx.updateTable('layers').set({ state: 'doomed' }).where('id', '=', younger.id).execute();
  });
}
