/**
 * The start of a machine. Its steps, each of which may be the last one of this process:
 *  1. a folder with names of the sockets of its disks' servers;
 *  2. QEMU, in a cage, with its processors stopped;
 *  3. the record, once QEMU may be spoken to (decision 0021);
 *  4. the processors run.
 * Who repeats a start goes on after the record, and makes all anew before it: nothing ran in that process yet.
 */
import { crashPoint } from '../../lib/crash-points.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Confinement } from '../confinement/run-confined.ts';
import { waitUntilStarted } from '../qemu/program-start.ts';
import type { Acceleration } from './acceleration.ts';
import { machineArguments } from './command-line.ts';
import { type Machine, MachineError, type MachineNetwork, type MachineSpec } from './contract.ts';
import { findOwnMachines } from './found-machines.ts';
import { linkDiskSocket } from './machine-disks.ts';
import {
  type MachineFolder,
  machineFolderOf,
  makeMachineFolder,
  readMachine,
  recordMachine,
  removeMachineFolder,
} from './machine-folder.ts';
import { endMachineProcess, isMachineAlive, markOf, qemu } from './machine-process.ts';
import { queryStatus } from './machine-state.ts';
import type { Monitors } from './monitors.ts';
import { consoleBytesMax, prepareConsole } from './serial-log.ts';

export interface StartDeps {
  readonly runtimeDir: string;
  readonly confinement: Confinement;
  readonly acceleration: Acceleration;
  readonly monitors: Monitors;
}

const mib = 1024 ** 2;
/** Address space beside the guest's memory: 0.6 GiB were measured, of them 0.25 for translated code; a processor has a stack and an arena of its own. */
const overheadBytes = 1536 * mib;
const overheadPerProcessorBytes = 128 * mib;
/** 26 disks, the screen's viewers, and the user's network. */
const openFilesMax = 2048;

export async function startMachine(deps: StartDeps, spec: MachineSpec): Promise<Machine> {
  const folder = machineFolderOf(deps.runtimeDir, spec.id);
  const args = machineArguments(spec, folder, deps.acceleration);
  const recorded = await readMachine(folder);
  const running = recorded !== undefined && isMachineAlive(recorded);
  const machine = running ? { id: recorded.id, processId: recorded.processId } : await launch(deps, spec, folder, args);
  try {
    await deps.monitors.use(machine, async (monitor) => {
      if ((await queryStatus(monitor)) === 'prelaunch') await monitor.execute('cont');
    });
  } catch (error) {
    if (!running) await abandon(deps.runtimeDir, machine.id);
    throw error;
  }
  crashPoint('machine:cont:after');
  return machine;
}

async function launch(deps: StartDeps, spec: MachineSpec, folder: MachineFolder, args: readonly string[]): Promise<Machine> {
  await abandon(deps.runtimeDir, spec.id);
  try {
    await makeMachineFolder(folder);
    for (const disk of spec.disks) await linkDiskSocket(folder, disk);
    await prepareConsole(spec.consolePath);
    crashPoint('machine:folder:after');
    const { processId } = await deps.confinement.launch(confined(spec, folder, args, deps.acceleration));
    crashPoint('machine:launch:after');
    await waitUntilStarted({ name: qemu, processId, mark: markOf(spec.id), signPath: folder.screenPath, logPath: folder.logPath });
    const machine = { id: spec.id, processId };
    crashPoint('machine:record:before');
    await recordMachine(folder, { ...machine, consolePath: spec.consolePath });
    crashPoint('machine:record:after');
    return machine;
  } catch (error) {
    await abandon(deps.runtimeDir, spec.id);
    throw error instanceof MachineError
      ? error
      : new MachineError('failed', `the machine cannot be started: ${messageOf(error)}`, { cause: error });
  }
}

/** Nobody was told of it, so nothing in it is worth a proper end; and before its start is complete it does not hear SIGTERM. */
async function abandon(runtimeDir: string, machineId: string): Promise<void> {
  for (const machine of await findOwnMachines(runtimeDir)) {
    if (machine.id === machineId) await endMachineProcess(machine, ['SIGKILL']);
  }
  await removeMachineFolder(machineFolderOf(runtimeDir, machineId));
}

function confined(spec: MachineSpec, folder: MachineFolder, args: readonly string[], acceleration: Acceleration) {
  const files = [spec.configDrivePath, spec.kernel?.kernelPath, spec.kernel?.initrdPath];
  return {
    // QEMU would end at a console that has reached its limit.
    command: 'env',
    args: ['--ignore-signal=XFSZ', qemu, ...args],
    readWrite: [folder.path, spec.consolePath],
    readOnly: files.filter((path) => typeof path === 'string'),
    workingDir: folder.path,
    devices: acceleration.kind === 'kvm' ? ['/dev/kvm'] : [],
    sharesNetwork: needsHostNetwork(spec.network),
    limits: {
      addressSpaceBytes: spec.memoryMib * mib + overheadBytes + spec.vcpus * overheadPerProcessorBytes,
      openFiles: openFilesMax,
      fileSizeBytes: consoleBytesMax,
    },
    logPath: folder.logPath,
  };
}

/** A restricted network that nobody reaches from outside needs none but its own. */
const needsHostNetwork = (network: MachineNetwork): boolean =>
  network.kind === 'user' && (!network.restricted || network.forwards.length > 0);
