/**
 * Disks that come and go while the machine runs. Each call looks at what QEMU has first, so that one that was broken off anywhere is gone on with:
 * the socket's name, then the node, then the device; in the other order when a disk goes. Only the device is seen by the guest.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { crashPoint } from '../../lib/crash-points.ts';
import { type QmpClient, QmpError } from '../qemu/qmp.ts';
import { type Machine, type MachineDisk, MachineError } from './contract.ts';
import {
  checkDevice,
  deviceIdOf,
  deviceOptions,
  hasNode,
  linkDiskSocket,
  nodeNameOf,
  nodeOptions,
  readDiskIds,
  unlinkDiskSocket,
} from './machine-disks.ts';
import type { MachineFolder } from './machine-folder.ts';
import { checkId } from './machine-process.ts';
import { powerOf, queryStatus } from './machine-state.ts';
import type { Monitors } from './monitors.ts';

/** A guest that was still booting when it was asked did not hear it. */
const askAgainMs = 1_000;
const pollMs = 50;
/** The node is free a moment after the device has gone. */
const nodeTimeoutMs = 5_000;

export interface PlugTarget {
  readonly monitors: Monitors;
  readonly folder: MachineFolder;
  readonly machine: Machine;
}

export async function plugDisk({ monitors, folder, machine }: PlugTarget, disk: MachineDisk): Promise<void> {
  checkId(disk.id);
  checkDevice(disk.device);
  await monitors.use(machine, async (monitor) => {
    if ((await readDiskIds(monitor)).includes(disk.id)) return;
    // Of an attempt that was broken off; its server may be another one by now.
    if (await hasNode(monitor, disk.id)) await deleteNode(monitor, disk.id);
    await linkDiskSocket(folder, disk);
    crashPoint('machine:plug:link:after');
    try {
      await monitor.execute('blockdev-add', nodeOptions(folder, disk));
      crashPoint('machine:plug:node:after');
      await monitor.execute('device_add', deviceOptions(disk));
    } catch (error) {
      // Without an answer nobody knows what is there: the next call looks.
      if (error instanceof QmpError && error.failure === 'refused') {
        if (await hasNode(monitor, disk.id)) await deleteNode(monitor, disk.id);
        await unlinkDiskSocket(folder, disk.id);
      }
      throw error;
    }
    crashPoint('machine:plug:device:after');
  });
}

export async function unplugDisk({ monitors, folder, machine }: PlugTarget, diskId: string, timeoutMs: number): Promise<void> {
  checkId(diskId);
  const deadline = performance.now() + timeoutMs;
  for (let askAt = 0; ; await sleep(pollMs)) {
    const isOver = performance.now() > deadline;
    const hasLetGo = await monitors.use(machine, async (monitor) => {
      if (!(await readDiskIds(monitor)).includes(diskId)) return true;
      const power = powerOf(await queryStatus(monitor));
      if (power !== 'running') throw new MachineError('busy', `the machine is ${power}: its guest cannot let go of a disk`);
      if (isOver || performance.now() < askAt) return false;
      askAt = performance.now() + askAgainMs;
      await askForRelease(monitor, diskId);
      return false;
    });
    if (hasLetGo) break;
    if (isOver) throw new MachineError('busy', `the guest did not let go of disk ${diskId} within ${timeoutMs} ms`);
  }
  crashPoint('machine:unplug:device:after');
  await monitors.use(machine, async (monitor) => {
    if (await hasNode(monitor, diskId)) await deleteNode(monitor, diskId);
  });
  crashPoint('machine:unplug:node:after');
  await unlinkDiskSocket(folder, diskId);
}

/** QEMU refuses to ask twice in a row, and a disk that went in between: what came of it is seen afterwards. */
async function askForRelease(monitor: QmpClient, diskId: string): Promise<void> {
  try {
    await monitor.execute('device_del', { id: deviceIdOf(diskId) });
  } catch (error) {
    if (!(error instanceof QmpError) || error.failure !== 'refused') throw error;
  }
}

async function deleteNode(monitor: QmpClient, diskId: string): Promise<void> {
  for (const deadline = performance.now() + nodeTimeoutMs; ; await sleep(pollMs)) {
    try {
      return await monitor.execute('blockdev-del', { 'node-name': nodeNameOf(diskId) });
    } catch (error) {
      if (!(error instanceof QmpError) || error.failure !== 'refused' || performance.now() > deadline) throw error;
    }
  }
}
