/**
 * How machines can run here: by the processor itself (KVM), or emulated (TCG), which is slow but always works.
 *
 * That /dev/kvm is there proves nothing: on virtual machines it may be there and not run ordinary guests, which then hang or end QEMU, or run them far
 * slower than they are emulated. So a guest of one sector is run: the BIOS starts it, it tells a test device of QEMU's a number, and QEMU exits with it.
 * Emulated it takes a tenth of a second, and by a processor that does its part no longer.
 */
import { constants } from 'node:fs';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import { ProcessError, runProcess } from '../../lib/processes.ts';
import { guestWords } from './guest-agent-error.ts';

export type Acceleration =
  | { readonly kind: 'kvm' }
  | {
      readonly kind: 'tcg';
      /** Why not KVM, for people. */
      readonly reason: string;
      /** `missing`: this machine has none; `forbidden`: its user may not use it; `broken`: it does not run guests. */
      readonly obstacle: 'missing' | 'forbidden' | 'broken';
    };

const timeoutMs = 3_000;
const sectorBytes = 512;
const exitPort = 0xf4;
const told = 0x10;
/** What the device makes of a number: an exit code that QEMU has for nothing else. */
const exitCodeTold = told * 2 + 1;
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Takes up to three seconds; the answer holds until the machine starts anew, or its user gets other rights. */
export async function probeAcceleration(device = '/dev/kvm'): Promise<Acceleration> {
  const refused = await access(device, constants.R_OK | constants.W_OK).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );
  if (refused?.code === 'ENOENT' || refused?.code === 'ENOTDIR')
    return { kind: 'tcg', obstacle: 'missing', reason: `there is no ${device}` };
  if (refused !== undefined) {
    const reason = `user ${process.getuid?.()} may not use ${device} (${refused.code})`;
    return { kind: 'tcg', obstacle: 'forbidden', reason };
  }
  const startedAt = performance.now();
  const isEmulated = (await whyNotRun('tcg')) === undefined;
  const emulatedMs = performance.now() - startedAt;
  const reason = await whyNotRun('kvm', isEmulated ? Math.min(slowestOf(emulatedMs), timeoutMs) : timeoutMs);
  return reason === undefined ? { kind: 'kvm' } : { kind: 'tcg', obstacle: 'broken', reason };
}

/** In milliseconds. Much more than it takes, for machines that are busy, and much less than a processor takes that does not do its part (20 times as long here). */
const slowestOf = (emulatedMs: number): number => Math.round(4 * emulatedMs + 250);

/** Runs the guest of one sector. Undefined: it ran. Everything that was started has ended. */
export async function whyNotRun(accelerator: 'kvm' | 'tcg', limitMs = timeoutMs): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'stillpoint-probe-'));
  try {
    const disk = join(folder, 'disk');
    await writeFile(disk, bootSector());
    // A guest that hangs would outlive us if we were killed meanwhile.
    const { exitCode, exitSignal, stderr } = await runProcess(
      'setpriv',
      ['--pdeathsig', 'KILL', '--', ...probeCommand(accelerator, disk)],
      {
        timeoutMs: limitMs,
        env: { PATH: path, LC_ALL: 'C' },
      },
    );
    if (exitCode === exitCodeTold) return undefined;
    const words = guestWords(stderr);
    return words === '' ? `QEMU ended with ${exitSignal ?? exitCode}` : words;
  } catch (error) {
    if (error instanceof ProcessError && error.failure === 'timed-out') return `a guest of one sector did not run within ${limitMs} ms`;
    return messageOf(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function probeCommand(accelerator: string, disk: string): string[] {
  const machine = [
    'qemu-system-x86_64',
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-machine',
    'pc',
    '-accel',
    accelerator,
    '-m',
    '16',
    '-no-reboot',
  ];
  const devices = [
    '-drive',
    `file=${disk.replaceAll(',', ',,')},format=raw,if=ide`,
    '-device',
    `isa-debug-exit,iobase=${exitPort},iosize=1`,
  ];
  return [...machine, ...devices];
}

/** Real mode, loaded by the BIOS: `mov al, told; out exitPort, al; hlt`. */
function bootSector(): Buffer {
  const sector = Buffer.alloc(sectorBytes);
  sector.set([0xb0, told, 0xe6, exitPort, 0xf4]);
  sector.set([0x55, 0xaa], sectorBytes - 2);
  return sector;
}
