/**
 * The disk of a restore: an overlay of what differs, on what the volume holds, or a whole new base.
 *
 * For the overlay the volume's disk is frozen first. It is compared in the data mover, which reads only what may differ when the journals tell it.
 * A disk that cannot be read, because a layer is damaged or gone, is a reason to restore, not a reason to fail: then a base is written as for a new
 * volume. That this was decided is noted before the base is begun, so that a repeat does not decide otherwise.
 */
import type { DiskSource, LayerTarget } from '../../engine/disk/contract.ts';
import { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { Reservation } from '../../engine/space/contract.ts';
import type { RestoreCallOptions, RestoreOntoOrder } from '../../engine/transfer/contract.ts';
import { VolumeBackendError } from '../../engine/volumes/errors.ts';
import { messageOf } from '../../lib/errors.ts';
import { ProcessError } from '../../lib/processes.ts';
import { inTurns } from '../../lib/steps.ts';
import { auditText } from './audit-finding.ts';
import { explained, withNewMover } from './reasons.ts';
import { type RestoreContext as Context, type FreezeOutput, gib, holderOf, type RestoreJobDeps, type WriteNote } from './restore-work.ts';

/** The volume's own disk cannot be read. */
class DiskUnreadable extends Error {}

export async function freeze(deps: RestoreJobDeps, context: Context): Promise<FreezeOutput> {
  const { onto, volumeId } = context.input;
  // Restores that began before there were overlays have no such plan.
  if (!onto) return { isFrozen: false };
  const plan = { pointId: onto.frozenPointId, topLayerId: onto.frozenTopLayerId, holder: holderOf(context) };
  return await explained(context.signal, async () => {
    try {
      await context.effect('freeze', () => deps.disks.freeze(volumeId, plan));
      return { isFrozen: true };
    } catch (error) {
      if (context.signal.aborted || !isDiskBroken(error)) throw error;
      deps.log.warn({ volumeId, error: messageOf(error) }, 'the disk of a volume cannot be frozen: a restore makes a new one');
      return { isFrozen: false };
    }
  });
}

/** Returns what was noted on the way. */
export async function write(deps: RestoreJobDeps, context: Context): Promise<WriteNote | undefined> {
  await explained(context.signal, () => writeDisk(deps, context));
  return context.output<WriteNote>('write');
}

async function writeDisk(deps: RestoreJobDeps, context: Context): Promise<void> {
  const { input, signal } = context;
  const isFrozen = context.output<FreezeOutput>('freeze')?.isFrozen ?? false;
  const wasUnreadable = context.output<WriteNote>('write')?.isUnreadable ?? false;
  if (isFrozen && !wasUnreadable) {
    try {
      return await writeOverlay(deps, context);
    } catch (error) {
      if (signal.aborted || !(error instanceof DiskUnreadable || isDiskBroken(error))) throw error;
      deps.log.warn(
        { volumeId: input.volumeId, error: messageOf(error) },
        'the disk of a volume cannot be read: a restore makes a new one',
      );
      await context.note({ isUnreadable: true });
    }
  }
  await writeBase(deps, context);
}

/** Gives up what `freeze` and `write` hold, so that it is cleared away. */
export async function release(deps: RestoreJobDeps, context: Context, pointId: string | undefined): Promise<void> {
  if (pointId === undefined) return;
  await deps.database.transact((tx) => deps.disks.release(tx, pointId, holderOf(context)));
}

/** A layer of the disk is not there, or is damaged so that the tools refuse it. */
function isDiskBroken(error: unknown): boolean {
  if (error instanceof ProcessError) return error.failure === 'failed';
  return error instanceof VolumeBackendError && ['missing-layer', 'failed', 'gone'].includes(error.kind);
}

async function writeOverlay(deps: RestoreJobDeps, context: Context): Promise<void> {
  const { input, signal } = context;
  if (!input.onto) throw new Error('there is no plan for an overlay');
  const { overlayLayerId, frozenPointId } = input.onto;
  const plan = { ...basePlan(context), layerId: overlayLayerId, belowPointId: frozenPointId };
  const fill = (target: LayerTarget, source: DiskSource): Promise<ExtentSet> => fillOverlay(deps, context, target, source);
  await context.effect('overlay', () => withNewMover(signal, () => deps.disks.createOverlay(plan, fill)));
  // Noted, because a repeat finds the overlay made and does not audit again.
  const finding = context.output<WriteNote>('write')?.finding;
  if (finding !== undefined) await context.effect('distrust', () => deps.disks.distrust(frozenPointId, finding));
}

async function fillOverlay(deps: RestoreJobDeps, context: Context, target: LayerTarget, source: DiskSource): Promise<ExtentSet> {
  const { input } = context;
  const order: RestoreOntoOrder = {
    ...(await addressOf(deps, context)),
    // An extension that went wrong may have left a larger disk than the volume says.
    current: { ...source, sizeBytes: target.sizeBytes },
    target,
    ...(await knownOf(deps, context)),
  };
  const outcome = await withReserved(deps, context, target.path, (options) => deps.mover.restoreOnto(order, options));
  if (outcome.kind === 'unreadable') throw new DiskUnreadable(outcome.reason);
  mustBeTheBackup(context, outcome.root);
  const { written, ...figures } = outcome;
  const { backupId, volumeId } = input;
  deps.log.info({ backupId, volumeId, asked: order.known === undefined ? 'all' : 'changes', ...figures }, 'a backup was restored');
  const finding = outcome.audit?.finding;
  if (finding !== undefined) {
    deps.log.error({ backupId, volumeId, ...figures }, auditText('a restore', finding));
    await context.note({ finding: { ...finding } });
  }
  return await inTurns(ExtentSet.decodeSteps(Buffer.from(written, 'base64')));
}

/** What the repository knows of the volume's disk, asked anew on each attempt. */
async function knownOf(deps: RestoreJobDeps, { input }: Context): Promise<Pick<RestoreOntoOrder, 'known'>> {
  const { onto, repositoryId, domain } = input;
  const since = onto && (await deps.disks.changesSince(onto.frozenPointId, { repositoryId, domain }));
  if (!since) return {};
  const changed = await inTurns(since.changed.encodeSteps());
  return { known: { session: since.session, root: since.root, changed: changed.toString('base64') } };
}

async function writeBase(deps: RestoreJobDeps, context: Context): Promise<void> {
  const { signal } = context;
  const fill = async ({ path, sizeBytes }: LayerTarget): Promise<ExtentSet> => {
    const order = { ...(await addressOf(deps, context)), targetPath: path, targetSizeBytes: sizeBytes };
    const outcome = await withReserved(deps, context, path, (options) => deps.mover.restore(order, options));
    mustBeTheBackup(context, outcome.root);
    return await inTurns(ExtentSet.decodeSteps(Buffer.from(outcome.allocated, 'base64')));
  };
  await context.effect('base', () => withNewMover(signal, () => deps.disks.createBase(basePlan(context), fill)));
}

function basePlan(context: Context) {
  const { baseLayerId, pointId, volumeId, volumeSizeGib } = context.input;
  return { layerId: baseLayerId, pointId, home: volumeId, sizeBytes: volumeSizeGib * gib, holder: holderOf(context) };
}

async function addressOf(deps: RestoreJobDeps, { input }: Context) {
  return { repository: await deps.repositories.addressOf(input.repositoryId), domain: input.domain, session: input.session };
}

function mustBeTheBackup({ input }: Context, root: string): void {
  if (root !== input.root) throw new Error('the restored disk is not the one that was backed up');
}

/** What the mover is going to write is reserved before its first byte, and for as long as it writes. */
async function withReserved<T>(
  deps: RestoreJobDeps,
  context: Context,
  path: string,
  work: (options: RestoreCallOptions) => Promise<T>,
): Promise<T> {
  let reserved: Reservation | undefined;
  let isOver = false;
  const admit = async (bytes: number): Promise<void> => {
    reserved = await deps.space.reserve({ path, bytes, purpose: 'the restore' });
    // A cancel does not wait for it.
    if (isOver) reserved.release();
  };
  try {
    return await work({
      signal: context.signal,
      admit,
      onProgress: (doneBytes, totalBytes) => context.progress({ doneBytes, totalBytes }),
    });
  } finally {
    isOver = true;
    reserved?.release();
  }
}
