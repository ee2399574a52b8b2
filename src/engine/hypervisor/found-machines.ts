/**
 * Machines as this host shows them: folders in the runtime folder, and processes whose pid file lies in the folder of their id there. Whatever does not
 * name both belongs to another service, and is left alone.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { findProcesses } from '../../lib/processes.ts';
import type { FoundMachine, Machine } from './contract.ts';
import { folderNameOf, machineFolderAt, machineFolderName, machineFolderOf, removeMachineFolder } from './machine-folder.ts';
import { endMachineProcess, machineIdOf, qemu } from './machine-process.ts';

export async function findOwnMachines(runtimeDir: string): Promise<Machine[]> {
  return (await findProcesses(qemu)).flatMap(({ id: processId, args }) => {
    const id = machineIdOf(args);
    const isOwn = id !== undefined && args.includes(machineFolderOf(runtimeDir, id).pidPath);
    return isOwn ? [{ id, processId }] : [];
  });
}

export async function listFoundMachines(runtimeDir: string): Promise<FoundMachine[]> {
  const running = new Map((await findOwnMachines(runtimeDir)).map((machine) => [folderNameOf(machine.id), machine]));
  const folders = (await readdir(runtimeDir).catch(() => [])).filter((name) => machineFolderName.test(name));
  return [...new Set([...running.keys(), ...folders])].map((name) => ({ name, machine: running.get(name) }));
}

export async function endFoundMachine(runtimeDir: string, name: string): Promise<void> {
  if (!machineFolderName.test(name)) throw new RangeError(`${JSON.stringify(name)} names no machine`);
  for (const machine of await findOwnMachines(runtimeDir)) {
    if (folderNameOf(machine.id) === name) await endMachineProcess(machine);
  }
  await removeMachineFolder(machineFolderAt(join(runtimeDir, name)));
}
