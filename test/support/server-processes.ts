/** The machines of servers, as this host shows them. */
import { readdir, readFile } from 'node:fs/promises';
import { withGuestAgent } from '../../src/engine/hypervisor/guest-agent.ts';
import { runInGuest } from './guest/run-in-guest.ts';

/** QEMU's process of a server, and where it offers the agent in the guest. */
export interface ServerProcess {
  readonly id: number;
  readonly agentPath: string;
}

export async function processOf(serverId: string): Promise<ServerProcess | undefined> {
  for (const entry of await readdir('/proc')) {
    const text = /^\d+$/.test(entry) ? await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '') : '';
    if (!text.startsWith('qemu-system') || !text.includes(`\0-uuid\0${serverId}\0`)) continue;
    return { id: Number(entry), agentPath: /path=([^,\0]+\/agent)\b/.exec(text)?.[1] ?? '' };
  }
  return undefined;
}

/** Runs a shell script in the guest of a server, through its agent. */
export async function inGuest(serverId: string, script: string): Promise<string> {
  const process = await processOf(serverId);
  if (process === undefined) throw new Error(`no process runs server ${serverId}`);
  return await withGuestAgent(process.agentPath, (agent) => runInGuest(agent, script));
}
