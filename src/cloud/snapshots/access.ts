/** Finding a snapshot for somebody: what the caller may not see does not exist. */
import { notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee } from '../identity/policy.ts';
import type { Snapshot } from './contract.ts';
import { findSnapshot, lockSnapshot, type Queries } from './store.ts';

const missing = (id: string) => notFound(`Snapshot ${id} could not be found.`);

export async function visibleSnapshot(db: Queries, caller: Caller, id: string, action: Action): Promise<Snapshot> {
  const snapshot = isUuid(id) ? await findSnapshot(db, id) : undefined;
  if (snapshot === undefined || !canSee(caller, snapshot)) throw missing(id);
  authorise(caller, action, snapshot);
  return snapshot;
}

/** The same, with the row locked until the transaction ends. */
export async function lockedSnapshot(tx: Tx, caller: Caller, id: string, action: Action): Promise<Snapshot> {
  const snapshot = isUuid(id) ? await lockSnapshot(tx.sql, id) : undefined;
  if (snapshot === undefined || !canSee(caller, snapshot)) throw missing(id);
  authorise(caller, action, snapshot);
  return snapshot;
}
