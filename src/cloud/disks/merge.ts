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
 * When nobody has the chain open, its files are folded (`backend.merge`). When it is open in the server of one volume, and nowhere else, that
 * server folds them (`backend.mergeExport`). Otherwise the merge waits. The marks of those who open chains (rows of exports, holds of readers) and
 * the mark here are made under the lock of the tree, so one side always sees the other; who wants to open a chain then has the merge cancelled.
 *
 * A server that merged is ahead of the rows until they are written; `catchUp` makes them follow, whoever asks the server next.
 */
import { type Reservation, SpaceError } from '../../engine/space/contract.ts';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { Journals } from './journal.ts';
import { type DiskState, deleteLayer, isUnsettled, type LayerRow, layerOf, loadDisk } from './layer-store.ts';
import type { Sql, VolumeLocks } from './locks.ts';
import { ensureJournalsOn, type MergePlan, mark, record, unmark } from './merge-rows.ts';

/**
 * `interrupted`: somebody needs the disk more urgently, so that it is worth another attempt later. `no-space`: another attempt is worth it whenever there
 * may be some. `refused`: it would fail again.
 */
export type MergeOutcome = 'merged' | 'interrupted' | 'no-space' | 'refused';

export interface Merges {
  run(plan: MergePlan): Promise<MergeOutcome>;
  /** Asks a merge that holds the volume's lock, or is about to take it, to give it up. */
  cancelOfVolume(volumeId: string): void;
  /** Returns once no merge works on the chain. Its layers may be others then. */
  leave(chain: readonly LayerRow[]): Promise<void>;
  /** Writes the rows of merges that a volume's server completed, from what it serves. Under the volume's lock. */
  catchUp(sql: Sql, disk: DiskState, servedIds: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

interface RunningMerge {
  readonly youngerId: string;
  readonly volumeId: string | undefined;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

export interface MergesDeps {
  readonly database: Database;
  readonly backend: VolumeBackend;
  readonly locks: VolumeLocks;
  readonly journals: Journals;
  /** See `exports.ts`, which in turn needs the merges. */
  readonly follow: (sql: Sql, disk: DiskState) => Promise<DiskState>;
  readonly log: Log;
}

const neverAborted = new AbortController().signal;

export function createMerges({ database, backend, locks, journals, follow, log }: MergesDeps): Merges {
  /** `tidy` runs alone, and merges one by one. */
  let running: RunningMerge | undefined;
  let stopped = false;

  async function begin(plan: MergePlan, volumeId: string | undefined, signal: AbortSignal): Promise<MergeOutcome> {
    const space = await takeSpace(plan);
    if (space === undefined) return 'no-space';
    try {
      await ensureJournalsOn(plan, database.sql, journals);
      const { server } = plan;
      const work = (sql: Sql): Promise<MergeOutcome> =>
        server === null ? mergeFiles(sql, plan, signal) : mergeServed(sql, plan, server, signal);
      const outcome = await (volumeId === undefined ? database.sql.connection().execute(work) : locks.tryWithVolume(volumeId, work));
      // Nothing reads its file any more, so nobody has to wait for this.
      if (outcome === 'merged') await removeFile(plan.younger);
      return outcome ?? 'interrupted';
    } finally {
      space.release();
    }
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

  async function mergeFiles(sql: Sql, plan: MergePlan, signal: AbortSignal): Promise<MergeOutcome> {
    const { older, younger, child } = plan;
    if (signal.aborted) return 'interrupted';
    if (!(await mark(sql, plan))) return 'refused';
    try {
      crashPoint('merge:marked');
      await backend.merge(layerOf(older), layerOf(younger), layerOf(child), { signal });
      crashPoint('merge:folded');
    } catch (error) {
      await unmark(sql, plan);
      return failed(plan, error, signal);
    }
    return await complete(sql, plan);
  }

  async function mergeServed(sql: Sql, plan: MergePlan, volumeId: string, signal: AbortSignal): Promise<MergeOutcome> {
    if (signal.aborted) return 'interrupted';
    // The backend makes sure that the server serves this chain. Asking twice would keep a snapshot waiting that wants the volume now.
    const loaded = await loadDisk(sql, volumeId);
    const { chain, exported } = isUnsettled(loaded) ? await follow(sql, loaded) : loaded;
    // It ended, say: then the files can be merged.
    if (exported === undefined || exported.readOnly || signal.aborted) return 'interrupted';
    if (!(await mark(sql, plan))) return 'refused';
    const [older, younger] = [layerOf(plan.older), layerOf(plan.younger)];
    try {
      crashPoint('merge:marked');
      await backend.mergeExport(exported.target, chain.map(layerOf), older, younger, { signal });
      crashPoint('merge:folded');
    } catch (error) {
      // After an abort everything is as it was, and whoever asked for it waits. Else the server tells how far it came.
      const settled = error === signal.reason ? loaded : await settle(sql, volumeId);
      if (settled === undefined) return failed(plan, error, signal);
      await unmark(sql, plan);
      return settled.exported === undefined ? 'interrupted' : failed(plan, error, signal);
    }
    return await complete(sql, plan);
  }

  /** When the server cannot be asked, the mark stays: whoever reaches it next looks whether the merge is complete. */
  async function settle(sql: Sql, volumeId: string): Promise<DiskState | undefined> {
    try {
      return await follow(sql, await loadDisk(sql, volumeId));
    } catch (error) {
      log.warn({ volumeId, error: messageOf(error) }, 'the server of a disk does not say what became of a merge');
      return undefined;
    }
  }

  function failed({ younger }: MergePlan, error: unknown, signal: AbortSignal): MergeOutcome {
    if (signal.aborted) return 'interrupted';
    log.warn({ layerId: younger.id, error: messageOf(error) }, 'a layer could not be merged');
    return error instanceof SpaceError ? 'no-space' : 'refused';
  }

  async function complete(sql: Sql, plan: MergePlan): Promise<MergeOutcome> {
    await record(sql, plan);
    crashPoint('merge:recorded');
    return 'merged';
  }

  async function removeFile(younger: LayerRow): Promise<void> {
    await backend.removeLayer(layerOf(younger));
    await deleteLayer(database.sql, younger.id);
  }

  return {
    async run(plan) {
      if (stopped) return 'interrupted';
      const abort = new AbortController();
      const { promise: ended, resolve: end } = Promise.withResolvers<void>();
      // Without a server only the file of a top is written to by others; and nobody may freeze, grow or serve it meanwhile.
      const volumeId = plan.server ?? (plan.child.state === 'top' ? plan.child.home : undefined);
      running = { youngerId: plan.younger.id, volumeId, abort, ended };
      try {
        return await begin(plan, volumeId, abort.signal);
      } catch (error) {
        // One damaged layer must not keep all others from being merged.
        return failed(plan, error, abort.signal);
      } finally {
        running = undefined;
        end();
      }
    },
    cancelOfVolume(volumeId) {
      if (running?.volumeId === volumeId) running.abort.abort();
    },
    async leave(chain) {
      const merging = chain.filter((layer) => layer.state === 'merging');
      if (merging.some(({ id }) => id === running?.youngerId)) {
        running?.abort.abort();
        await running?.ended;
      } else if (merging.length > 0) {
        await locks.afterTidy();
      }
    },
    async catchUp(sql, { volumeId, chain, exported }, servedIds) {
      if (exported === undefined || exported.readOnly) return;
      const served = new Set(servedIds);
      let known = chain;
      for (const younger of chain.filter(({ id }) => !served.has(id))) {
        const at = known.indexOf(younger);
        const [older, child] = [known[at - 1], known[at + 1]];
        if (older === undefined || child === undefined)
          throw new Error(`the server of volume ${volumeId} does not serve layer ${younger.id}`);
        await backend.mergeExport(exported.target, known.map(layerOf), layerOf(older), layerOf(younger), { signal: neverAborted });
        // Its file goes with the next `tidy`.
        await record(sql, { older, younger, child });
        log.info({ volumeId, layerId: younger.id }, 'completed the rows of a merge in a server');
        known = known.filter((layer) => layer !== younger);
      }
    },
    async stop() {
      stopped = true;
      running?.abort.abort();
      await running?.ended;
    },
  };
}
