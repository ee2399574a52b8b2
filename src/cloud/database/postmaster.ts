/**
 * One PostgreSQL server process over one data directory: found, started, watched for readiness, stopped.
 *
 * It runs in a session of its own, so that neither a signal to the terminal nor a SIGKILL of the service ends it; the next service
 * finds it by its pid file. The file alone proves nothing (the number may belong to another program by now), so the process must also
 * have the data directory as its working directory.
 */
import { spawn } from 'node:child_process';
import { open, readFile, readlink, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Account } from './service-account.ts';

export interface Postmaster {
  readonly processId: number;
  readonly socketDir: string;
}

export interface PostmasterPlan {
  readonly program: string;
  readonly dataDir: string;
  readonly socketDir: string;
  readonly logFile: string;
  readonly account: Account;
  readonly settings: Readonly<Record<string, string>>;
}

const pollMs = 10;
const readyWithinMs = 120_000;
const stoppedWithinMs = 60_000;

/** The server that runs over a data directory, ready or not; undefined when none does. */
export async function findPostmaster(dataDir: string): Promise<(Postmaster & { readonly ready: boolean }) | undefined> {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const lines = text.split('\n').map((line) => line.trim());
  const processId = Number(lines[0]);
  if (!(await runsIn(processId, dataDir))) return undefined;
  return { processId, socketDir: lines[4] ?? '', ready: lines[7] === 'ready' };
}

async function runsIn(processId: number, dataDir: string): Promise<boolean> {
  if (!Number.isSafeInteger(processId) || processId <= 1) return false;
  const directory = await readlink(`/proc/${processId}/cwd`).catch(() => undefined);
  return directory !== undefined && directory === (await realpath(dataDir));
}

/** Starts a server and waits until it takes connections. What it says goes to the log file; its end is named in the error. */
export async function startPostmaster(plan: PostmasterPlan): Promise<Postmaster> {
  await forgetStalePidFile(plan.dataDir);
  const logFile = await open(plan.logFile, 'a');
  const logStart = (await logFile.stat()).size;
  const settings = Object.entries({ ...plan.settings, unix_socket_directories: plan.socketDir }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  const child = spawn(plan.program, ['-D', plan.dataDir, ...settings], {
    detached: true,
    stdio: ['ignore', logFile.fd, logFile.fd],
    cwd: '/',
    env: { LC_ALL: 'C', TZ: 'UTC' },
    ...(process.getuid?.() === 0 ? plan.account : {}),
  });
  let ended: string | undefined;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended = `ended with ${signal ?? `code ${code}`}`));
  child.unref();
  await logFile.close();
  for (let waitedMs = 0; waitedMs < readyWithinMs; waitedMs += pollMs) {
    const found = await findPostmaster(plan.dataDir);
    if (found?.ready) return found;
    // A server that another process started in the same moment is as good as ours.
    if (ended !== undefined && found === undefined) throw new Error(`PostgreSQL ${ended}: ${await tailOf(plan.logFile, logStart)}`);
    await pause(pollMs);
  }
  throw new Error(`PostgreSQL was not ready after ${readyWithinMs / 1000} s: ${await tailOf(plan.logFile, logStart)}`);
}

/** A pid file that names a living process of another kind would keep PostgreSQL from starting for ever. */
async function forgetStalePidFile(dataDir: string): Promise<void> {
  const path = join(dataDir, 'postmaster.pid');
  const processId = Number((await readFile(path, 'utf8').catch(() => '')).split('\n')[0]);
  if (!(processId > 0) || (await findPostmaster(dataDir)) !== undefined) return;
  const program = await readlink(`/proc/${processId}/exe`).catch(() => undefined);
  if (program !== undefined && !program.includes('/postgres')) await rm(path, { force: true });
}

async function tailOf(path: string, from: number): Promise<string> {
  const text = (await readFile(path)).subarray(from).toString('utf8').trim();
  return text.split('\n').slice(-6).join(' | ') || 'it said nothing';
}

export async function isAlive(postmaster: Postmaster, dataDir: string): Promise<boolean> {
  return runsIn(postmaster.processId, dataDir);
}

/** Fast shutdown: sessions are ended, what was committed is flushed. */
export async function stopPostmaster(postmaster: Postmaster, dataDir: string): Promise<void> {
  if (!(await isAlive(postmaster, dataDir))) return;
  process.kill(postmaster.processId, 'SIGINT');
  for (let waitedMs = 0; waitedMs < stoppedWithinMs; waitedMs += pollMs) {
    if (!(await isAlive(postmaster, dataDir))) return;
    await pause(pollMs);
  }
  throw new Error(`PostgreSQL (process ${postmaster.processId}) did not stop within ${stoppedWithinMs / 1000} s`);
}
