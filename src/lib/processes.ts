/**
 * Child processes with a bound on everything: time, output, and an abort signal.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDir?: string | undefined;
  /** Standard output beyond this many bytes ends the process: half an answer is of no use. */
  readonly outputBytesMax?: number;
  /** Gets standard output as it comes; then none of it is collected. */
  readonly onOutput?: ((chunk: Buffer) => void) | undefined;
}

export interface ProcessResult {
  readonly exitCode: number | null;
  readonly exitSignal: NodeJS.Signals | null;
  readonly stdout: string;
  /** The beginning, at most 16 KiB. */
  readonly stderr: string;
}

export type ProcessFailure = 'not-found' | 'timed-out' | 'too-much-output' | 'failed';

export class ProcessError extends Error {
  readonly failure: ProcessFailure;
  readonly result: ProcessResult | undefined;

  constructor(failure: ProcessFailure, message: string, options: { result?: ProcessResult; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'ProcessError';
    this.failure = failure;
    this.result = options.result;
  }
}

const defaultOutputBytesMax = 4 * 1024 * 1024;
const stderrBytesMax = 16 * 1024;

/**
 * Runs a program to its end. Rejects when it cannot start, is aborted (with the signal's reason), runs out of time or says too much;
 * in each case it was killed, with its process group, and has ended. Any exit code resolves.
 */
export function runProcess(command: string, args: readonly string[], options: ProcessOptions): Promise<ProcessResult> {
  options.signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    // A process group of its own, so that a kill reaches what the program itself started.
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...options.env },
      cwd: options.workingDir,
    });
    const output = collector(options.outputBytesMax ?? defaultOutputBytesMax);
    const errors = collector(stderrBytesMax);
    let failure: (() => unknown) | undefined;

    const stop = (why: () => unknown): void => {
      failure ??= why;
      if (child.pid !== undefined) killGroup(child.pid);
    };
    const onAbort = (): void => stop(() => options.signal?.reason);
    const timer = setTimeout(() => {
      stop(() => new ProcessError('timed-out', `${command} did not end within ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    options.signal?.addEventListener('abort', onAbort, { once: true });

    child.stdout.on('data', (chunk: Buffer) => {
      if (options.onOutput !== undefined) options.onOutput(chunk);
      else if (!output.add(chunk)) stop(() => new ProcessError('too-much-output', `${command} printed more than ${output.limit} bytes`));
    });
    child.stderr.on('data', (chunk: Buffer) => errors.add(chunk));
    const settle = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    };
    child.on('error', (cause) => {
      settle();
      reject(new ProcessError('not-found', `${command} cannot be started: ${cause.message}`, { cause }));
    });
    child.on('close', (exitCode, exitSignal) => {
      settle();
      if (failure !== undefined) reject(failure());
      else resolve({ exitCode, exitSignal, stdout: output.text(), stderr: errors.text() });
    });
  });
}

/** Turns an exit code other than 0 into an error that says what the program said. */
export function throwUnlessSuccess(command: string, result: ProcessResult): void {
  if (result.exitCode === 0) return;
  const how = result.exitSignal === null ? `exit code ${result.exitCode}` : `signal ${result.exitSignal}`;
  throw new ProcessError('failed', `${command} failed (${how}): ${result.stderr.trim() || result.stdout.trim()}`, { result });
}

/** The arguments of a running process; empty when it is gone (a zombie has none either), or not ours to see. */
export function processArguments(processId: number): readonly string[] {
  try {
    return readFileSync(`/proc/${processId}/cmdline`, 'latin1').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** Whether `processId` is alive and was started with `mark` somewhere in its arguments: a process id alone may belong to a stranger by now. */
export function isProcessAlive(processId: number, mark: string): boolean {
  return processArguments(processId).some((argument) => argument.includes(mark));
}

/** Waits until the process is gone. False: it is still there when the time is over. */
export async function waitForEnd(processId: number, mark: string, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 1; isProcessAlive(processId, mark); pauseMs = Math.min(pauseMs * 2, 50)) {
    if (performance.now() > deadline) return false;
    await sleep(pauseMs);
  }
  return true;
}

const endTimeoutMs = 5_000;

/** Sends the signals one after the other, five seconds apart, until the process has ended. False: it is there still. */
export async function endProcess(
  processId: number,
  mark: string,
  signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGKILL'],
): Promise<boolean> {
  for (const signal of signals) {
    if (!isProcessAlive(processId, mark)) return true;
    try {
      process.kill(processId, signal);
    } catch {
      return true;
    }
    if (await waitForEnd(processId, mark, endTimeoutMs)) return true;
  }
  return false;
}

export interface FoundProcess {
  readonly id: number;
  /** Without the program itself. */
  readonly args: readonly string[];
}

/** All processes on this machine that run `program`, a name without a path. */
export async function findProcesses(program: string): Promise<FoundProcess[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  return ids.flatMap((id) => {
    const [command, ...args] = processArguments(id);
    return basename(command ?? '') === program ? [{ id, args }] : [];
  });
}

function killGroup(processId: number): void {
  try {
    process.kill(-processId, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

function collector(limit: number): { readonly limit: number; add(chunk: Buffer): boolean; text(): string } {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    limit,
    add(chunk) {
      const fits = length + chunk.length <= limit;
      const kept = fits ? chunk : chunk.subarray(0, Math.max(0, limit - length));
      chunks.push(kept);
      length += kept.length;
      return fits;
    },
    text: () => Buffer.concat(chunks).toString('utf8'),
  };
}
