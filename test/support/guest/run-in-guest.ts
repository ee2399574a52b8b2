import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestAgent } from '../../../src/engine/hypervisor/guest-agent.ts';

/** Runs a shell script in the guest to its end and returns what it printed. Rejects when it fails. */
export async function runInGuest(agent: GuestAgent, script: string): Promise<string> {
  const processId = await agent.exec({ path: '/bin/sh', args: ['-c', script] });
  for (;;) {
    const state = await agent.execStatus(processId);
    if (!state.hasEnded) await sleep(20);
    else if (state.exitCode === 0) return state.stdout.toString('utf8').trim();
    else throw new Error(`the guest's shell ended with ${state.exitCode}: ${state.stderr}`);
  }
}
