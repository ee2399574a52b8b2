/**
 * Tells the guest that a disk has grown, after its server took the export away, grew the disk, and gave it back.
 *
 * The NBD client finds out only at a request that its connection is over, and connects again at the next one, when it is told the new size. A guest that
 * writes meanwhile makes these requests itself, and is stopped by the error that the first of them gets; the request is made again when it goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type QmpClient, QmpError } from '../qemu/qmp.ts';
import { nodeNameOf } from './machine-disks.ts';
import { queryStatus } from './machine-state.ts';

const timeoutMs = 10_000;
const pauseMs = 20;

export async function growMachineDisk(monitor: QmpClient, diskId: string, sizeBytes: number): Promise<void> {
  const node = nodeNameOf(diskId);
  for (const deadline = performance.now() + timeoutMs; !(await tryResize(monitor, node, sizeBytes, deadline)); await sleep(pauseMs)) {
    await monitor.execute('human-monitor-command', { 'command-line': `qemu-io ${node} "read 0 512"` });
  }
  if ((await queryStatus(monitor)) === 'io-error') await monitor.execute('cont');
}

async function tryResize(monitor: QmpClient, node: string, sizeBytes: number, deadline: number): Promise<boolean> {
  try {
    await monitor.execute('block_resize', { 'node-name': node, size: sizeBytes });
    return true;
  } catch (error) {
    if (!(error instanceof QmpError) || error.failure !== 'refused' || performance.now() > deadline) throw error;
    return false;
  }
}
