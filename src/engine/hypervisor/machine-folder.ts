/**
 * What one machine leaves on the host, `<runtimeDir>/m<12 hex digits of its id>/`, mode 0700: its sockets (two monitors, the agent's channel, the
 * screen), a name for the socket of each disk's server, QEMU's log and pid file, and `machine.json`, which is written when QEMU answers.
 * Folders without the `m` belong to servers of disks.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceBytesDurably } from '../../lib/durable-files.ts';
import { checkSocketPaths } from '../qemu/socket-paths.ts';
import type { Machine } from './contract.ts';

export interface MachineFolder {
  readonly path: string;
  readonly monitorPath: string;
  readonly rescuePath: string;
  /** Speaks with the agent in the guest; there when the machine has such a channel. */
  readonly agentPath: string;
  /** The screen, for VNC without a password: whoever may open this folder may look. */
  readonly screenPath: string;
  readonly pidPath: string;
  readonly logPath: string;
}

export interface MachineRecord extends Machine {
  readonly consolePath: string;
}

export const machineFolderName = /^m[0-9a-f]{12}$/;
const folderNameLength = 'm'.length + 12;
/** `d-` and 16 digits: the socket of a disk. */
const longestName = 'd-'.length + 16;

export const checkMachinePaths = (runtimeDir: string): void => checkSocketPaths(runtimeDir, 1 + folderNameLength + 1 + longestName);

export const folderNameOf = (machineId: string): string => `m${createHash('sha256').update(machineId).digest('hex').slice(0, 12)}`;

export const machineFolderOf = (runtimeDir: string, machineId: string): MachineFolder =>
  machineFolderAt(join(runtimeDir, folderNameOf(machineId)));

export const machineFolderAt = (path: string): MachineFolder => ({
  path,
  monitorPath: join(path, 'monitor'),
  rescuePath: join(path, 'rescue'),
  agentPath: join(path, 'agent'),
  screenPath: join(path, 'screen'),
  pidPath: join(path, 'pid'),
  logPath: join(path, 'log'),
});

/** Anew: a socket or pid file of an earlier attempt would pass for one of the next. */
export async function makeMachineFolder(folder: MachineFolder): Promise<void> {
  await removeMachineFolder(folder);
  await mkdir(folder.path, { recursive: true, mode: 0o700 });
}

export const removeMachineFolder = (folder: MachineFolder): Promise<void> => rm(folder.path, { recursive: true, force: true });

const recordPath = (folder: MachineFolder): string => join(folder.path, 'machine.json');

export const recordMachine = (folder: MachineFolder, record: MachineRecord): Promise<void> =>
  replaceBytesDurably(recordPath(folder), Buffer.from(JSON.stringify(record)));

/** What was recorded; undefined when the machine never came up. */
export async function readMachine(folder: MachineFolder): Promise<MachineRecord | undefined> {
  try {
    return JSON.parse(await readFile(recordPath(folder), 'utf8')) as MachineRecord;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
