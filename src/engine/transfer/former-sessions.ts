/**
 * Ends earlier attempts at a backup before a new one starts.
 *
 * An attempt that committed has done the work: its result is returned. Any other must never commit, even when its process only sleeps and
 * wakes later: a fence takes the name of its commit. Attempt and fence compete for one create-once name, so exactly one of them wins.
 * Once the fence stands, nothing can ever refer to the packs of that session, and they are removed.
 */
import { type Commit, type FoundCommit, putFence, readCommit } from '../repository/commit.ts';
import { isRepositoryError } from '../repository/errors.ts';
import { objectNames } from '../repository/format.ts';
import type { FinishedPack } from '../repository/pack-writer.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import { isTombstoned, putTombstone } from '../repository/tombstone.ts';
import type { ObjectStore } from '../stores/contract.ts';
import { describeFinding } from './audit.ts';
import type { BackupOutcome } from './contract.ts';

export function outcomeOf(commit: Commit, commitBytes: number): BackupOutcome {
  const { session, root, map, figures } = commit;
  const { objectCount, readBytes, storedBytes, audit } = figures;
  const baseProblem = audit?.finding?.baseSession === undefined ? {} : { baseProblem: describeFinding(audit.finding) };
  return {
    session,
    root,
    sizeBytes: map.sizeBytes,
    objectCount,
    readBytes,
    storedBytes: storedBytes + commitBytes,
    ...baseProblem,
    ...(audit === undefined ? {} : { audit }),
  };
}

/** The outcome of a session that committed and is live. */
export async function findOutcome(repository: Repository, keys: DomainKeys, session: string): Promise<BackupOutcome | undefined> {
  const found = await readCommit(repository, keys, session);
  if (found?.kind !== 'commit' || (await isTombstoned(repository, session))) return undefined;
  return outcomeOf(found.commit, found.lengthBytes);
}

/** Returns the outcome of the first attempt that had committed; the others are ended for good. */
export async function settleFormerSessions(
  repository: Repository,
  keys: DomainKeys,
  sessions: readonly string[],
  now: () => Date,
): Promise<BackupOutcome | undefined> {
  for (const session of sessions) {
    const outcome = await settle(repository, keys, session, now);
    if (outcome !== undefined) return outcome;
  }
  return undefined;
}

async function settle(repository: Repository, keys: DomainKeys, session: string, now: () => Date): Promise<BackupOutcome | undefined> {
  if ((await findCommit(repository, keys, session)) === undefined) await putFence(repository, keys, session);
  const found = await findCommit(repository, keys, session);
  if (found !== 'damaged' && found?.kind === 'commit') return findOutcome(repository, keys, session);
  await putTombstone(repository, keys, session, now().toISOString());
  if (found !== 'damaged' && found?.kind === 'fence') await removePacksOf(repository.store, session);
  return undefined;
}

/** A damaged commit is no reason not to make a new backup: its session is tombstoned and its packs are left alone. */
async function findCommit(repository: Repository, keys: DomainKeys, session: string): Promise<FoundCommit | 'damaged' | undefined> {
  try {
    return await readCommit(repository, keys, session);
  } catch (error) {
    if (isRepositoryError(error, 'corrupted')) return 'damaged';
    throw error;
  }
}

/** Removes everything that a session stored. Only for a session whose commit's name is fenced. */
async function removePacksOf(store: ObjectStore, session: string): Promise<void> {
  try {
    for await (const { name } of store.list(objectNames.packsOf(session))) await store.delete(name);
  } catch {
    // Unreferenced packs cost room and nothing else.
  }
}

/** Removes packs that their creator gives up. What cannot be removed is left to a later collection. */
export async function removePacks(store: ObjectStore, packs: readonly FinishedPack[]): Promise<void> {
  await Promise.allSettled(packs.map((pack) => store.delete(objectNames.pack(pack.name))));
}
