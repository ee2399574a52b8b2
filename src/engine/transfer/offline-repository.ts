/**
 * A repository without a service: what is in it, and how to get it out. All it takes is the folder and the key file; nothing is written
 * to the repository, so it may be a read-only copy.
 */
import { messageOf } from '../../lib/errors.ts';
import { type Commit, decodeEnvelope, ENVELOPE_BYTES_MAX, readCommit } from '../repository/commit.ts';
import { isDamage, RepositoryError } from '../repository/errors.ts';
import { objectNames } from '../repository/format.ts';
import { type DomainKeys, openRepository, type Repository } from '../repository/repository.ts';
import { readObject } from '../repository/store-access.ts';
import { isTombstoned } from '../repository/tombstone.ts';
import type { BackupDescription, MoverCallOptions, RepositoryAddress, RestoreOutcome } from './contract.ts';
import { openStore } from './open-store.ts';
import { runRestore } from './restore.ts';
import { createWorkerPool } from './worker-pool.ts';

export interface StoredBackup {
  readonly session: string;
  readonly domain: string;
  readonly sizeBytes: number;
  readonly committedAt: string;
  readonly description: BackupDescription;
}

export interface OfflineRepository {
  /** The live backups, the oldest first. A commit that cannot be read is left out and told to `onDamage`. */
  list(onDamage: (message: string) => void): AsyncIterable<StoredBackup>;
  /** Restores into a new file; an existing one is refused. */
  restore(backup: StoredBackup, targetPath: string, options: MoverCallOptions): Promise<RestoreOutcome>;
  close(): Promise<void>;
}

export async function openOfflineRepository(options: {
  readonly store: RepositoryAddress['store'];
  readonly keyFile: string;
  readonly workerCount: number;
}): Promise<OfflineRepository> {
  const store = openStore(options.store);
  const repository = await openRepository({ store, keyFile: options.keyFile });
  const domains = createDomainKeys(repository);
  const pool = createWorkerPool(options.workerCount);

  return {
    async *list(onDamage) {
      const backups: StoredBackup[] = [];
      for await (const { name, lengthBytes } of store.list(objectNames.commits)) {
        const session = name.slice(name.lastIndexOf('/') + 1);
        try {
          const backup = await readBackup(repository, domains, session, lengthBytes);
          if (backup !== undefined) backups.push(backup);
        } catch (error) {
          if (!isDamage(error)) throw error;
          onDamage(messageOf(error));
        }
      }
      yield* backups.sort((a, b) => (a.committedAt < b.committedAt ? -1 : 1));
    },
    async restore(backup, targetPath, callOptions) {
      const { session, domain } = backup;
      const keys = await domains(domain);
      return runRestore({
        pool,
        repository,
        keys,
        store: options.store,
        session,
        targetPath,
        targetSizeBytes: undefined,
        mustBeNew: true,
        options: callOptions,
      });
    },
    async close() {
      await pool.stop();
      store.close();
    },
  };
}

type DomainKeysOf = (domain: string) => Promise<DomainKeys>;

function createDomainKeys(repository: Repository): DomainKeysOf {
  const known = new Map<string, Promise<DomainKeys | undefined>>();
  return async (domain) => {
    const keys = known.get(domain) ?? repository.findDomain(domain);
    known.set(domain, keys);
    const found = await keys;
    if (found !== undefined) return found;
    const objectName = objectNames.domainKeys(domain);
    throw new RepositoryError('missing', `the keys of domain ${domain} (${objectName}) are missing`, { objectName });
  };
}

async function readBackup(
  repository: Repository,
  domains: DomainKeysOf,
  session: string,
  lengthBytes: number,
): Promise<StoredBackup | undefined> {
  const begin = await readObject(repository.store, objectNames.commit(session), 0, Math.min(lengthBytes, ENVELOPE_BYTES_MAX));
  const envelope = decodeEnvelope(begin, session);
  if (envelope.kind === 'fence' || (await isTombstoned(repository, session))) return undefined;
  const found = await readCommit(repository, await domains(envelope.domain), session);
  return found?.kind === 'commit' ? storedBackupOf(found.commit) : undefined;
}

/** The description was written by our own control plane and is authenticated by the commit. */
function storedBackupOf({ session, domain, map, committedAt, description }: Commit): StoredBackup {
  return { session, domain, sizeBytes: map.sizeBytes, committedAt, description: description as BackupDescription };
}
