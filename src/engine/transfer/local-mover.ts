/**
 * The data mover within its own process: opens the repository afresh for each call (a handful of small reads, so that a repository that was
 * replaced or a key that was taken away is noticed), runs the job, and lets go of it.
 */
import type { Log } from '../../lib/log.ts';
import { RepositoryError } from '../repository/errors.ts';
import { type DomainKeys, initRepository, openRepository, type Repository } from '../repository/repository.ts';
import { repositoryErrorOf } from '../repository/store-access.ts';
import { putTombstone } from '../repository/tombstone.ts';
import { runBackup } from './backup.ts';
import type { DataMover, RepositoryAddress } from './contract.ts';
import { createIndexCache } from './index-cache.ts';
import { openBackup } from './open-backup.ts';
import { openStore, prepareStore } from './open-store.ts';
import { runRestore } from './restore.ts';
import { runRestoreOnto } from './restore-onto.ts';
import { createWorkerPool } from './worker-pool.ts';

export interface LocalMoverOptions {
  /** Threads that move bytes: one for each core. */
  readonly workerCount: number;
  readonly now: () => Date;
  readonly log: Log;
}

interface BackupsAddress {
  readonly repository: RepositoryAddress;
  readonly domain: string;
}

/** The backups of one domain, for a restore. */
interface Backups {
  readonly repository: Repository;
  readonly keys: DomainKeys;
  readonly onDamage: (packNames: readonly string[]) => void;
}

export interface LocalMover extends DataMover {
  /** Starts the threads now instead of with the first job. */
  prepare(): void;
  /** Resolves when nothing is done in the background any more. */
  settled(): Promise<void>;
}

export function createLocalMover({ workerCount, now, log }: LocalMoverOptions): LocalMover {
  const pool = createWorkerPool(workerCount);
  const indexes = createIndexCache(log);

  const withRepository = async <T>(address: RepositoryAddress, use: (repository: Repository) => Promise<T>): Promise<T> => {
    const store = openStore(address.store);
    try {
      return await use(await openRepository({ store, keyFile: address.keyFile, id: address.id }));
    } finally {
      store.close();
    }
  };

  const withBackups = <T>(order: BackupsAddress, use: (backups: Backups) => Promise<T>): Promise<T> =>
    withRepository(order.repository, async (repository) => {
      const keys = await repository.findDomain(order.domain);
      if (keys === undefined) throw new RepositoryError('not-found', `there are no backups of domain ${order.domain}`);
      const onDamage: Backups['onDamage'] = (packNames) => indexes.distrust(repository, keys, order.repository.cacheDir, packNames);
      return await use({ repository, keys, onDamage });
    });

  return {
    async initRepository(address) {
      const store = openStore(address.store);
      try {
        prepareStore(address.store, now().getTime());
        await initRepository({ store, id: address.id, keyFile: address.keyFile, createdAt: now().toISOString() });
      } catch (error) {
        throw repositoryErrorOf(error, 'repo.json');
      } finally {
        store.close();
      }
    },

    backup: (order, options) =>
      withRepository(order.repository, (repository) => runBackup({ pool, indexes, now, log }, repository, order, options)),

    restore: (order, options) =>
      withBackups(order, ({ repository, keys, onDamage }) => {
        const { session, targetPath, targetSizeBytes } = order;
        const { store } = order.repository;
        return runRestore({ pool, repository, keys, store, session, targetPath, targetSizeBytes, mustBeNew: false, onDamage, options });
      }),

    restoreOnto: (order, options) =>
      withBackups(order, ({ repository, keys, onDamage }) => runRestoreOnto({ pool, log, order, options, repository, keys, onDamage })),

    tombstone: (address, domain, session) =>
      withRepository(address, async (repository) => {
        await putTombstone(repository, await repository.createDomain(domain), session, now().toISOString());
      }),

    identify: (repository, domain, session) =>
      withBackups({ repository, domain }, async (backups) => {
        const { commit } = await openBackup(backups.repository, backups.keys, session);
        return { root: commit.root, sizeBytes: commit.map.sizeBytes };
      }),

    prepare: () => pool.prepare(),

    settled: () => indexes.settled(),

    async stop() {
      await indexes.settled();
      await pool.stop();
    },
  };
}
