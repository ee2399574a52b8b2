/** Freezes the guest behind a socket, says so, and holds on until it is killed: `freeze-process.ts SOCKET ARMED`. */
import { rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { withGuestAgent } from '../../../src/engine/hypervisor/guest-agent.ts';
import { withFrozenGuest } from '../../../src/engine/hypervisor/quiesce.ts';

const [socketPath, armedPath] = process.argv.slice(2) as [string, string];
const options = { arm: () => writeFile(armedPath, ''), disarm: () => rm(armedPath), holdMsMax: 600_000 };
await withGuestAgent(socketPath, (agent) =>
  withFrozenGuest(agent, options, async (signal) => {
    process.stdout.write('frozen\n');
    await sleep(600_000, undefined, { signal });
  }),
);
