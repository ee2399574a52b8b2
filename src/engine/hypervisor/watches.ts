/**
 * Machines that are watched: each has a connection to its monitor that stays open. What QEMU says becomes what happened to the machine; when the
 * connection ends, either the process has ended, or it is connected to again and asked what was missed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { readLogEnd } from '../qemu/program-start.ts';
import type { QmpEvent } from '../qemu/qmp.ts';
import type { Machine, MachineEvent, MachineState } from './contract.ts';
import { nodeNameOf, readDiskIds } from './machine-disks.ts';
import { machineFolderOf } from './machine-folder.ts';
import { isMachineAlive, waitForMachineEnd } from './machine-process.ts';
import { endedStatuses, gone, queryStatus, readState } from './machine-state.ts';
import type { Monitors } from './monitors.ts';

const againAfterMs = 1_000;
/** Its commands print, too. */
const qemuSays = /\bqemu[a-z0-9_-]*: /;
/** A guest tries one way to restart after the other, and goes on with the next until it is gone: that is one restart. */
const sameResetMs = 1_000;
const endTimeoutMs = 2_000;

type Listener = (event: MachineEvent) => void;

interface Watch {
  readonly machine: Machine;
  listener: Listener;
  /** The listener knows that nothing runs in it. */
  isKnownStopped: boolean;
  /** Why the process is about to end, once that is known. */
  reason: string | undefined;
  resetAt: number;
}

export interface Watches {
  add(machine: Machine, listener: Listener): Promise<MachineState>;
  /** The machine is about to be ended by us. */
  expectEnd(machineId: string, reason: string): void;
  machineIds(): string[];
  stop(): void;
}

export function createWatches({ monitors, runtimeDir, log }: { monitors: Monitors; runtimeDir: string; log: Log }): Watches {
  const watches = new Map<string, Watch>();
  const isCurrent = (watch: Watch): boolean => watches.get(watch.machine.id) === watch;

  function tell(watch: Watch, event: MachineEvent): void {
    if (event.kind === 'stopped') {
      if (watch.isKnownStopped) return;
      watch.isKnownStopped = true;
    }
    if (event.kind === 'reset') {
      const isSame = performance.now() - watch.resetAt < sameResetMs;
      watch.resetAt = performance.now();
      if (isSame) return;
    }
    try {
      watch.listener(event);
    } catch (error) {
      log.error({ machine: watch.machine.id, event: event.kind, reason: messageOf(error) }, 'the listener of a machine failed');
    }
  }

  /** What happens in the background must not end the process. */
  function inBackground(watch: Watch, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (isCurrent(watch)) log.warn({ machine: watch.machine.id, reason: messageOf(error) }, 'a machine cannot be looked at');
    });
  }

  function hear(watch: Watch, { event, data }: QmpEvent): void {
    if (!isCurrent(watch)) return;
    const fields = (data ?? {}) as Readonly<Record<string, unknown>>;
    if (event === 'RESUME') watch.isKnownStopped = false;
    else if (event === 'RESET' && fields.guest === true) tell(watch, { kind: 'reset' });
    else if (event === 'GUEST_PANICKED') tell(watch, { kind: 'stopped', reason: endedStatuses['guest-panicked'] as string });
    else if (event === 'SHUTDOWN' && fields.guest === true) tell(watch, { kind: 'stopped', reason: endedStatuses.shutdown as string });
    else if (event === 'SHUTDOWN') watch.reason ??= `QEMU was told to end (${String(fields.reason)})`;
    else if (event === 'STOP') inBackground(watch, tellIfEnded(watch));
    else if (event === 'BLOCK_IO_ERROR' && fields.action === 'stop') inBackground(watch, tellIoError(watch, fields));
  }

  /** Some ends have no event of their own. */
  async function tellIfEnded(watch: Watch): Promise<void> {
    const reason = endedStatuses[await monitors.use(watch.machine, queryStatus)];
    if (reason !== undefined && isCurrent(watch)) tell(watch, { kind: 'stopped', reason });
  }

  async function tellIoError(watch: Watch, fields: Readonly<Record<string, unknown>>): Promise<void> {
    const diskIds = await monitors.use(watch.machine, readDiskIds).catch(() => []);
    const diskId = diskIds.find((id) => nodeNameOf(id) === fields['node-name']);
    if (isCurrent(watch)) tell(watch, { kind: 'io-error', diskId, isFull: fields.nospace === true });
  }

  async function hold(watch: Watch): Promise<void> {
    await monitors.hold(watch.machine, {
      onEvent: (event) => hear(watch, event),
      onEnd: () => inBackground(watch, followUp(watch)),
    });
  }

  /** The connection is over. */
  async function followUp(watch: Watch): Promise<void> {
    while (isCurrent(watch)) {
      if (await waitForMachineEnd(watch.machine, endTimeoutMs)) return await tellEnd(watch);
      try {
        await hold(watch);
        return await tellMissed(watch);
      } catch (error) {
        log.warn({ machine: watch.machine.id, reason: messageOf(error) }, 'the monitor of a machine does not answer');
        await sleep(againAfterMs, undefined, { ref: false });
      }
    }
  }

  async function tellEnd(watch: Watch): Promise<void> {
    if (!isCurrent(watch)) return;
    const log = await readLogEnd(machineFolderOf(runtimeDir, watch.machine.id).logPath);
    const said = log.split('\n').findLast((line) => qemuSays.test(line));
    const guess = said === undefined ? 'QEMU was killed' : `QEMU ended; the last it said: ${said}`;
    watches.delete(watch.machine.id);
    tell(watch, { kind: 'stopped', reason: watch.reason ?? guess });
  }

  async function tellMissed(watch: Watch): Promise<void> {
    const status = await monitors.use(watch.machine, queryStatus);
    if (!isCurrent(watch)) return;
    const reason = endedStatuses[status];
    if (reason !== undefined) tell(watch, { kind: 'stopped', reason });
    if (status === 'io-error') tell(watch, { kind: 'io-error', diskId: undefined, isFull: false });
  }

  return {
    async add(machine, listener) {
      if (!isMachineAlive(machine)) return gone;
      const watch = { machine, listener, isKnownStopped: false, reason: undefined, resetAt: Number.NEGATIVE_INFINITY };
      // Before the connection, so that no event is lost; an earlier watch of this machine hears no more.
      monitors.release(machine.id);
      watches.set(machine.id, watch);
      try {
        await hold(watch);
        const state = await monitors.use(machine, readState);
        watch.isKnownStopped ||= state.power === 'shut-down';
        return state;
      } catch (error) {
        if (!isMachineAlive(machine)) {
          watches.delete(machine.id);
          return gone;
        }
        // It hangs, and may do so no longer later.
        inBackground(watch, followUp(watch));
        throw error;
      }
    },
    expectEnd(machineId, reason) {
      const watch = watches.get(machineId);
      if (watch !== undefined) watch.reason ??= reason;
    },
    machineIds: () => [...watches.keys()],
    stop() {
      const ids = [...watches.keys()];
      watches.clear();
      for (const id of ids) monitors.release(id);
    },
  };
}
