/**
 * One operation on a machine in a process of its own, for tests that kill it. Arguments: the runtime folder, and the order as JSON. With
 * `STILLPOINT_CRASH_POINT` it is killed at that point. Prints the machine, for operations that have one, as JSON.
 */
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import type { Machine, MachineDisk, MachineSpec } from '../../src/engine/hypervisor/contract.ts';
import { createHypervisor } from '../../src/engine/hypervisor/create-hypervisor.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';

export type MachineOrder =
  | { readonly operation: 'start'; readonly spec: MachineSpec }
  | { readonly operation: 'plug'; readonly machine: Machine; readonly disk: MachineDisk }
  | { readonly operation: 'unplug'; readonly machine: Machine; readonly diskId: string }
  | { readonly operation: 'end'; readonly machine: Machine }
  /** Watches until it is killed. */
  | { readonly operation: 'watch'; readonly spec: MachineSpec };

const unplugTimeoutMs = 20_000;
const [runtimeDir = '', orderText = ''] = process.argv.slice(2);
const order = JSON.parse(orderText) as MachineOrder;
const point = process.env.STILLPOINT_CRASH_POINT;
if (point !== undefined) armCrashPoint(point, 'kill');
const acceleration = { kind: 'tcg', obstacle: 'missing', reason: 'tests run everywhere' } as const;
const hypervisor = createHypervisor({
  runtimeDir,
  confinement: createConfinement(),
  probeAcceleration: async () => acceleration,
  log: silentLog,
});

async function perform(): Promise<void> {
  switch (order.operation) {
    case 'start':
      process.stdout.write(`${JSON.stringify(await hypervisor.start(order.spec))}\n`);
      return;
    case 'plug':
      return await hypervisor.plug(order.machine, order.disk);
    case 'unplug':
      return await hypervisor.unplug(order.machine, order.diskId, unplugTimeoutMs);
    case 'end':
      return await hypervisor.end(order.machine);
    case 'watch': {
      const machine = await hypervisor.start(order.spec);
      await hypervisor.watch(machine, () => {});
      process.kill(process.pid, 'SIGKILL');
    }
  }
}

await perform();
await hypervisor.stop();
