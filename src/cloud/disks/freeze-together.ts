/**
 * Freezing several disks at one moment, under the locks of all their volumes.
 *
 * Nothing happens to disks that nobody has open for writing, so their points may be made at any time. Of the others:
 *   1. rows and overlays are prepared, one disk after the other: parts 1 and 2 of freeze.ts;
 *   2. the servers hold back what clients write, all are switched over, and writes go on: this is the moment, of all of them;
 *   3. rows follow, of each disk: part 4.
 *
 * A pause ends by itself, so that clients are not held up when this process dies or stalls. Hence it is looked at once the last server has answered:
 * when it may have been over by then, the points are of different moments, and that is a failure. Should this process die before it knows, a repeat could
 * see that the points were made, but not when: so they are marked as unproven when they are planned, and the marks go when all of it is recorded. A failure
 * may leave points that were made; the caller releases all of them.
 *
 * A server that died is found here at the latest. Its disk does not change any more: what is left is done without it, with what it left. That is what
 * a power cut at its death would have left: what it had acknowledged and nobody had flushed may be missing.
 */
import { writePauseMsMax } from '../../engine/volumes/contract.ts';
import { VolumeBackendError } from '../../engine/volumes/errors.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { conflict, messageOf, ProductError } from '../../lib/errors.ts';
import type { FreezeOfOne, PointConsistency } from './contract.ts';
import { type FreezeDeps, freezeDisk, prepareFreeze, recordFreeze, settleForFreeze, switchServer } from './freeze.ts';
import { type DiskState, type ExportRow, type FreezeStart, layerOf, loadDisk, loadForFreeze } from './layer-store.ts';
import type { Sql } from './locks.ts';
import { isAnyUnproven, markProven } from './point-store.ts';

const pauseMsMin = 2_000;
/** A switch takes 30 to 150 ms. */
const pauseMsPerDisk = 200;

/** A disk that a server has open for writing. */
interface OpenDisk {
  readonly plan: FreezeOfOne;
  readonly disk: DiskState & { readonly exported: ExportRow };
}

/** Returns the points that it made: all of them, or none when all had been made before. */
export async function freezeTogether(deps: FreezeDeps, sql: Sql, plans: readonly FreezeOfOne[]): Promise<string[]> {
  const starts: (FreezeStart & { readonly plan: FreezeOfOne })[] = [];
  for (const plan of plans) starts.push({ plan, ...(await settleForFreeze(deps, sql, plan.volumeId, plan.pointId)) });
  if (starts.some(({ isMade }) => isMade)) {
    if (!starts.every(({ isMade }) => isMade) || (await isAnyUnproven(sql, plans))) throw differentMoments();
    return [];
  }
  const open = starts.filter((start): start is FreezeStart & OpenDisk => isOpenForWriting(start.disk));
  await freezeOpen(deps, sql, open);
  // Those that are open were made by now, unless there is one alone, or its server died.
  for (const plan of plans) await freezeDisk(deps, sql, plan.volumeId, { ...plan, isUnproven: true });
  await markProven(sql, plans);
  return plans.map(({ pointId }) => pointId);
}

const isOpenForWriting = (disk: DiskState): boolean => disk.exported !== undefined && !disk.exported.readOnly;

/** A server that cannot hold writes back says what helps. */
const inWordsForUsers = (error: unknown): unknown =>
  error instanceof VolumeBackendError && error.kind === 'mismatch'
    ? conflict(`The volumes cannot be frozen together: ${error.message}.`, error)
    : error;

const differentMoments = (cause?: unknown): Error => conflict('The volumes were frozen at different moments.', cause);

/** One alone has no other that it could differ from. */
async function freezeOpen(deps: FreezeDeps, sql: Sql, open: readonly OpenDisk[]): Promise<void> {
  if (open.length < 2) return;
  const switches: (() => Promise<void>)[] = [];
  let wasAnySwitched = false;
  for (const { disk, plan } of open) {
    const overlay = await prepareFreeze(deps, sql, disk, { ...plan, isUnproven: true });
    switches.push(() => {
      wasAnySwitched = true;
      return switchServer(deps, disk, overlay);
    });
  }
  // Before anybody waits for it.
  await Promise.all(open.map(({ disk }) => deps.backend.writeOut(disk.exported.target, disk.chain.map(layerOf))));
  let stood: PointConsistency;
  try {
    stood = await deps.quiescence.around(
      open.map(({ plan }) => plan.volumeId),
      () => inOnePause(deps, open, switches),
    );
  } catch (error) {
    return await freezeOpen(deps, sql, await withoutDead(deps, sql, open, { error, wasAnySwitched }));
  }
  for (const { disk, plan } of open) {
    await recordFreeze(sql, disk.volumeId, { frozenId: disk.top.id, topId: plan.topLayerId, pointId: plan.pointId, ...stood });
  }
}

async function inOnePause({ backend }: FreezeDeps, open: readonly OpenDisk[], switches: readonly (() => Promise<void>)[]): Promise<void> {
  const pauseMs = Math.min(pauseMsMin + pauseMsPerDisk * open.length, writePauseMsMax);
  const targets = open.map(({ disk }) => disk.exported.target);
  const pause = await backend.pauseWrites(targets, pauseMs);
  try {
    crashPoint('freeze-together:paused');
    const results = await Promise.allSettled(switches.map((work) => work()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    if (!pause.holds()) throw conflict(`Freezing the volumes took more than the ${pauseMs} ms for which their clients may be held up.`);
    crashPoint('freeze-together:switched');
  } finally {
    await pause.resume();
  }
}

/**
 * The disks whose servers live, when some died before any disk was switched; else throws. What is planned on a disk whose server is dead counts as made:
 * it holds what it held at its death, unless it was switched before that, and its clients wrote more.
 */
async function withoutDead(
  deps: FreezeDeps,
  sql: Sql,
  open: readonly OpenDisk[],
  { error, wasAnySwitched }: { error: unknown; wasAnySwitched: boolean },
): Promise<OpenDisk[]> {
  deps.log.warn({ volumeIds: open.map(({ plan }) => plan.volumeId), error: messageOf(error) }, 'freezing open disks together failed');
  const now: (FreezeStart & { readonly plan: FreezeOfOne })[] = [];
  for (const { plan } of open) {
    await deps.follow(sql, await loadDisk(sql, plan.volumeId));
    now.push({ plan, ...(await loadForFreeze(sql, plan.volumeId, plan.pointId)) });
  }
  const living = now.filter((start): start is FreezeStart & OpenDisk => isOpenForWriting(start.disk));
  if ((wasAnySwitched ? now : living).some(({ isMade }) => isMade)) throw error instanceof ProductError ? error : differentMoments(error);
  if (living.length === open.length) throw inWordsForUsers(error);
  return living;
}
