/**
 * The data mover as the service sees it: a process of its own, started at once and again after it died, so that a small job never waits for a
 * start. Calls of a process that dies reject with kind `interrupted`; whoever made them repeats them as their saga says.
 *
 * Backups and restores pass a queue: two at a time, so that a short one is not stuck behind a long one, and no more, because more would
 * only share the same cores and the same memory. Calls that move no data do not wait.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import type { Log } from '../../lib/log.ts';
import { errorFromPlain, RepositoryError } from '../repository/errors.ts';
import type { BackupIdentity, BackupOutcome, DataMover, RestoreCallOptions, RestoreOntoOutcome, RestoreOutcome } from './contract.ts';
import { FairQueue } from './fair-queue.ts';
import type { MoverAnswer, MoverMessage, MoverRequest } from './mover-protocol.ts';

const HEAVY_CALLS_MAX = 2;
const STOP_GRACE_MS = 2_000;
/** The C library else keeps one for each thread, none of which ever shrinks. */
const MALLOC_ARENAS = '2';

export interface DataMoverClientOptions {
  /** The program of the process: `main/data-mover.ts`. */
  readonly entryPath: string;
  readonly execPath?: string;
  readonly execArgv?: readonly string[];
  readonly log: Log;
}

export function createDataMover(options: DataMoverClientOptions): DataMover {
  const queue = new FairQueue(HEAVY_CALLS_MAX);
  let current: MoverProcess | undefined;
  let isStopped = false;

  const processNow = (): MoverProcess => {
    if (isStopped) throw new RepositoryError('interrupted', 'the data mover is stopped');
    if (current === undefined || current.isDead) current = new MoverProcess(options);
    return current;
  };

  const call = async <T>(request: Omit<MoverRequest, 'call'>, callOptions?: RestoreCallOptions): Promise<T> =>
    (await processNow().call(request, callOptions)) as T;

  const heavy = async <T>(request: Omit<MoverRequest, 'call'>, callOptions: RestoreCallOptions): Promise<T> => {
    try {
      return await queue.run(callOptions.signal, () => call<T>(request, callOptions));
    } catch (error) {
      if (!callOptions.signal.aborted || error instanceof RepositoryError) throw error;
      throw new RepositoryError('aborted', 'the work was aborted before it began', { cause: error });
    }
  };

  // Started now, so that the first backup finds it warm.
  processNow();

  return {
    initRepository: (argument) => call({ method: 'initRepository', argument }),
    backup: (argument, callOptions) => heavy<BackupOutcome>({ method: 'backup', argument }, callOptions),
    restore: (argument, callOptions) => heavy<RestoreOutcome>({ method: 'restore', argument }, callOptions),
    restoreOnto: (argument, callOptions) => heavy<RestoreOntoOutcome>({ method: 'restoreOnto', argument }, callOptions),
    tombstone: (repository, domain, session) => call({ method: 'tombstone', argument: { repository, domain, session } }),
    identify: async (repository, domain, session) =>
      await call<BackupIdentity>({ method: 'identify', argument: { repository, domain, session } }),
    async stop() {
      isStopped = true;
      await current?.stop();
    },
  };
}

/**
 * Nothing of the service's environment, which may hold passwords, is for this process. It shares the cache of compiled modules, if the
 * service has one: that halves the time to start, and saves 25 MiB in each thread that otherwise loads a parser for TypeScript.
 */
function environmentOfMover(): Record<string, string> {
  const cacheDir = getCompileCacheDir();
  // The function names the folder for this version of Node, the variable the one above it.
  return { MALLOC_ARENA_MAX: MALLOC_ARENAS, ...(cacheDir === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cacheDir) }) };
}

interface PendingCall {
  resolve(value: unknown): void;
  reject(error: Error): void;
  readonly onProgress: RestoreCallOptions['onProgress'];
  readonly admit: RestoreCallOptions['admit'];
  refusal?: Error;
}

class MoverProcess {
  readonly #child: ChildProcess;
  readonly #log: Log;
  readonly #calls = new Map<number, PendingCall>();
  readonly #ended: Promise<void>;
  #lastCall = 0;
  #isStopping = false;
  isDead = false;

  constructor({ entryPath, execPath, execArgv, log }: DataMoverClientOptions) {
    this.#log = log;
    this.#child = fork(entryPath, {
      serialization: 'advanced',
      env: environmentOfMover(),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      ...(execPath === undefined ? {} : { execPath }),
      // Options of this process (a debugger's port, a program given on the command line) are not for that one.
      execArgv: [...(execArgv ?? [])],
    });
    this.#child.on('message', (answer) => this.#receive(answer as MoverAnswer));
    this.#child.on('error', (error) => this.#die(`the data mover failed: ${error.message}`));
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#die(`the data mover ended (${signal ?? `exit code ${code}`})`);
        resolve();
      });
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => log.warn({ output: text.trimEnd() }, 'the data mover says something'));
    }
    // The service ends when its own work is done, not when the mover does.
    this.#child.unref();
    this.#child.channel?.unref();
  }

  call(request: Omit<MoverRequest, 'call'>, options?: RestoreCallOptions): Promise<unknown> {
    this.#lastCall += 1;
    const call = this.#lastCall;
    const abort = (): void => this.#send({ abort: call });
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#calls.set(call, { resolve, reject, onProgress: options?.onProgress, admit: options?.admit });
      this.#keepAlive();
      this.#send({ ...request, call } as MoverRequest);
    });
    if (options?.signal.aborted) abort();
    options?.signal.addEventListener('abort', abort, { once: true });
    return answered.finally(() => {
      options?.signal.removeEventListener('abort', abort);
      this.#calls.delete(call);
      this.#keepAlive();
    });
  }

  /** Ends the process. A job that runs dies with it, which is as safe as any other end: its session is settled by the next attempt. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    if (this.isDead) return;
    this.#child.ref();
    this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_GRACE_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #send(message: MoverMessage): void {
    if (this.isDead || !this.#child.connected) {
      this.#die('the data mover is gone');
      return;
    }
    this.#child.send(message, (error) => {
      if (error !== null) this.#die(`the data mover cannot be reached: ${error.message}`);
    });
  }

  /** Only a call that waits for an answer holds this process. */
  #keepAlive(): void {
    if (this.#calls.size > 0) this.#child.channel?.ref();
    else this.#child.channel?.unref();
  }

  #receive(answer: MoverAnswer): void {
    const call = this.#calls.get(answer.call);
    if (call === undefined) return;
    if ('progress' in answer) call.onProgress?.(...answer.progress);
    else if ('needs' in answer) void this.#admit(answer.call, call, answer.needs);
    else if ('error' in answer) call.reject(call.refusal ?? errorFromPlain(answer.error));
    else call.resolve(answer.value);
  }

  /** A refusal is the end of the call in the words of whoever refused; the mover hears an abort. */
  async #admit(id: number, call: PendingCall, bytes: number): Promise<void> {
    try {
      await call.admit?.(bytes);
      this.#send({ admitted: id });
    } catch (error) {
      call.refusal = error instanceof Error ? error : new Error(String(error));
      this.#send({ abort: id });
    }
  }

  #die(reason: string): void {
    if (!this.isDead && !this.#isStopping) this.#log.error({ calls: this.#calls.size }, reason);
    this.isDead = true;
    for (const call of this.#calls.values()) call.reject(call.refusal ?? new RepositoryError('interrupted', reason));
  }
}
