/** Starts the process of the disks, gives it orders, and ends it in good and in bad ways. */
import { type ChildProcess, fork } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processes } from '../support/processes.ts';
import type { Answer, DiskOrders, DiskProcessPlan, Noted, OrderName } from './disk-orders.ts';

/** It is started hundreds of times an hour. */
const compileCache = join(tmpdir(), 'stillpoint-torture-compile-cache');
const entry = join(import.meta.dirname, 'disk-process.ts');

/** The process died before it answered. */
export class DiskProcessDied extends Error {
  constructor(name: string) {
    super(`the process of the disks died during ${name}`);
    this.name = 'DiskProcessDied';
  }
}

/** What an order was refused with. */
export class OrderFailed extends Error {
  readonly kind: string;

  constructor(name: string, failure: { message: string; stack: string; kind: string }) {
    super(`${name}: ${failure.message}`);
    this.name = 'OrderFailed';
    this.kind = failure.kind;
    this.stack = `${name}: ${failure.stack}`;
  }
}

interface Waiting {
  readonly name: OrderName;
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export class DiskClient {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  /** The sessions of each backup, in the order of their use. */
  readonly sessions: Map<string, string[]>;
  #lastCall = 0;
  readonly ended: Promise<void>;
  isDead = false;
  #output = '';

  private constructor(plan: DiskProcessPlan, sessions: Map<string, string[]>) {
    this.sessions = sessions;
    this.#child = fork(entry, [JSON.stringify(plan)], {
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (part: Buffer) => {
        this.#output = (this.#output + part.toString('utf8')).slice(-4_000);
      });
    }
    this.#child.on('message', (message) => this.#receive(message as Answer | Noted));
    this.ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        this.isDead = true;
        for (const { name, reject } of this.#waiting.values()) reject(new DiskProcessDied(name));
        this.#waiting.clear();
        resolve();
      });
    });
  }

  static async start(plan: DiskProcessPlan, sessions: Map<string, string[]>): Promise<DiskClient> {
    const client = new DiskClient(plan, sessions);
    try {
      await client.order('begin', undefined);
    } catch (error) {
      await client.kill();
      throw new Error(`the process of the disks did not begin: ${error instanceof Error ? error.stack : error}\n${client.#output}`);
    }
    return client;
  }

  get output(): string {
    return this.#output;
  }

  order<N extends OrderName>(
    name: N,
    argument: Parameters<DiskOrders[N]>[0],
    options: { signal?: AbortSignal } = {},
  ): Promise<Awaited<ReturnType<DiskOrders[N]>>> {
    if (this.isDead || !this.#child.connected) return Promise.reject(new DiskProcessDied(name));
    this.#lastCall += 1;
    const call = this.#lastCall;
    options.signal?.addEventListener('abort', () => this.#send({ abort: call }), { once: true });
    return new Promise((resolve, reject) => {
      this.#waiting.set(call, { name, resolve: resolve as (result: unknown) => void, reject });
      this.#send({ call, name, argument });
    });
  }

  /** SIGKILL of the service alone: storage daemons live on, the data mover ends by itself. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  /** Kills the data mover; false when there is none just now. */
  async killMover(): Promise<boolean> {
    const mover = (await processes()).find(
      ({ parentId, commandLine }) => parentId === this.#child.pid && commandLine.includes('data-mover'),
    );
    if (mover === undefined) return false;
    try {
      process.kill(mover.id, 'SIGKILL');
      return true;
    } catch {
      return false;
    }
  }

  async stop(): Promise<void> {
    if (this.isDead) return;
    await this.order('stop', undefined);
    await this.ended;
  }

  #send(message: object): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #receive(message: Answer | Noted): void {
    if ('noted' in message) {
      const { backupId, session } = message.noted;
      this.sessions.set(backupId, [...(this.sessions.get(backupId) ?? []), session]);
      return;
    }
    const waiting = this.#waiting.get(message.call);
    this.#waiting.delete(message.call);
    if ('failure' in message) waiting?.reject(new OrderFailed(waiting.name, message.failure));
    else waiting?.resolve(message.result);
  }
}

/** Whether the disks refuse an order, as people are refused. */
export async function isRefusal(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return false;
  } catch (error) {
    if (error instanceof OrderFailed && error.kind === 'conflict') return true;
    throw error;
  }
}
