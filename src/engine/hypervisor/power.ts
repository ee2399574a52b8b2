/** Running, standing still, starting anew, ending. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Machine, MachineError } from './contract.ts';
import { powerOf, queryStatus } from './machine-state.ts';
import type { Monitors } from './monitors.ts';

const pollMs = 100;
/** A guest that was booting did not hear the button. */
const pressAgainMs = 10_000;

export async function pauseMachine(monitors: Monitors, machine: Machine): Promise<void> {
  await monitors.use(machine, (monitor) => monitor.execute('stop'));
}

export async function resumeMachine(monitors: Monitors, machine: Machine): Promise<void> {
  await monitors.use(machine, (monitor) => monitor.execute('cont'));
}

/** One that had stopped by itself runs again afterwards; one that we paused stays so. */
export async function resetMachine(monitors: Monitors, machine: Machine): Promise<void> {
  await monitors.use(machine, async (monitor) => {
    const power = powerOf(await queryStatus(monitor));
    await monitor.execute('system_reset');
    if (power === 'shut-down' || power === 'io-error') await monitor.execute('cont');
  });
}

/** Presses the button until the guest has turned itself off. False: it did not, or cannot because nothing runs in it. */
export async function shutDownMachine(monitors: Monitors, machine: Machine, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let pressAt = 0; ; await sleep(pollMs)) {
    const power = await monitors
      .use(machine, async (monitor) => {
        const found = powerOf(await queryStatus(monitor));
        if (found !== 'running' || performance.now() < pressAt) return found;
        pressAt = performance.now() + pressAgainMs;
        await monitor.execute('system_powerdown');
        return found;
      })
      .catch((error: unknown) => {
        if (error instanceof MachineError && error.kind === 'gone') return 'gone' as const;
        throw error;
      });
    if (power === 'shut-down' || power === 'gone') return true;
    if (power !== 'running' || performance.now() > deadline) return false;
  }
}
