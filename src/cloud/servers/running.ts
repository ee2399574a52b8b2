/**
 * The machines that run servers: how one comes, goes, and is found again.
 *
 * A server's row names its machine before that is started, so whoever dies leaves word of it. Each start has a new machine id. What works on a server's
 * machine in this process takes turns (`alone`), and `settle` makes the row follow what the machine did by itself, whenever no task is under way.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Hypervisor,
  type Machine,
  type MachineDisk,
  MachineError,
  type MachineEvent,
  type MachineState,
} from '../../engine/hypervisor/contract.ts';
import type { MachineFiles } from '../../engine/hypervisor/machine-files.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { createTurns } from '../../lib/turns.ts';
import type { Database } from '../database/service.ts';
import type { VolumesForServers } from '../volumes/service.ts';
import type { Server, ServerDisk } from './contract.ts';
import { specOf } from './machine-spec.ts';
import { powerStates } from './states.ts';
import { findServer, serversWithMachines, settleStopped, updateServer } from './store.ts';

export interface RunningDeps {
  readonly database: Database;
  readonly hypervisor: Hypervisor;
  readonly volumes: VolumesForServers;
  readonly files: MachineFiles;
  readonly log: Log;
}

export interface RunningServers {
  /** Nobody else in this process does anything with the server's machine meanwhile. */
  alone<T>(serverId: string, work: () => Promise<T>): Promise<T>;
  /** Starts the machine with all disks of the server. Repeatable with the same machine id. */
  start(serverId: string, machineId: string): Promise<void>;
  /** Ends the machine, and the servers of its disks, which stay attached. Repeatable. */
  end(serverId: string): Promise<void>;
  /** Gives a disk to the machine, if there is one; a server that is stopped just has it. Repeatable. */
  plug(server: Server, disk: ServerDisk): Promise<void>;
  /** Makes the row follow what the machine did by itself. */
  settle(serverId: string): Promise<void>;
  /** The same after a task that went well, which a machine that cannot be asked does not make fail. */
  follow(serverId: string): Promise<void>;
  /** At start: finds the machines that outlived the service. Returns the servers that have one. */
  adopt(): Promise<Server[]>;
  machineOf(server: Pick<Server, 'machine'>): Machine | undefined;
  /** Also one that was started by a process that did not live to tell. */
  find(server: Server): Promise<Machine | undefined>;
}

/** A machine that waits for space on the host looks whether there is some again. */
const fullPauseMs = 5_000;

export function createRunningServers(deps: RunningDeps): RunningServers {
  const { database, hypervisor, volumes, files, log } = deps;
  const alone = createTurns<string>();

  const machineOf = ({ machine }: Pick<Server, 'machine'>): Machine | undefined =>
    machine === null || machine.processId === null ? undefined : { id: machine.id, processId: machine.processId };

  async function mustFind(serverId: string): Promise<Server> {
    const server = await findServer(database.sql, serverId);
    if (server === undefined) throw new Error(`server ${serverId} is gone`);
    return server;
  }

  async function served({ attachmentId, volumeId, device, bootIndex }: ServerDisk): Promise<MachineDisk> {
    const { socketPath, exportName, readOnly } = await volumes.connect(attachmentId, `/dev/${device}`);
    return { id: volumeId, device, socketPath, exportName, readOnly, bootIndex: bootIndex !== null && bootIndex >= 0 ? bootIndex : null };
  }

  async function start(serverId: string, machineId: string): Promise<void> {
    await updateServer(database.sql, serverId, { machine: { id: machineId, processId: null } });
    crashPoint('server:machine-planned');
    const server = await mustFind(serverId);
    const staying = server.disks.filter((disk) => !disk.isLeaving);
    // One that fails does not leave the others on their way: what undoes this must find all that was begun.
    const disks = (await Promise.allSettled(staying.map(served))).map(fulfilled);
    const machine = await hypervisor.start(specOf(server, machineId, disks, await files.of(serverId)));
    crashPoint('server:machine-started');
    await updateServer(database.sql, serverId, { machine, powerState: powerStates.running });
    for (const { attachmentId, device } of staying) await volumes.complete(attachmentId, `/dev/${device}`);
    await watch(serverId, machine);
  }

  async function watch(serverId: string, machine: Machine): Promise<MachineState> {
    return await hypervisor.watch(machine, (event) => {
      react(serverId, machine, event).catch((error: unknown) => {
        log.warn({ serverId, event: event.kind, error: messageOf(error) }, 'an event of a machine could not be followed');
      });
    });
  }

  async function react(serverId: string, machine: Machine, event: MachineEvent): Promise<void> {
    if (event.kind === 'reset') return;
    if (event.kind === 'io-error' && event.isFull) return await resumeWhenThereIsSpace(serverId, machine);
    await settle(serverId);
  }

  /** The write that failed is tried again, and fails again while the host is full. */
  async function resumeWhenThereIsSpace(serverId: string, machine: Machine): Promise<void> {
    log.warn({ serverId }, 'a machine waits, because the host has no space for what it writes');
    await pause(fullPauseMs, undefined, { ref: false });
    await alone(serverId, async () => {
      if ((await hypervisor.inspect(machine)).power === 'io-error') await hypervisor.resume(machine);
    });
  }

  async function find({ machine }: Server): Promise<Machine | undefined> {
    if (machine === null) return undefined;
    if (machine.processId !== null) return { id: machine.id, processId: machine.processId };
    return (await hypervisor.listMachines()).find((found) => found.machine?.id === machine.id)?.machine;
  }

  async function endMachine({ machine, disks }: Server): Promise<void> {
    // By its id alone, should nobody have lived to tell its process.
    if (machine !== null) await hypervisor.end({ id: machine.id, processId: machine.processId ?? 0 });
    crashPoint('server:machine-ended');
    for (const { volumeId } of disks) await volumes.disconnect(volumeId);
  }

  async function end(serverId: string): Promise<void> {
    const server = await findServer(database.sql, serverId);
    if (server === undefined) return;
    await endMachine(server);
    await updateServer(database.sql, serverId, { machine: null });
  }

  /** Whatever is under way ends by settling itself, so this is for servers at rest. */
  async function settle(serverId: string): Promise<void> {
    await alone(serverId, async () => {
      const server = await findServer(database.sql, serverId);
      const machine = server === undefined ? undefined : machineOf(server);
      if (server === undefined || machine === undefined || server.taskState !== null) return;
      const { power } = await hypervisor.inspect(machine);
      if (power === 'running' || power === 'paused') return;
      const fault = faults[power];
      log.warn({ serverId, power }, 'a server has stopped by itself');
      await endMachine(server);
      // Both in one statement: a server without a machine is not looked at again.
      await settleStopped(database.sql, serverId, {
        powerState: power === 'shut-down' ? powerStates.shutDown : powerStates.crashed,
        ...(fault !== undefined && { fault: { code: 500, message: fault } }),
      });
    });
  }

  return {
    alone,
    machineOf,
    find,
    start,
    end,
    settle,
    async follow(serverId) {
      await settle(serverId).catch((error: unknown) => log.warn({ serverId, error: messageOf(error) }, 'a machine could not be looked at'));
    },
    async plug(server, disk) {
      const machine = await find(server);
      if (machine !== undefined) await hypervisor.plug(machine, await served(disk));
      await volumes.complete(disk.attachmentId, `/dev/${disk.device}`);
    },
    async adopt() {
      const servers = await serversWithMachines(database.sql);
      const known = new Set(servers.map(({ machine }) => machine?.id));
      // Their rows are gone: nobody could ever reach them again.
      for (const { name, machine } of await hypervisor.listMachines())
        if (machine === undefined || !known.has(machine.id)) await endFound(name);
      for (const server of servers) {
        await adoptOne(server).catch((error: unknown) =>
          log.warn({ serverId: server.id, error: messageOf(error) }, 'a machine could not be adopted'),
        );
      }
      return servers;
    },
  };

  async function endFound(name: string): Promise<void> {
    await hypervisor
      .endFound(name)
      .catch((error: unknown) => log.warn({ name, error: messageOf(error) }, 'a machine of nobody cannot be ended'));
  }

  async function adoptOne(server: Server): Promise<void> {
    const machine = machineOf(server);
    // One that was being started belongs to the job that goes on with it.
    if (machine === undefined) return;
    try {
      const { power } = await watch(server.id, machine);
      // Whether it waits for space or has lost a disk is seen when it tries again.
      if (power === 'io-error') await alone(server.id, () => hypervisor.resume(machine));
    } catch (error) {
      if (!(error instanceof MachineError) || error.kind !== 'gone') throw error;
    }
    await settle(server.id);
  }
}

function fulfilled<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}

const faults = {
  gone: 'The process of the server has ended, or was killed. Start the server again.',
  'shut-down': undefined,
  'io-error': 'A disk of the server does not answer. What the guest had not flushed is lost. Start the server again.',
} as const;
