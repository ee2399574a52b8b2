/**
 * Carries out what `tidy.ts` plans. One run at a time among all processes.
 *
 * Merges run one by one and may take hours, for they give way to clients. What may be removed does not wait for them: a nudge during a merge
 * has it removed at once. A merge that had to give way itself is tried again later, and later each time, since it begins anew; those of a volume
 * wait until its snapshots have paused (`restless.ts`).
 */
import { sql as query } from 'kysely';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { Tidied } from './contract.ts';
import type { Exports } from './exports.ts';
import type { Journals } from './journal.ts';
import { deleteLayer, findDisk, type LayerRow, layerOf } from './layer-store.ts';
import { lockTree, type Sql, type VolumeLocks } from './locks.ts';
import type { Merges } from './merge.ts';
import type { MergePlan } from './merge-rows.ts';
import { createPostponed } from './postponed.ts';
import { prunePoints } from './prune.ts';
import type { Restless } from './restless.ts';
import { loadTidyLayers, planTidy, type TidyLayer } from './tidy.ts';

export interface Housekeeping {
  /** Undefined: another process is at it. */
  tidy(): Promise<Tidied | undefined>;
  /** Runs `tidy` soon, once for many calls. */
  nudge(): void;
  stop(): Promise<void>;
}

/** Long enough that a cascade of deletions is one run, short enough that space comes back at once. */
const nudgeDelayMs = 250;
/** When somebody works on the disk whose layer is to go. */
const busyDelayMs = 2_000;
/** After a run that failed, or met a full disk: not all space is freed by us, so that we would hear of it. */
const retryDelayMs = 60_000;

/** Whether merges that were postponed are tried, too, and those of volumes that are not at rest. */
type Eagerness = 'all' | 'what is due';

export function createHousekeeping(deps: {
  database: Database;
  backend: VolumeBackend;
  locks: VolumeLocks;
  merges: Merges;
  exports: Exports;
  journals: Journals;
  restless: Restless;
  log: Log;
}): Housekeeping {
  const { database, backend, locks, merges, exports, journals, restless, log } = deps;
  const postponed = createPostponed();
  let stopped = false;
  /** Somebody released something, or a merge is over. */
  let wish = Promise.withResolvers<void>();
  let nudged: { readonly timer: NodeJS.Timeout; readonly atMs: number } | undefined;
  let running: Promise<Tidied | undefined> | undefined;
  /** Of the run that comes next: as the most eager of those who wait for it. */
  let wanted: Eagerness = 'what is due';

  async function tidyAlone(sql: Sql, how: Eagerness): Promise<Tidied> {
    const left = await clear(sql);
    await computeMissingJournals(sql);
    await mergeAll(sql, how);
    if (!stopped) await prunePoints(database);
    return { left };
  }

  /** Removes what can go, except the layers that a merge is working on. Returns the ids of those whose volumes somebody else works on. */
  async function clear(sql: Sql, merging: readonly LayerRow[] = []): Promise<Set<string>> {
    const left = new Set<string>();
    const isFree = ({ id }: LayerRow): boolean => merging.every((layer) => layer.id !== id);
    const attempt = (layer: TidyLayer, work: (layer: TidyLayer) => Promise<boolean>): Promise<void> =>
      trying(layer, async () => {
        if (!(await work(layer))) left.add(layer.id);
      });
    let plan = planTidy(await loadTidyLayers(sql));
    const examined = plan.examine.filter(isFree);
    for (const layer of examined) await attempt(layer, examine);
    if (examined.length > 0) plan = planTidy(await loadTidyLayers(sql));
    for (const layer of plan.remove) {
      if (stopped) break;
      if (isFree(layer)) await attempt(layer, (free) => removeUnlessTakenOver(sql, free));
    }
    return left;
  }

  /** One layer that cannot be dealt with, say because a server does not answer, must not stand for all others. */
  async function trying(layer: TidyLayer, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      log.warn({ layerId: layer.id, error: messageOf(error) }, 'a layer could not be cleared away');
    }
  }

  /** A process may have died between a freeze and its journal. */
  async function computeMissingJournals(sql: Sql): Promise<void> {
    const { rows } = await query<{ id: string }>`
      SELECT points.id FROM points JOIN layers ON layers.id = layer_id WHERE journal IS NULL AND state IN ('frozen', 'merging')`.execute(
      sql,
    );
    for (const { id } of rows) if (!stopped) await journals.ensure(id);
  }

  /** A merge makes the next one of its chain possible. One that could not be done now is not tried again in this run. */
  async function mergeAll(sql: Sql, how: Eagerness): Promise<void> {
    const refused = new Set<string>();
    let lacksSpace = false;
    let plan = await planMerges(sql);
    let byHome = mergesByHome(plan);
    const isDue = ({ younger: { id, home } }: MergePlan): boolean =>
      postponed.mayRun(id) && restless.mayMerge(home, byHome.get(home)?.length ?? 0);
    for (;;) {
      const next = plan.find((merge) => !refused.has(merge.younger.id) && (how === 'all' || isDue(merge)));
      if (next === undefined || stopped) break;
      const merging = merges.run(next);
      await clearDuring(merging, sql, [next.older, next.younger, next.child]);
      const outcome = await merging;
      if (outcome === 'merged') {
        plan = await planMerges(sql);
        byHome = mergesByHome(plan);
      } else refused.add(next.younger.id);
      lacksSpace ||= outcome === 'no-space';
      if (outcome === 'interrupted') postponed.postpone(next.younger.id);
      else postponed.forget(next.younger.id);
    }
    const left = plan.filter(({ younger }) => !refused.has(younger.id));
    for (const delayMs of [
      postponed.dueInMs(),
      restless.restInMs(left.map(({ younger }) => younger.home)),
      lacksSpace ? retryDelayMs : undefined,
    ]) {
      if (delayMs !== undefined) nudgeIn(delayMs);
    }
  }

  const mergesByHome = (plan: readonly MergePlan[]): ReadonlyMap<string, readonly MergePlan[]> =>
    Map.groupBy(plan, ({ younger }) => younger.home);

  async function planMerges(sql: Sql): Promise<readonly MergePlan[]> {
    const layers = await loadTidyLayers(sql);
    postponed.keep(layers.map(({ id }) => id));
    return planTidy(layers).merge;
  }

  async function clearDuring(merging: Promise<unknown>, sql: Sql, layers: readonly LayerRow[]): Promise<void> {
    let isOver = false;
    const end = (): void => {
      isOver = true;
      wish.resolve();
    };
    merging.then(end, end);
    for (;;) {
      await wish.promise;
      wish = Promise.withResolvers<void>();
      if (isOver) return;
      await clear(sql, layers).catch((error: unknown) =>
        log.warn({ error: messageOf(error) }, 'clearing away layers failed during a merge'),
      );
    }
  }

  /**
   * A layer that was planned and never finished. One with a held point on it is being written, and belongs to the holder. Any other overlay is made
   * under its volume's lock, from beginning to end: when we have the lock and it is still only planned, nobody will finish it (a repeat plans
   * it anew). False: somebody works on the volume.
   */
  async function examine(layer: TidyLayer): Promise<boolean> {
    if (layer.named) return true;
    if (layer.format === 'raw') {
      await doom(database.sql, layer);
      return true;
    }
    const attempt = await locks.tryWithVolume(layer.home, async (sql) => {
      const disk = await findDisk(sql, layer.home);
      if (disk?.exported !== undefined) await exports.follow(sql, disk);
      await doom(sql, layer);
      return true;
    });
    return attempt ?? false;
  }

  async function doom(sql: Sql, layer: LayerRow): Promise<void> {
    await sql.updateTable('layers').set({ state: 'doomed' }).where('id', '=', layer.id).where('state', '=', 'planned').execute();
  }

  /**
   * Whoever takes up what made a layer, and was interrupted, takes over its row and makes its file anew, under the lock of its volume. So a layer that was
   * given up is removed under that lock, all of it. The others were finished, and nobody makes them again. False: somebody works on the volume.
   */
  async function removeUnlessTakenOver(sql: Sql, layer: TidyLayer): Promise<boolean> {
    if (layer.state !== 'doomed') {
      await remove(sql, layer);
      return true;
    }
    const attempt = await locks.tryWithVolume(layer.home, async (own) => {
      await remove(own, layer);
      return true;
    });
    if (attempt === undefined) nudgeIn(busyDelayMs);
    return attempt ?? false;
  }

  async function remove(sql: Sql, layer: TidyLayer): Promise<void> {
    const doomed = await sql.transaction().execute(async (tx) => {
      await lockTree(tx, 'alone');
      const { rows } = await query`
        UPDATE layers SET state = 'doomed'
        WHERE id = ${layer.id} AND state IN ('frozen', 'merging', 'doomed')
          AND NOT EXISTS (SELECT FROM layers AS child WHERE child.parent_id = layers.id)
          AND NOT EXISTS (SELECT FROM volumes WHERE top_layer_id = layers.id)
          AND NOT EXISTS (SELECT FROM points JOIN point_holds ON point_id = points.id WHERE layer_id = layers.id)
        RETURNING id`.execute(tx);
      if (rows.length === 0) return false;
      await tx.updateTable('points').set({ layer_id: null }).where('layer_id', '=', layer.id).execute();
      return true;
    });
    if (!doomed) return;
    crashPoint('tidy:doomed');
    try {
      await backend.removeLayer(layerOf(layer));
    } catch (error) {
      // A server may still have an overlay open that an interrupted freeze handed to it. It lets go of it when it ends.
      log.info({ layerId: layer.id, error: messageOf(error) }, 'a layer cannot be removed yet');
      return;
    }
    crashPoint('tidy:removed');
    await deleteLayer(sql, layer.id);
  }

  async function tidy(how: Eagerness = 'all'): Promise<Tidied | undefined> {
    if (how === 'all') wanted = how;
    // A call during a run waits for that run and starts another, which all who wait share: what they did before the call shall be seen.
    await running;
    running ??= locks
      .tryTidy((sql) => {
        const eagerness = wanted;
        wanted = 'what is due';
        return tidyAlone(sql, eagerness);
      })
      .finally(() => {
        running = undefined;
      });
    return await running;
  }

  function nudgeIn(delayMs: number): void {
    const atMs = performance.now() + delayMs;
    if (stopped || (nudged !== undefined && nudged.atMs <= atMs)) return;
    clearTimeout(nudged?.timer);
    const timer = setTimeout(() => {
      nudged = undefined;
      wish.resolve();
      tidy('what is due').catch((error: unknown) => {
        log.warn({ error: messageOf(error) }, 'tidying the layers failed; it runs again later');
        nudgeIn(retryDelayMs);
      });
    }, delayMs);
    nudged = { timer, atMs };
    timer.unref();
  }

  return {
    tidy: () => tidy(),
    nudge: () => nudgeIn(nudgeDelayMs),
    async stop() {
      stopped = true;
      clearTimeout(nudged?.timer);
      await merges.stop();
      await running?.catch(() => undefined);
    },
  };
}
