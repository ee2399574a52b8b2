/** The test guest in a QEMU of the test's own, without KVM: for tests of what surrounds a machine. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { buildGuest, type GuestOptions, readyLine } from './build-guest.ts';

export interface RunningGuest {
  readonly process: ChildProcess;
  /** The socket on which QEMU gives the agent's channel to one client at a time. */
  readonly agentPath: string;
  /** What the serial console said so far. */
  console(): string;
  /** Resolves with the match once the console said something like it, from `since` characters on. */
  waitFor(pattern: RegExp, since?: number): Promise<RegExpExecArray>;
  stop(): Promise<void>;
}

export interface StartGuestOptions extends GuestOptions {
  readonly agentPath: string;
  /** Raw disks: /dev/vda, /dev/vdb, ... */
  readonly disks?: readonly string[];
  /** An ISO image. */
  readonly cd?: string;
}

const bootTimeoutMs = 60_000;

/** Resolves when the guest is ready. */
export async function startGuest(options: StartGuestOptions): Promise<RunningGuest> {
  const { kernelPath, initrdPath, appendFor } = await buildGuest();
  const qemu = ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nodefaults', '-display', 'none', '-serial', 'stdio'];
  const boot = ['-kernel', kernelPath, '-initrd', initrdPath, '-append', appendFor(options)];
  const disks = (options.disks ?? []).flatMap((path) => ['-drive', `if=virtio,format=raw,file=${path}`]);
  if (options.cd !== undefined) disks.push('-drive', `if=ide,media=cdrom,format=raw,readonly=on,file=${options.cd}`);
  const agent = ['-device', 'virtio-serial', '-chardev', `socket,id=agent,server=on,wait=off,path=${options.agentPath}`];
  agent.push('-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0');
  // However the test ends, the guest ends with it.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...qemu, ...boot, ...disks, ...agent], { stdio: ['pipe', 'pipe', 'pipe'] });
  const guest = guestOf(child, options.agentPath);
  try {
    await guest.waitFor(new RegExp(readyLine));
  } catch (error) {
    await guest.stop();
    throw error;
  }
  return guest;
}

function guestOf(child: ChildProcess, agentPath: string): RunningGuest {
  let said = '';
  let errors = '';
  let hasEnded = false;
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString('latin1');
    tell();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString('latin1');
  });
  child.on('close', () => {
    hasEnded = true;
    tell();
  });
  return {
    process: child,
    agentPath,
    console: () => said,
    waitFor(pattern, since = 0) {
      const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
      const fail = (why: string): void => reject(new Error(`the guest ${why} before it said ${pattern}: ${errors}${said.slice(-2000)}`));
      const look = (): void => {
        const match = pattern.exec(said.slice(since));
        if (match !== null) resolve(match);
        else if (hasEnded) fail('ended');
      };
      const timer = setTimeout(() => fail('took too long'), bootTimeoutMs);
      listeners.add(look);
      look();
      return promise.finally(() => {
        clearTimeout(timer);
        listeners.delete(look);
      });
    },
    async stop() {
      if (hasEnded) return;
      child.kill('SIGKILL');
      await once(child, 'close');
    },
  };
}
