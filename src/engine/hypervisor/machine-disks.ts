/**
 * Disks as QEMU knows them: a node (the NBD client) and a device in a slot of its own. Names are made of the disk's id, so that whoever comes later
 * finds them; what a machine has is read from QEMU each time.
 *
 * The client has no `reconnect-delay`: with a server that died, writes that it had acknowledged may be lost, so an error stops the machine
 * (docs/decisions/0022-machines-have-no-disk-files.md).
 */
import { createHash } from 'node:crypto';
import { link, lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { QmpClient } from '../qemu/qmp.ts';
import { type MachineDisk, MachineError } from './contract.ts';
import type { MachineFolder } from './machine-folder.ts';

const serialLengthMax = 20;
/** Slots below belong to the chip set, the screen and the agent's channel. */
const firstSlot = 4;
const devicePrefix = 'disk-';
const deviceName = /^vd[a-z]$/;

export const deviceIdOf = (diskId: string): string => `${devicePrefix}${diskId}`;

/** Of the node, and of the socket in the machine's folder. Nodes have 31 characters at most, which is less than a UUID has. */
export const nodeNameOf = (diskId: string): string => `d-${createHash('sha256').update(diskId).digest('hex').slice(0, 16)}`;

export const diskSocketPath = (folder: MachineFolder, diskId: string): string => join(folder.path, nodeNameOf(diskId));

export function checkDevice(device: string): void {
  if (!deviceName.test(device)) throw new RangeError(`${JSON.stringify(device)} is no name of a disk: vda to vdz are`);
}

export const nodeOptions = (folder: MachineFolder, disk: MachineDisk): object => ({
  driver: 'nbd',
  'node-name': nodeNameOf(disk.id),
  server: { type: 'unix', path: diskSocketPath(folder, disk.id) },
  export: disk.exportName,
  'read-only': disk.readOnly,
  discard: 'unmap',
});

export const deviceOptions = (disk: MachineDisk): object => ({
  driver: 'virtio-blk-pci',
  id: deviceIdOf(disk.id),
  drive: nodeNameOf(disk.id),
  addr: `0x${(firstSlot + disk.device.charCodeAt(2) - 'a'.charCodeAt(0)).toString(16)}`,
  serial: disk.id.slice(0, serialLengthMax),
  werror: 'stop',
  rerror: 'stop',
  // QEMU's own loader of kernels is the first.
  ...(disk.bootIndex === null ? {} : { bootindex: disk.bootIndex + 1 }),
});

/**
 * Gives the socket of a disk's server a name in the machine's folder, which is in its cage. The name goes with the server: another one that listens
 * later has another socket.
 */
export async function linkDiskSocket(folder: MachineFolder, disk: MachineDisk): Promise<void> {
  const path = diskSocketPath(folder, disk.id);
  await rm(path, { force: true });
  try {
    if (!(await lstat(disk.socketPath)).isSocket()) throw new MachineError('failed', `${disk.socketPath} is no socket`);
    await link(disk.socketPath, path);
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw new MachineError('failed', whyNotLinked(disk, folder, cause as NodeJS.ErrnoException), { cause });
  }
}

function whyNotLinked(disk: MachineDisk, folder: MachineFolder, { code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT') return `nobody serves disk ${disk.id}: there is no ${disk.socketPath}`;
  if (code === 'EXDEV') return `the socket ${disk.socketPath} and the folder ${folder.path} must be on one file system`;
  return `the socket of disk ${disk.id} cannot be linked: ${message}`;
}

export const unlinkDiskSocket = (folder: MachineFolder, diskId: string): Promise<void> =>
  rm(diskSocketPath(folder, diskId), { force: true });

/** Ids of the disks that the machine has. One that the guest was asked to let go of counts until it did. */
export async function readDiskIds(monitor: QmpClient): Promise<string[]> {
  const devices = await monitor.execute<readonly { name: string; type: string }[]>('qom-list', { path: '/machine/peripheral' });
  return devices.flatMap(({ name, type }) =>
    type.startsWith('child<') && name.startsWith(devicePrefix) ? [name.slice(devicePrefix.length)] : [],
  );
}

export async function hasNode(monitor: QmpClient, diskId: string): Promise<boolean> {
  const nodes = await monitor.execute<readonly { 'node-name': string }[]>('query-named-block-nodes', { flat: true });
  return nodes.some((node) => node['node-name'] === nodeNameOf(diskId));
}
