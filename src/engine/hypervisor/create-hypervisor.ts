/** Machines on this host, each a QEMU in a cage: the hypervisor of the contract. */
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { createTurns } from '../../lib/turns.ts';
import type { Confinement } from '../confinement/run-confined.ts';
import type { Acceleration } from './acceleration.ts';
import { type Hypervisor, type Machine, MachineError } from './contract.ts';
import { endFoundMachine, findOwnMachines, listFoundMachines } from './found-machines.ts';
import { growMachineDisk } from './grow-disk.ts';
import { checkMachinePaths, machineFolderOf, readMachine, removeMachineFolder } from './machine-folder.ts';
import { endMachineProcess, isMachineAlive } from './machine-process.ts';
import { gone, readState } from './machine-state.ts';
import { createMonitors } from './monitors.ts';
import { type PlugTarget, plugDisk, unplugDisk } from './plug.ts';
import { pauseMachine, resetMachine, resumeMachine, shutDownMachine } from './power.ts';
import { readConsoleEnd, trimConsole } from './serial-log.ts';
import { startMachine } from './start-machine.ts';
import { createWatches } from './watches.ts';

export interface HypervisorOptions {
  /** Where machines have their folders; on one file system with the sockets of disks. */
  readonly runtimeDir: string;
  readonly confinement: Confinement;
  /** Asked once, by the first machine that starts: finding out takes a moment. */
  readonly probeAcceleration: () => Promise<Acceleration>;
  readonly log: Log;
}

const trimEveryMs = 5_000;

/** Throws a `RangeError` when the runtime folder's name is too long for sockets. */
export function createHypervisor({ runtimeDir, confinement, probeAcceleration, log }: HypervisorOptions): Hypervisor {
  checkMachinePaths(runtimeDir);
  const monitors = createMonitors(runtimeDir);
  const watches = createWatches({ monitors, runtimeDir, log });
  const inTurn = createTurns<string>();
  let probed: Promise<Acceleration> | undefined;
  const folderOf = (machine: Machine) => machineFolderOf(runtimeDir, machine.id);
  const targetOf = (machine: Machine): PlugTarget => ({ monitors, machine, folder: folderOf(machine) });
  const diskTurn = (machine: Machine, diskId: string, work: () => Promise<void>): Promise<void> => inTurn(`${machine.id}/${diskId}`, work);

  async function trimConsoles(): Promise<void> {
    for (const id of watches.machineIds()) {
      const record = await readMachine(machineFolderOf(runtimeDir, id));
      if (record !== undefined) await trimConsole(record.consolePath);
    }
  }
  const trimming = setInterval(() => {
    trimConsoles().catch((error: unknown) => log.warn({ reason: messageOf(error) }, 'the consoles of machines cannot be kept short'));
  }, trimEveryMs);
  trimming.unref();

  return {
    start: (spec) =>
      inTurn(spec.id, async () => {
        probed ??= probeAcceleration();
        return await startMachine({ runtimeDir, confinement, acceleration: await probed, monitors }, spec);
      }),
    watch: (machine, listener) => watches.add(machine, listener),
    async inspect(machine) {
      try {
        return await monitors.use(machine, readState);
      } catch (error) {
        if (error instanceof MachineError && error.kind === 'gone') return gone;
        throw error;
      }
    },
    pause: (machine) => pauseMachine(monitors, machine),
    resume: (machine) => resumeMachine(monitors, machine),
    shutDown: (machine, timeoutMs) => shutDownMachine(monitors, machine, timeoutMs),
    reset: (machine) => resetMachine(monitors, machine),
    end: (machine) =>
      inTurn(machine.id, async () => {
        watches.expectEnd(machine.id, 'it was ended');
        if (isMachineAlive(machine)) await endMachineProcess(machine);
        // One that was started again under its id, by somebody who died before telling.
        for (const other of await findOwnMachines(runtimeDir)) if (other.id === machine.id) await endMachineProcess(other);
        crashPoint('machine:end:after');
        await removeMachineFolder(folderOf(machine));
      }),
    plug: (machine, disk) => diskTurn(machine, disk.id, () => plugDisk(targetOf(machine), disk)),
    unplug: (machine, diskId, timeoutMs) => diskTurn(machine, diskId, () => unplugDisk(targetOf(machine), diskId, timeoutMs)),
    growDisk: (machine, diskId, sizeBytes) =>
      diskTurn(machine, diskId, () => monitors.use(machine, (monitor) => growMachineDisk(monitor, diskId, sizeBytes))),
    agentPath: (machine) => folderOf(machine).agentPath,
    screenPath: (machine) => folderOf(machine).screenPath,
    listMachines: () => listFoundMachines(runtimeDir),
    endFound: (name) => endFoundMachine(runtimeDir, name),
    readConsole: readConsoleEnd,
    async stop() {
      clearInterval(trimming);
      watches.stop();
    },
  };
}
