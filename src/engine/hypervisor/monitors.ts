/**
 * Connections to the monitors of machines.
 *
 * A monitor serves one client. A machine that is watched keeps one connection open, for events, and all calls use it in turns; for another one, each
 * call connects. When somebody else holds the monitor, calls go to the rescue monitor. Every wait has an end: a QEMU that hangs makes calls fail.
 */
import { messageOf } from '../../lib/errors.ts';
import { createTurns } from '../../lib/turns.ts';
import { connectQmp, type QmpClient, QmpError, type QmpEvent, type QmpOptions } from '../qemu/qmp.ts';
import { type Machine, MachineError } from './contract.ts';
import { type MachineFolder, machineFolderOf } from './machine-folder.ts';
import { isMachineAlive, waitForMachineEnd } from './machine-process.ts';

const connectTimeoutMs = 3_000;
const commandTimeoutMs = 10_000;
/** A process closes its connections before it is gone. */
const endTimeoutMs = 2_000;

export interface HeldMonitorListener {
  onEvent(event: QmpEvent): void;
  /** Once: the connection is over, or was let go of. */
  onEnd(): void;
}

export interface Monitors {
  /** Rejects with a `MachineError` when there is no answer, and with `QmpError` `refused` turned into `failed`. */
  use<T>(machine: Machine, work: (monitor: QmpClient) => Promise<T>): Promise<T>;
  /** Keeps a connection open from now on. */
  hold(machine: Machine, listener: HeldMonitorListener): Promise<void>;
  release(machineId: string): void;
}

export function createMonitors(runtimeDir: string): Monitors {
  const inTurn = createTurns<string>();
  const held = new Map<string, QmpClient>();

  async function withConnection<T>(machine: Machine, work: (monitor: QmpClient) => Promise<T>): Promise<T> {
    const kept = held.get(machine.id);
    if (kept !== undefined) return await work(kept);
    const monitor = await connectEither(machineFolderOf(runtimeDir, machine.id));
    try {
      return await work(monitor);
    } finally {
      monitor.close();
    }
  }

  return {
    use: (machine, work) =>
      inTurn(machine.id, async () => {
        if (!isMachineAlive(machine)) throw machineGone();
        try {
          return await withConnection(machine, work);
        } catch (error) {
          throw await explain(machine, error);
        }
      }),
    hold: (machine, { onEvent, onEnd }) =>
      inTurn(machine.id, async () => {
        if (held.has(machine.id)) return;
        if (!isMachineAlive(machine)) throw machineGone();
        let client: QmpClient | undefined;
        const forget = (): void => {
          if (client === undefined) return;
          if (held.get(machine.id) === client) held.delete(machine.id);
          onEnd();
        };
        try {
          client = await connectEither(machineFolderOf(runtimeDir, machine.id), { onEvent, onEnd: forget });
          held.set(machine.id, client);
        } catch (error) {
          throw await explain(machine, error);
        }
      }),
    release(machineId) {
      held.get(machineId)?.close();
      held.delete(machineId);
    },
  };
}

export const machineGone = (): MachineError => new MachineError('gone', 'the machine has ended');

async function connectEither(folder: MachineFolder, options: Pick<QmpOptions, 'onEvent' | 'onEnd'> = {}): Promise<QmpClient> {
  const connect = async (path: string): Promise<QmpClient> => patient(await connectQmp(path, { ...options, timeoutMs: connectTimeoutMs }));
  try {
    return await connect(folder.monitorPath);
  } catch (error) {
    if (!(error instanceof QmpError) || error.failure !== 'timed-out') throw error;
    return await connect(folder.rescuePath);
  }
}

/** Whoever greets late does not answer at all; a command may take longer. */
const patient = (client: QmpClient): QmpClient => ({
  ...client,
  execute: (command, args, options) => client.execute(command, args, { timeoutMs: commandTimeoutMs, ...options }),
});

/** A process that ends while it is asked is gone, whatever the connection says. */
async function explain(machine: Machine, error: unknown): Promise<unknown> {
  if (!(error instanceof QmpError)) return error;
  const isOver = await waitForMachineEnd(machine, error.failure === 'disconnected' ? endTimeoutMs : 0);
  return isOver ? machineGone() : new MachineError('failed', `QEMU: ${messageOf(error)}`, { cause: error });
}
