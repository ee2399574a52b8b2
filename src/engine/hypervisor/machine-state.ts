/** What a machine is doing, as QEMU says it. */
import type { QmpClient } from '../qemu/qmp.ts';
import type { MachinePower, MachineState } from './contract.ts';
import { readDiskIds } from './machine-disks.ts';

/** QEMU's words for a machine in which nothing runs until it is reset, and what they mean. */
export const endedStatuses: Readonly<Record<string, string>> = {
  shutdown: 'the guest turned itself off',
  'guest-panicked': 'the guest crashed: its kernel panicked',
  'internal-error': 'the processor met something that it cannot run',
};

export const gone: MachineState = { power: 'gone', diskIds: [] };

/** QEMU's own word. */
export async function queryStatus(monitor: QmpClient): Promise<string> {
  return (await monitor.execute<{ status: string }>('query-status')).status;
}

export function powerOf(status: string): MachinePower {
  if (status === 'running' || status === 'io-error') return status;
  return status in endedStatuses ? 'shut-down' : 'paused';
}

export async function readState(monitor: QmpClient): Promise<MachineState> {
  const [status, diskIds] = await Promise.all([queryStatus(monitor), readDiskIds(monitor)]);
  return { power: powerOf(status), diskIds };
}
