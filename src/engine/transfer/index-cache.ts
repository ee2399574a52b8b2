/**
 * The domain indexes that this process has loaded. One object for each domain, used by several jobs; keeping it up (adopting what a session
 * stored, merging segments) happens after a job's answer and before the next job's start.
 */
import { createHash } from 'node:crypto';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { DomainIndex } from '../repository/index/domain-index.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';

/** Tables of indexes that nobody uses are dropped above this. */
const IDLE_TABLE_BYTES_MAX = 64 * 1024 * 1024;

export interface IndexCache {
  /** The index of a domain, or undefined when the cache folder cannot be used. */
  acquire(repository: Repository, keys: DomainKeys, cacheDir: string): Promise<IndexLease | undefined>;
  /** Damage was found in these packs: later backups do not refer to them. */
  distrust(repository: Repository, keys: DomainKeys, cacheDir: string, packNames: readonly string[]): void;
  /** Resolves when no upkeep is running. */
  settled(): Promise<void>;
}

export interface IndexLease {
  readonly index: DomainIndex;
  /** Gives the index back, and starts its upkeep. */
  release(session: string, committed: boolean): void;
}

interface Entry {
  readonly index: DomainIndex;
  users: number;
  upkeep: Promise<void>;
}

export function createIndexCache(log: Log): IndexCache {
  const entries = new Map<string, Entry>();

  const dropIdle = (): void => {
    let total = [...entries.values()].reduce((sum, entry) => sum + entry.index.tableBytes, 0);
    for (const [key, entry] of entries) {
      if (total <= IDLE_TABLE_BYTES_MAX) return;
      if (entry.users > 0) continue;
      total -= entry.index.tableBytes;
      entries.delete(key);
    }
  };

  const find = (repository: Repository, keys: DomainKeys, cacheDir: string): { key: string; entry: Entry } => {
    const fingerprint = createHash('sha256').update(keys.idKey).digest('hex');
    const key = JSON.stringify([cacheDir, repository.id, keys.domain, fingerprint]);
    const entry = entries.get(key) ?? { index: DomainIndex.open(repository, keys, cacheDir), users: 0, upkeep: Promise.resolve() };
    // The youngest at the end: the oldest idle one is dropped first.
    entries.delete(key);
    entries.set(key, entry);
    return { key, entry };
  };

  return {
    distrust(repository, keys, cacheDir, packNames) {
      try {
        const { entry } = find(repository, keys, cacheDir);
        for (const packName of packNames) entry.index.distrust(packName);
      } catch (error) {
        log.warn({ error: messageOf(error), domain: keys.domain }, 'damaged packs could not be noted');
      }
    },
    async acquire(repository, keys, cacheDir) {
      try {
        const { key, entry } = find(repository, keys, cacheDir);
        entry.users += 1;
        await entry.upkeep;
        const release = (session: string, committed: boolean): void => {
          entry.upkeep = entry.upkeep
            .then(() => entry.index.endSession(session, committed))
            .then(() => {
              entry.users -= 1;
              return entry.users === 0 ? entry.index.compact() : undefined;
            })
            .then(dropIdle)
            .catch((error: unknown) => {
              // What the index does not know is stored once more, or learnt again from the packs.
              log.warn({ error: messageOf(error), domain: keys.domain }, 'the chunk index could not be kept up');
              entries.delete(key);
            });
        };
        return { index: entry.index, release };
      } catch (error) {
        log.warn({ error: messageOf(error), domain: keys.domain }, 'the chunk index cannot be used');
        return undefined;
      }
    },
    async settled() {
      await Promise.all([...entries.values()].map((entry) => entry.upkeep));
    },
  };
}
