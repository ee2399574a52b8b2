import type { Log } from '../../lib/log.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import type { RestoreCallOptions, RestoreOntoOrder } from './contract.ts';
import type { WorkerPool } from './worker-pool.ts';

/** What all parts of one restore onto a disk share. */
export interface OntoWork {
  readonly pool: WorkerPool;
  readonly log: Log;
  readonly order: RestoreOntoOrder;
  readonly options: RestoreCallOptions;
  readonly repository: Repository;
  readonly keys: DomainKeys;
  /** Hears the names of packs that turned out damaged or missing, before the restore fails. */
  readonly onDamage: (packNames: readonly string[]) => void;
}
