/** What the machine is that the service runs on, and servers with it. */
import { execFile } from 'node:child_process';
import { isIP } from 'node:net';
import { cpus, hostname, loadavg, machine, totalmem, uptime } from 'node:os';
import { promisify } from 'node:util';
import type { MachineFacts } from '../cloud/hosts/compute-hosts.ts';

const run = promisify(execFile);
const mib = 2 ** 20;

/** `address`: where the service listens. */
export function createMachineFacts(address: string): () => Promise<MachineFacts> {
  let version: Promise<number> | undefined;
  return async () => {
    version ??= qemuVersion();
    const processors = cpus();
    return {
      hostName: hostname(),
      address: isIP(address) === 0 ? '127.0.0.1' : address,
      vcpus: processors.length,
      ramMib: Math.floor(totalmem() / mib),
      architecture: machine(),
      processor: processors[0]?.model ?? '',
      hypervisorVersion: await version,
      uptime: uptimeText(),
    };
  };
}

/** 0 = there is no QEMU. */
async function qemuVersion(): Promise<number> {
  const { stdout } = await run('qemu-img', ['--version']).catch(() => ({ stdout: '' }));
  const [, major = '0', minor = '0', patch = '0'] = /version (\d+)\.(\d+)(?:\.(\d+))?/.exec(stdout) ?? [];
  return Number(major) * 1_000_000 + Number(minor) * 1000 + Number(patch);
}

function uptimeText(): string {
  const minutes = Math.floor(uptime() / 60);
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  const load = loadavg().map((value) => value.toFixed(2));
  return `up ${days} days, ${hours}:${String(rest).padStart(2, '0')}, load average: ${load.join(', ')}`;
}
