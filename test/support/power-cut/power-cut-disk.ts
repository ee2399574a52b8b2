/**
 * A disk whose power can be cut: a real mounted folder, for any program, that knows what was synced and what was not. See `disk-state.ts` for what
 * is left after a cut.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Mark, Order, Reply } from './messages.ts';

export interface PowerCutDisk {
  readonly folder: string;
  /** Notes something in the log of the disk. Returns how many operations the log has then. */
  mark(text: string): Promise<number>;
  /** All notes so far. */
  marks(): Promise<readonly Mark[]>;
  /** How many operations were done. */
  length(): Promise<number>;
  /** From now on everything fails, as without power. End the programs, then switch on. */
  switchOff(): Promise<void>;
  /** The disk as it is after the cut; `seed` decides about what was not synced. */
  switchOn(seed: number): Promise<void>;
  /** Writes what a cut behind the first `count` operations would have left into a new folder of the machine's own file system. */
  writeOut(count: number, seed: number, folder: string): Promise<void>;
  stop(): Promise<void>;
}

/** Only root may mount; machines without `/dev/fuse` cannot. */
export const canCutPower = (): boolean => process.getuid?.() === 0 && existsSync('/dev/fuse');

export async function startPowerCutDisk(folder: string): Promise<PowerCutDisk> {
  await mkdir(folder, { recursive: true });
  const child = fork(join(import.meta.dirname, 'disk-process.ts'), [folder], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const ask = askerOf(child);
  await Promise.race([
    ask.ready,
    once(child, 'exit').then(() => {
      throw new Error(`no disk could be mounted at ${folder}`);
    }),
  ]);
  return {
    folder,
    mark: (text) => ask.number({ kind: 'mark', text }),
    marks: async () => (await ask.any({ kind: 'marks' })) as readonly Mark[],
    length: () => ask.number({ kind: 'length' }),
    switchOff: async () => void (await ask.any({ kind: 'off' })),
    switchOn: async (seed) => void (await ask.any({ kind: 'on', seed })),
    writeOut: async (count, seed, target) => void (await ask.any({ kind: 'write out', count, seed, folder: target })),
    async stop() {
      const exited = once(child, 'exit');
      await ask.any({ kind: 'stop' });
      await exited;
      await rmdir(folder);
    },
  };
}

function askerOf(child: ChildProcess) {
  const waiting = new Map<number, { resolve(value: Reply['value']): void; reject(error: Error): void }>();
  let lastId = 0;
  const isReady = Promise.withResolvers<void>();
  child.on('message', ({ id, value, error }: Reply) => {
    if (id === 0) return isReady.resolve();
    if (error === undefined) waiting.get(id)?.resolve(value);
    else waiting.get(id)?.reject(new Error(error));
    waiting.delete(id);
  });
  child.on('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error('the disk is gone'));
  });
  const any = (order: Order): Promise<Reply['value']> =>
    new Promise((resolve, reject) => {
      lastId += 1;
      waiting.set(lastId, { resolve, reject });
      child.send({ ...order, id: lastId });
    });
  return { ready: isReady.promise, any, number: async (order: Order) => Number(await any(order)) };
}
