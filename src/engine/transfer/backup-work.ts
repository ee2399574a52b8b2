import type { Log } from '../../lib/log.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import type { BackupOrder, MoverCallOptions } from './contract.ts';
import type { IndexCache } from './index-cache.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface TransferDeps {
  readonly pool: WorkerPool;
  readonly indexes: IndexCache;
  readonly now: () => Date;
  readonly log: Log;
}

/** What all parts of one backup share. */
export interface BackupWork {
  readonly deps: TransferDeps;
  readonly order: BackupOrder;
  readonly options: MoverCallOptions;
  readonly repository: Repository;
  readonly keys: DomainKeys;
  /** One 32-bit counter: the next sequence number of a pack. */
  readonly sequence: SharedArrayBuffer;
  readonly auditSeed: number;
}
