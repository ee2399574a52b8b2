/**
 * Runs programs that parse disks (`qemu-img`, `qemu-storage-daemon`) in a cage.
 *
 * Uploaded disks are hostile input, and guests write into their own layers. A parser that is taken over must find nothing: so each
 * program runs under bubblewrap in namespaces of its own (user, process, network, mount, IPC, host name), without capabilities, with
 * a read-only system and only the files and folders that were named for it; and under resource limits, because a crafted file may
 * also ask for memory and time without end.
 *
 * There is no silent fall-back: where the kernel refuses namespaces, every call fails with an error that says what to change, unless
 * the composition root was told to allow running without a cage.
 */
import { spawn } from 'node:child_process';
import { closeSync, lstatSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { ProcessError, type ProcessResult, runProcess, throwUnlessSuccess } from '../../lib/processes.ts';

export interface ConfinedLimits {
  readonly addressSpaceBytes?: number;
  readonly cpuSeconds?: number;
  /** The largest file that the program may write. */
  readonly fileSizeBytes?: number;
  readonly openFiles?: number;
}

export interface ConfinedCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** Absolute paths of files and folders, visible under the same names. Nothing else of the machine's data is. */
  readonly readOnly?: readonly string[];
  readonly readWrite?: readonly string[];
  /** A visible folder, or the folder of a visible file. Default: the root. */
  readonly workingDir?: string;
  readonly limits?: ConfinedLimits;
  /** Device nodes below /dev that it may use, beside the harmless ones. */
  readonly devices?: readonly string[];
  /** It has the machine's own network, loopback included, in place of none. */
  readonly sharesNetwork?: boolean;
}

export interface ConfinedRun extends ConfinedCommand {
  /** Default: one minute. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly outputBytesMax?: number;
  readonly onOutput?: (chunk: Buffer) => void;
  /** Exit codes that are answers, not failures. Default: only 0. */
  readonly exitCodes?: readonly number[];
}

export interface ConfinedDaemon extends ConfinedCommand {
  /** Gets what the daemon prints. Made with mode 0600. */
  readonly logPath: string;
}

export interface Confinement {
  /** Runs a program to its end; it dies with this process. Rejects with `ProcessError`, `ConfinementError`, or the signal's reason. */
  run(command: ConfinedRun): Promise<ProcessResult>;
  /** Starts a program that outlives this process, in a session of its own. Returns the id of the program itself, not of its cage. */
  launch(daemon: ConfinedDaemon): Promise<{ processId: number }>;
  /** Why programs cannot be confined on this machine; undefined when they can. */
  obstacle(): Promise<string | undefined>;
}

/** The machine cannot confine programs. The message tells the operator what to change. */
export class ConfinementError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ConfinementError';
  }
}

export interface ConfinementOptions {
  /** Run programs with resource limits only where bubblewrap does not work. An operator's decision. */
  readonly allowUnconfined?: boolean;
  readonly bubblewrap?: string;
}

const defaultTimeoutMs = 60_000;
const launchTimeoutMs = 10_000;
const defaultLimits = { addressSpaceBytes: 4 * 1024 ** 3, openFiles: 512 } as const;
// Each malloc arena reserves 64 MiB of address space, which is limited.
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', MALLOC_ARENA_MAX: '2' } as const;
/** The user that the program believes to be. Outside the cage it has the rights of the service's user, without capabilities. */
const insideUser = '65534';

export function createConfinement(options: ConfinementOptions = {}): Confinement {
  const bubblewrap = options.bubblewrap ?? 'bwrap';
  let probe: Promise<string | undefined> | undefined;
  const obstacle = (): Promise<string | undefined> => {
    probe ??= findObstacle(bubblewrap);
    return probe;
  };
  const mayCage = async (): Promise<boolean> => {
    const reason = await obstacle();
    if (reason !== undefined && options.allowUnconfined !== true) throw new ConfinementError(reason);
    return reason === undefined;
  };

  return {
    obstacle,
    async run(command) {
      const cage = (await mayCage()) ? [bubblewrap, ...cageArguments(command), '--die-with-parent', '--'] : [];
      const args = [...limitArguments(command.limits), '--', ...cage, command.command, ...command.args];
      const result = await runProcess('prlimit', args, {
        timeoutMs: command.timeoutMs ?? defaultTimeoutMs,
        signal: command.signal,
        env: environment,
        workingDir: command.workingDir,
        onOutput: command.onOutput,
        ...(command.outputBytesMax === undefined ? {} : { outputBytesMax: command.outputBytesMax }),
      });
      if (result.exitCode === null || !(command.exitCodes ?? []).includes(result.exitCode)) throwUnlessSuccess(command.command, result);
      return result;
    },
    async launch(daemon) {
      // As process 1 of its namespace the program has no helper above it, so that the reported process id is its own.
      const cage = (await mayCage()) ? [bubblewrap, ...cageArguments(daemon), '--as-pid-1', '--info-fd', '3', '--'] : undefined;
      const args = [...limitArguments(daemon.limits), '--', ...(cage ?? []), daemon.command, ...daemon.args];
      return launchDetached(args, daemon, cage !== undefined);
    },
  };
}

function limitArguments(limits: ConfinedLimits = {}): string[] {
  const { addressSpaceBytes, openFiles } = { ...defaultLimits, ...limits };
  const args = [`--as=${addressSpaceBytes}`, `--nofile=${openFiles}`, '--core=0'];
  if (limits.cpuSeconds !== undefined) args.push(`--cpu=${limits.cpuSeconds}`);
  if (limits.fileSizeBytes !== undefined) args.push(`--fsize=${limits.fileSizeBytes}`);
  return args;
}

function cageArguments(command: Omit<ConfinedCommand, 'command' | 'args' | 'limits'>): string[] {
  const network = command.sharesNetwork === true ? ['--share-net'] : [];
  const args = ['--unshare-all', ...network, '--new-session', '--cap-drop', 'ALL', '--uid', insideUser, '--gid', insideUser, '--clearenv'];
  for (const [name, value] of Object.entries(environment)) args.push('--setenv', name, value);
  args.push(...systemBinds(), '--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp');
  for (const path of command.devices ?? []) args.push('--dev-bind', path, path);
  // Folders before what lies in them, so that a read-only file inside a writable folder stays read-only.
  for (const path of command.readWrite ?? []) args.push('--bind', path, path);
  for (const path of command.readOnly ?? []) args.push('--ro-bind', path, path);
  args.push('--chdir', command.workingDir ?? '/');
  return args;
}

let systemBindsOfThisMachine: string[] | undefined;

/** Programs and libraries. On most systems all but /usr are links into it. */
function systemBinds(): string[] {
  if (systemBindsOfThisMachine !== undefined) return systemBindsOfThisMachine;
  const args = ['--ro-bind', '/usr', '/usr'];
  for (const path of ['/lib', '/lib32', '/lib64', '/libx32', '/bin', '/sbin']) {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats?.isSymbolicLink() === true) args.push('--symlink', readlinkSync(path), path);
    else if (stats?.isDirectory() === true) args.push('--ro-bind', path, path);
  }
  for (const path of ['/etc/ld.so.cache', '/etc/ld.so.conf', '/etc/ld.so.conf.d', '/etc/alternatives'])
    args.push('--ro-bind-try', path, path);
  systemBindsOfThisMachine = args;
  return args;
}

async function findObstacle(bubblewrap: string): Promise<string | undefined> {
  try {
    const result = await runProcess(bubblewrap, [...cageArguments({}), '--die-with-parent', '--', 'true'], {
      timeoutMs: launchTimeoutMs,
      env: environment,
    });
    if (result.exitCode === 0) return undefined;
    return (
      `bubblewrap cannot make its namespaces here (${result.stderr.trim()}). Allow unprivileged user namespaces ` +
      '(sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)'
    );
  } catch (error) {
    if (error instanceof ProcessError && error.failure === 'not-found')
      return 'bubblewrap is not installed (Debian: apt-get install bubblewrap)';
    throw error;
  }
}

function launchDetached(args: readonly string[], daemon: ConfinedDaemon, caged: boolean): Promise<{ processId: number }> {
  return new Promise((resolve, reject) => {
    const log = openSync(daemon.logPath, 'a', 0o600);
    const child = spawn('prlimit', args, {
      detached: true,
      stdio: ['ignore', log, log, 'pipe'],
      env: { ...environment },
      cwd: daemon.workingDir,
    });
    closeSync(log);
    child.unref();
    const info = child.stdio[3] as Readable;
    const fail = (reason: string, cause?: unknown): void => {
      settle();
      child.kill('SIGKILL');
      const said = readLog(daemon.logPath);
      reject(new ProcessError('failed', `${daemon.command} did not start: ${reason}${said === '' ? '' : ` (${said})`}`, { cause }));
    };
    const timer = setTimeout(() => fail(`no sign of life within ${launchTimeoutMs} ms`), launchTimeoutMs);
    const settle = (): void => {
      clearTimeout(timer);
      child.removeAllListeners();
      info.destroy();
      // A child that cannot be started emits 'error' late; nobody listens any more.
      child.on('error', () => {});
    };
    let report = '';
    child.on('error', (cause) => fail(cause.message, cause));
    child.on('exit', (code, signal) => fail(`it ended with ${signal ?? `exit code ${code}`}`));
    info.on('error', (cause) => fail(cause.message, cause));
    info.on('data', (chunk: Buffer) => {
      report += chunk.toString('latin1');
      // The id comes first, but bubblewrap goes on writing: when nobody reads any more it dies, and the program never starts.
      if (!report.includes('}')) return;
      const processId = /"child-pid":\s*(\d+)/.exec(report)?.[1];
      if (processId === undefined) return fail(`its cage reported ${report}`);
      settle();
      resolve({ processId: Number(processId) });
    });
    if (!caged && child.pid !== undefined) {
      settle();
      resolve({ processId: child.pid });
    }
  });
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim().slice(-2000);
  } catch {
    return '';
  }
}
