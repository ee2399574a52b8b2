/**
 * A file of real bytes that does nothing but take space, so that there is some to give when the disk is full: PostgreSQL can start then, and
 * people get in to delete something.
 *
 * It is given up in two halves, because clients that go on writing may take what is freed at once: when PostgreSQL does not start, and whenever less
 * is free than PostgreSQL may need in the next moments (it makes its log in pieces of 16 MiB). It comes back by itself when space is back.
 */
import { randomFillSync } from 'node:crypto';
import { open, rm, stat, statfs, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { createTurns } from '../lib/turns.ts';

export interface BallastFigures {
  readonly sizeBytes: number;
  /** Less than the size while it is given up. */
  readonly presentBytes: number;
}

export interface Ballast {
  /** Gives up a half when the disk is short of space. False: it is not, or nothing is left to give. */
  giveUp(reason: string): Promise<boolean>;
  /** Looks at the disk from now on, and at once. */
  watch(): void;
  figures(): Promise<BallastFigures>;
  stop(): Promise<void>;
}

export interface BallastOptions {
  readonly path: string;
  /** 0 = none. */
  readonly sizeBytes: number;
  readonly log: Log;
  readonly lookEveryMs?: number;
}

const mib = 2 ** 20;
const defaultLookEveryMs = 2_000;

/** Below this much free space a ballast of that size is given up, and comes back only when much more is free: 24 and 96 MiB for 64. */
const shortBelow = (sizeBytes: number): number => (sizeBytes * 3) / 8;
const comfortableFrom = (sizeBytes: number): number => (sizeBytes * 3) / 2;

export function createBallast({ path, sizeBytes, log, lookEveryMs = defaultLookEveryMs }: BallastOptions): Ballast {
  const stopping = new AbortController();
  const inTurn = createTurns<'ballast'>();
  let watching: Promise<void> | undefined;

  async function giveUp(reason: string): Promise<boolean> {
    const [freeBytes, presentBytes] = await Promise.all([freeBytesBeside(path), presentBytesOf(path)]);
    if (presentBytes === 0 || freeBytes >= shortBelow(sizeBytes)) return false;
    const leftBytes = presentBytes > sizeBytes / 2 ? Math.floor(sizeBytes / 2) : 0;
    await (leftBytes === 0 ? rm(path, { force: true }) : truncate(path, leftBytes));
    log.warn({ reason, freeBytes, ballastBytes: leftBytes }, 'the disk is full: ballast was given up to make some space');
    return true;
  }

  async function restore(): Promise<void> {
    const presentBytes = await presentBytesOf(path);
    const missingBytes = sizeBytes - presentBytes;
    if (missingBytes <= 0 || (await freeBytesBeside(path)) - missingBytes < comfortableFrom(sizeBytes)) return;
    await fill(path, presentBytes, sizeBytes, stopping.signal);
    log.info({ ballastBytes: sizeBytes }, 'the ballast is in place');
  }

  async function look(): Promise<void> {
    try {
      if (!(await giveUp('little space is free'))) await restore();
    } catch (error) {
      if (!stopping.signal.aborted) log.warn({ error: messageOf(error) }, 'the ballast could not be looked after');
    }
  }

  return {
    giveUp: (reason) => inTurn('ballast', () => giveUp(reason)),
    watch() {
      watching ??= (async () => {
        while (!stopping.signal.aborted) {
          await inTurn('ballast', look);
          await pause(lookEveryMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {});
        }
      })();
    },
    figures: async () => ({ sizeBytes, presentBytes: Math.min(sizeBytes, await presentBytesOf(path)) }),
    async stop() {
      stopping.abort();
      await watching;
    },
  };
}

/** What of it really takes space. */
export async function presentBytesOf(path: string): Promise<number> {
  const stats = await stat(path).catch(() => undefined);
  return stats === undefined ? 0 : Math.min(stats.size, stats.blocks * 512);
}

async function freeBytesBeside(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(dirname(path));
  return bavail * bsize;
}

/** Random bytes, so that no file system can store them as less. */
async function fill(path: string, from: number, to: number, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'a', 0o600);
  try {
    await file.truncate(from);
    const block = Buffer.alloc(mib);
    for (let at = from; at < to && !signal.aborted; at += mib) await file.write(randomFillSync(block), 0, Math.min(mib, to - at));
    await file.sync();
  } finally {
    await file.close();
  }
}
