import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { serviceEnvironment, serviceOptions } from '../../setup/node.mjs';

/**
 * The real service as a child process on a state directory of its own, for tests that speak to it over the wire only.
 */
export interface ServiceUnderTest {
  readonly url: string;
  readonly stateDir: string;
  readonly processId: number;
  /** Milliseconds from the start of the process to its ready line. */
  readonly readyAfterMs: number;
  /** Everything the service printed so far. */
  log(): string;
  /** Resolves with the signal or exit code once the process is gone. */
  readonly ended: Promise<string>;
  /** SIGTERM, and the end of the process. */
  stop(): Promise<string>;
  /** SIGKILL of the service alone: PostgreSQL and the storage daemons live on, as after a crash. */
  kill(): Promise<void>;
}

const repositoryRoot = resolve(import.meta.dirname, '../..');
const cli = join(repositoryRoot, 'src/main/cli.ts');
const readyTimeoutMs = 60_000;

/** A fresh folder that an unprivileged PostgreSQL can reach too. */
export async function makeStateDir(): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), 'stillpoint-test-'));
  await chmod(parent, 0o711);
  const stateDir = join(parent, 'state');
  await mkdir(stateDir, { mode: 0o711 });
  return stateDir;
}

/** `whenSpawned` hears of the process before it is ready: it may be told to stand still at an instant of its start. */
export async function startServiceUnderTest(
  stateDir: string,
  environment: Record<string, string> = {},
  whenSpawned?: (processId: number) => void,
): Promise<ServiceUnderTest> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...serviceOptions, cli, 'serve'], {
    env: { ...serviceEnvironment, ...process.env, STILLPOINT_STATE_DIR: stateDir, STILLPOINT_LISTEN: '127.0.0.1:0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (child.pid !== undefined) whenSpawned?.(child.pid);
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const ended = new Promise<string>((done) => child.once('exit', (code, signal) => done(signal ?? String(code))));
  const url = await readyLine(
    child,
    ended,
    () => log,
    (line) => {
      log += `${line}\n`;
    },
  );
  return {
    url,
    stateDir,
    processId: child.pid ?? 0,
    readyAfterMs: performance.now() - startedAt,
    log: () => log,
    ended,
    stop: async () => {
      child.kill('SIGTERM');
      return await ended;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function readyLine(child: ChildProcess, ended: Promise<string>, log: () => string, onLine: (line: string) => void): Promise<string> {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(new Error(`the service was not ready in time:\n${log()}`));
    }, readyTimeoutMs);
    void ended.then((how) => {
      clearTimeout(timer);
      fail(new Error(`the service ended (${how}) before it was ready:\n${log()}`));
    });
    if (child.stdout === null) throw new Error('no output to read');
    createInterface({ input: child.stdout }).on('line', (line) => {
      onLine(line);
      const match = /Stillpoint is ready: (\S+)/.exec(line);
      if (match?.[1] === undefined) return;
      clearTimeout(timer);
      done(match[1]);
    });
  });
}

/** Ends what a killed service left running on this state directory, and removes it. */
export async function removeStateDir(stateDir: string): Promise<void> {
  await endPostgres(stateDir);
  await endMachinesAndDaemons(stateDir);
  await rm(resolve(stateDir, '..'), { recursive: true, force: true });
}

async function endPostgres(stateDir: string): Promise<void> {
  const pidFile = await readFile(join(stateDir, 'postgres/data/postmaster.pid'), 'utf8').catch(() => undefined);
  const processId = Number(pidFile?.split('\n')[0]);
  if (!(processId > 1)) return;
  try {
    process.kill(processId, 'SIGINT');
    while (await isRunning(processId)) await sleep(20);
  } catch {
    // It is gone.
  }
}

/** One that has ended, and whose parent has not asked for its end yet, does not run any more. */
async function isRunning(processId: number): Promise<boolean> {
  const stat = await readFile(`/proc/${processId}/stat`, 'latin1').catch(() => undefined);
  return stat !== undefined && !/\) Z /.test(stat);
}

/** They carry their state directory in their command line: only those of this one are ended. */
async function endMachinesAndDaemons(stateDir: string): Promise<void> {
  const { readdir } = await import('node:fs/promises');
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const commandLine = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (/qemu-(storage-daemon|system)/.test(commandLine) && commandLine.includes(stateDir)) process.kill(Number(entry), 'SIGKILL');
  }
}
