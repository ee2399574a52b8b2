/** A backup as the job's own thread sees it: its commit, checked, and the tools to read what it refers to. */
import { type Commit, readCommit } from '../repository/commit.ts';
import { rootOf } from '../repository/disk-map.ts';
import { RepositoryError } from '../repository/errors.ts';
import { CHUNK_BYTES } from '../repository/format.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import { isTombstoned } from '../repository/tombstone.ts';
import { type DomainTools, toolsOf } from './domain-access.ts';

export interface OpenBackup {
  readonly commit: Commit;
  readonly tools: DomainTools;
}

/** A live backup. Its root is that of its own map, and everything below the map is checked by its ids when it is read. */
export async function openBackup(repository: Repository, keys: DomainKeys, session: string): Promise<OpenBackup> {
  const tools = toolsOf(repository.store, repository.id, keys);
  const commit = await readRooted(repository, tools, session);
  if (await isTombstoned(repository, session)) throw new RepositoryError('not-found', `the backup of session ${session} was deleted`);
  return { commit, tools };
}

/** Also of a deleted backup, as far as it can be read. */
export async function readRooted(repository: Repository, tools: DomainTools, session: string): Promise<Commit> {
  const found = await readCommit(repository, tools.keys, session);
  if (found?.kind !== 'commit') throw new RepositoryError('not-found', `there is no backup of session ${session}`);
  if (rootOf(found.commit.map, tools.hasher).toString('hex') !== found.commit.root) {
    throw new RepositoryError('corrupted', `the commit of session ${session} does not have its own root`);
  }
  return found.commit;
}

/** Every chunk entry of a map is one reference to a data pack. */
export function bytesOfMap(commit: Commit): number {
  let chunks = 0;
  for (const pack of commit.packs) if (pack.kind === 'data') chunks += pack.live;
  return chunks * CHUNK_BYTES;
}

export function checkFits(commit: Commit, sizeBytes: number): void {
  if (sizeBytes < commit.map.sizeBytes) throw new RangeError(`a disk of ${commit.map.sizeBytes} bytes does not fit into ${sizeBytes}`);
}
