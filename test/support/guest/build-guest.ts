/**
 * A real guest for tests: Debian's cloud kernel, and an initramfs of its modules, busybox and QEMU's agent. It boots in seconds without KVM,
 * and has what the tests of snapshots look at: disks that are mounted, a writer whose fsyncs are counted, hooks, and a counter in memory.
 */
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type ArchiveEntry, archiveOf, file, folder, link, program } from './cpio.ts';

export interface GuestOptions {
  /** What the agent's hook does when a freeze begins. Tests may change it later by writing to /run/hook. Default: succeeds. */
  readonly hook?: 'succeeds' | 'fails' | `sleeps:${number}`;
  /** Append sequence numbers to /data/log, each with an fsync, and tell them on the console. */
  readonly writer?: boolean;
  /** Default: true. */
  readonly agent?: boolean;
  /** Turn itself off when the host asks. Default: true. */
  readonly powerButton?: boolean;
}

export interface Guest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** The kernel's command line. Without any of it the guest boots as well, with the defaults and a silent console. */
  appendFor(options?: GuestOptions): string;
}

/** The guest writes this line to its serial console when all that it was told to do is under way. */
export const readyLine = 'guest: ready';

const scripts = ['agent-keeper', 'counter', 'fsfreeze-hook', 'power-button', 'writer'] as const;
const modules = ['virtio_pci', 'virtio_blk', 'virtio_console', 'virtio_scsi', 'ata_piix', 'sr_mod', 'isofs', 'xfs', 'button', 'evdev'];
const agentPath = '/usr/sbin/qemu-ga';
const busyboxPath = '/usr/bin/busybox';
const run = promisify(execFile);

/** Makes what is not there yet; two that build at once make the same. */
export async function buildGuest(): Promise<Guest> {
  const { kernelPath, modulesDir } = await findKernel();
  const initrdPath = join(tmpdir(), `stillpoint-guest-${userInfo().uid}`, `${await keyOf(kernelPath)}.cpio`);
  if (!existsSync(initrdPath)) {
    const interim = `${initrdPath}.${randomUUID()}`;
    await mkdir(dirname(initrdPath), { recursive: true, mode: 0o755 });
    await writeFile(interim, archiveOf(await entriesOf(modulesDir)));
    await rename(interim, initrdPath);
  }
  return { kernelPath, initrdPath, appendFor };
}

function appendFor({ hook = 'succeeds', writer = false, agent = true, powerButton = true }: GuestOptions = {}): string {
  const words = [`guest.hook=${hook}`, `guest.writer=${writer ? 'on' : 'off'}`, `guest.agent=${agent ? 'on' : 'off'}`];
  if (!powerButton) words.push('guest.power-button=ignored');
  return ['console=ttyS0', 'quiet', 'panic=-1', ...words].join(' ');
}

async function findKernel(): Promise<{ kernelPath: string; modulesDir: string }> {
  const versions = (await readdir('/boot')).flatMap((name) => /^vmlinuz-(.*-cloud-\w+)$/.exec(name)?.[1] ?? []);
  const [version] = versions
    .filter((name) => existsSync(`/lib/modules/${name}`))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  if (version === undefined) throw new Error('there is no cloud kernel in /boot: Debian has it in linux-image-cloud-amd64');
  return { kernelPath: `/boot/vmlinuz-${version}`, modulesDir: `/lib/modules/${version}` };
}

/** Changes when something that goes into the archive does. */
async function keyOf(kernelPath: string): Promise<string> {
  const hash = createHash('sha256').update(kernelPath).update(modules.join());
  for (const name of await readdir(import.meta.dirname)) hash.update(await readFile(join(import.meta.dirname, name)));
  for (const path of [kernelPath, agentPath, busyboxPath]) {
    const { mtimeMs, size } = await stat(path);
    hash.update(`${path} ${mtimeMs} ${size}\n`);
  }
  return hash.digest('hex').slice(0, 32);
}

async function entriesOf(modulesDir: string): Promise<ArchiveEntry[]> {
  const { stdout } = await run(busyboxPath, ['--list']);
  const own = await Promise.all(['init', ...scripts].map((name) => readFile(join(import.meta.dirname, name))));
  const [init, ...others] = own as [Buffer, ...Buffer[]];
  return [
    ...['bin', 'sbin', 'dev', 'proc', 'sys', 'run', 'tmp', 'var', 'modules', 'etc', 'etc/acpi', 'etc/acpi/PWRF'].map(folder),
    program('init', init),
    ...others.map((bytes, index) => program(`bin/${scripts[index]}`, bytes)),
    program('bin/busybox', await readFile(busyboxPath)),
    ...stdout.split('\n').flatMap((name) => (name === '' || name === 'busybox' ? [] : link(`bin/${name}`, 'busybox'))),
    // The path by which busybox finds what to do.
    link('etc/acpi/PWRF/00000080', '/bin/power-button'),
    // The agent sets the hardware clock by this path.
    link('sbin/hwclock', '../bin/busybox'),
    ...(await moduleEntries(modulesDir)),
    ...(await programWithLibraries(agentPath)),
  ];
}

/** The modules with all that they need, and a list of them in the order of loading. */
async function moduleEntries(modulesDir: string): Promise<ArchiveEntry[]> {
  const lines = (await readFile(join(modulesDir, 'modules.dep'), 'utf8')).split('\n');
  const nameOf = (path: string) =>
    path
      .slice(path.lastIndexOf('/') + 1)
      .split('.')[0]
      ?.replaceAll('-', '_');
  const ordered = new Set<string>();
  for (const name of modules) {
    const [path, needed] = lines.find((line) => nameOf(line.split(':')[0] ?? '') === name)?.split(':') ?? [];
    // What is not there as a module is a part of the kernel.
    if (path === undefined || needed === undefined) continue;
    for (const each of needed.split(' ').filter(Boolean).reverse()) ordered.add(each);
    ordered.add(path);
  }
  const entries = [...ordered].map(async (path) =>
    file(`modules/${path.slice(path.lastIndexOf('/') + 1)}`, await readFile(join(modulesDir, path))),
  );
  const made = await Promise.all(entries);
  return [...made, file('modules/order', Buffer.from(made.map(({ name }) => `/${name}\n`).join('')))];
}

async function programWithLibraries(path: string): Promise<ArchiveEntry[]> {
  const { stdout } = await run('ldd', [path]);
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1] as string);
  const folders = new Set([path, ...libraries].flatMap((each) => parentsOf(each)));
  return [
    ...[...folders].filter((name) => name !== 'bin' && name !== 'sbin').map(folder),
    ...(await Promise.all([path, ...libraries].map(async (each) => program(each.slice(1), await readFile(each))))),
  ];
}

/** `/usr/lib/x` → `usr`, `usr/lib`. */
function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(1, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
