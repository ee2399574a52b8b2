/**
 * Change journals: which ranges of a disk changed from one point to the next.
 *
 * A freeze must take milliseconds, and reading the tables of a layer that holds gigabytes takes longer, so the journal is computed after
 * the freeze, from the frozen layer's file. Until then it is not known, and whoever needs it has it computed. That is possible for as long as the
 * layers between the parent's and the point's are there; merging computes what is missing first. A journal that was lost all the same
 * only makes the way unusable: then everything is read, and nothing is missed.
 */
import { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { ChangesSince } from './contract.ts';
import { everythingBytes, uniteJournals } from './journal-form.ts';
import { chainOf, layerOf } from './layer-store.ts';
import { ancestorsOf, findPoint, journalsOf, setJournal, type TreePoint, wholeTreeOf } from './point-store.ts';
import { findWay, type Way } from './way.ts';

export interface Journals {
  /** Begins to compute a point's journal, and does not wait for it. */
  computeSoon(pointId: string): void;
  /** True once the journal is known; false when it cannot be known any more. */
  ensure(pointId: string): Promise<boolean>;
  changesSince(pointId: string, where: { repositoryId: string; domain: string }): Promise<ChangesSince | undefined>;
  /** Waits for what was begun. */
  idle(): Promise<void>;
}

const journalsAtOnce = 8;
/** Whoever made the snapshot is told of it first. */
const computeDelayMs = 100;

export function createJournals(deps: { database: Database; backend: VolumeBackend; log: Log }): Journals {
  const { database, backend, log } = deps;
  const running = new Map<string, Promise<boolean>>();
  const soon = new Map<NodeJS.Timeout, string>();

  async function compute(pointId: string): Promise<boolean> {
    const point = await findPoint(database.sql, pointId);
    if (point?.journalKnown) return true;
    if (point === undefined || point.layerId === null || point.layerState === 'top' || point.layerState === 'planned') return false;
    const parent = point.parentId === null ? undefined : await findPoint(database.sql, point.parentId);
    if (parent?.layerId === null) return false;
    const chain = await chainOf(database.sql, point.layerId);
    // A merge may have taken the layer away since the point was read. No layers must not pass for no changes.
    if (chain.length === 0) return false;
    const start = parent === undefined ? 0 : chain.findIndex((layer) => layer.id === parent.layerId) + 1;
    if (start === 0 && parent !== undefined) return false;

    const changes: ExtentSet[] = [];
    for (let height = start; height < chain.length; height += 1) {
      const known = await backend.changesOf(chain.slice(0, height + 1).map(layerOf));
      if (known === undefined) return false;
      changes.push(known);
    }
    crashPoint('journal:computed');
    // Not cut off at the point's end: what a smaller point hides is a change for whoever goes on to a larger one.
    await setJournal(database.sql, pointId, point.parentId, await uniteJournals(changes));
    return true;
  }

  async function ensure(pointId: string): Promise<boolean> {
    const already = running.get(pointId);
    if (already !== undefined) return await already;
    const mine = compute(pointId)
      .catch((error: unknown) => {
        log.warn({ pointId, error: messageOf(error) }, 'a change journal could not be computed; backups across it read everything');
        return false;
      })
      .finally(() => running.delete(pointId));
    running.set(pointId, mine);
    return await mine;
  }

  /** Finds a way, has the missing journals on it computed, and looks for another way when that fails. */
  async function knownWay(tree: readonly TreePoint[], startId: string): Promise<Way | undefined> {
    const blocked = new Set(tree.filter((point) => !point.journalKnown && point.layerId === null).map((point) => point.id));
    for (;;) {
      const way = findWay(tree, startId, blocked);
      if (way === undefined) return undefined;
      const missing = way.steps.filter((point) => !point.journalKnown);
      const lost: string[] = [];
      for (const point of missing) if (!(await ensure(point.id))) lost.push(point.id);
      if (lost.length === 0) return way;
      for (const id of lost) blocked.add(id);
    }
  }

  /** A few at a time: a long way may have large ones. */
  async function unitedJournals(pointIds: readonly string[]): Promise<ExtentSet | undefined> {
    let changed = ExtentSet.empty;
    for (let from = 0; from < pointIds.length; from += journalsAtOnce) {
      const asked = pointIds.slice(from, from + journalsAtOnce);
      const journals = await journalsOf(database.sql, asked);
      // A point that was pruned since the way was found, or a damaged journal: nothing is known then.
      const lost = asked.filter((id) => !journals.has(id));
      if (lost.length > 0) {
        log.warn({ pointIds: lost }, 'change journals are damaged or gone; a backup across them reads everything');
        return undefined;
      }
      changed = await uniteJournals([changed, ...journals.values()]);
    }
    return changed;
  }

  return {
    computeSoon(pointId) {
      const timer = setTimeout(() => {
        soon.delete(timer);
        void ensure(pointId);
      }, computeDelayMs);
      soon.set(timer, pointId);
    },
    ensure,
    async changesSince(pointId, where) {
      const way =
        (await knownWay(await ancestorsOf(database.sql, pointId, where), pointId)) ??
        (await knownWay(await wholeTreeOf(database.sql, pointId, where), pointId));
      if (way === undefined) return undefined;
      const changed = await unitedJournals(way.steps.map((point) => point.id));
      // Of a change of everything nothing is left to start from.
      if (changed === undefined || changed.covers(0, everythingBytes)) return undefined;
      return { session: way.end.session, root: way.end.root, changed };
    },
    async idle() {
      for (const [timer, pointId] of soon) {
        clearTimeout(timer);
        void ensure(pointId);
      }
      soon.clear();
      await Promise.all(running.values());
    },
  };
}
