/**
 * Holds back what clients write to several served disks, so that they can be frozen at one moment (see gate-nodes.ts for what a daemon brings along).
 *
 * A limit is a leaky bucket: once it is fuller than a tenth of a second's worth, whoever comes waits until it has leaked to that. So a limit is set, and one
 * discard on the meter fills the bucket for the whole time. What QEMU 7.2 does beyond that, and what it means here:
 *  - writes, zeroes and discards wait; reads and flushes, which change nothing, pass;
 *  - setting a limit empties the bucket, so each pause begins at nothing;
 *  - a request that passed before is completed, at the latest, when its disk is drained for the switch to an overlay: it is below that overlay;
 *  - while a disk is drained its own gate is open. What waited there goes below the overlay as well, and may be acknowledged before the other disks are
 *    switched; they hold back whatever depends on it until they are switched themselves, or all are open again;
 *  - taking the limit away does not wake those who wait. A drain does, with which even a transaction of nothing begins.
 *
 * The bucket leaks whether this process lives or not: clients then go on after the time of the pause, at the pace of the limit, which is that of a fast
 * disk, until somebody takes the limit away.
 */
import { crashPoint } from '../../../lib/crash-points.ts';
import { messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import type { QmpClient } from '../../qemu/qmp.ts';
import type { DiskExport, WritePause } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { queryServedNode } from './export-graph.ts';
import { withMonitor } from './exports.ts';
import { gateNode, gatePath, meterBytes } from './gate-nodes.ts';
import { connectMeter, type WriteMeter } from './write-meter.ts';

export interface WritePauseDeps {
  readonly log: Log;
  /** Runs work while nobody else talks to the daemon of this export. */
  readonly alone: <T>(exportId: string, work: () => Promise<T>) => Promise<T>;
}

const bytesPerSecond = 512 * 1024 * 1024;
const sectorBytes = 512;
/** What is let through although the limit is reached: so QEMU defines it. */
const burstMs = 100;
const slackMs = 100;
const spendTimeoutMs = 5_000;
const drainTimeoutMs = 60_000;

interface ClosedGate {
  readonly target: DiskExport;
  readonly meter: WriteMeter;
  /** By `performance.now()`. */
  readonly closedUntilMs: number;
}

export async function pauseWrites(deps: WritePauseDeps, targets: readonly DiskExport[], holdMs: number): Promise<WritePause> {
  const attempts = await Promise.allSettled(targets.map((target) => closeGate(deps, target, holdMs)));
  const closed = attempts.filter((attempt) => attempt.status === 'fulfilled').map((attempt) => attempt.value);
  const failed = attempts.find((attempt) => attempt.status === 'rejected');
  const closedUntilMs = Math.min(...closed.map((gate) => gate.closedUntilMs));
  let resumed: Promise<void> | undefined;
  const pause: WritePause = {
    holds: () => resumed === undefined && performance.now() < closedUntilMs,
    resume() {
      resumed ??= Promise.all(closed.map((gate) => reopen(deps, gate))).then(() => {});
      return resumed;
    },
  };
  if (failed !== undefined) {
    await pause.resume();
    throw failed.reason;
  }
  crashPoint('write-pause:closed');
  return pause;
}

/** A daemon that is gone, or has no gate, holds nothing back. */
export async function resumeWrites(deps: WritePauseDeps, target: DiskExport): Promise<void> {
  await deps
    .alone(target.id, () =>
      withMonitor(target, async (monitor) => {
        if ((await queryServedNode(monitor, target.id)) === gateNode) await openGate(monitor);
      }),
    )
    .catch((error: unknown) => {
      if (!(error instanceof VolumeBackendError) || error.kind !== 'gone') throw error;
    });
}

/** Open again when it rejects, unless the daemon does not listen any more. */
async function closeGate({ alone, log }: WritePauseDeps, target: DiskExport, holdMs: number): Promise<ClosedGate> {
  const bytes = Math.ceil((((holdMs + burstMs + slackMs) / 1000) * bytesPerSecond) / sectorBytes) * sectorBytes;
  if (bytes > meterBytes) throw new RangeError(`writes cannot be held back for ${holdMs} ms`);
  const close = async (monitor: QmpClient): Promise<ClosedGate> => {
    await requireGate(monitor, target);
    // Who still waits there, because somebody died before or in the middle of opening it, is let go first: the discard would wait behind them.
    await openGate(monitor);
    const meter = await connectMeter(target.socketPath);
    try {
      await setLimit(monitor, bytesPerSecond);
      const closedUntilMs = performance.now() + holdMs;
      await meter.spend(bytes, spendTimeoutMs);
      return { target, meter, closedUntilMs };
    } catch (error) {
      await openGate(monitor).catch((failure: unknown) => warn(log, target, failure));
      meter.close();
      throw error;
    }
  };
  return await alone(target.id, () => withMonitor(target, close));
}

async function requireGate(monitor: QmpClient, target: DiskExport): Promise<void> {
  if ((await queryServedNode(monitor, target.id)) === gateNode) return;
  const reason = 'it reads only, or was started by an older version; a new connection starts another';
  throw new VolumeBackendError('mismatch', `the server of the disk of ${target.home} cannot hold writes back: ${reason}`);
}

async function setLimit(monitor: QmpClient, bytes: number): Promise<void> {
  await monitor.execute('qom-set', { path: gatePath, property: 'limits', value: { 'bps-write': bytes } });
}

async function openGate(monitor: QmpClient): Promise<void> {
  await setLimit(monitor, 0);
  await drain(monitor);
}

async function drain(monitor: QmpClient): Promise<void> {
  await monitor.execute('transaction', { actions: [] }, { timeoutMs: drainTimeoutMs });
}

/** Never rejects: a gate that cannot be opened opens by itself. */
async function reopen({ alone, log }: WritePauseDeps, { target, meter }: ClosedGate): Promise<void> {
  const open = async (monitor: QmpClient): Promise<void> => {
    await setLimit(monitor, 0);
    crashPoint('write-pause:unlimited');
    await drain(monitor);
  };
  await alone(target.id, () => withMonitor(target, open)).catch((error: unknown) => warn(log, target, error));
  meter.close();
}

function warn(log: Log, target: DiskExport, error: unknown): void {
  log.warn({ exportId: target.id, reason: messageOf(error) }, 'a pause of writes could not be ended; it ends by itself');
}
