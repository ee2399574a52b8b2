/** Finding a type for somebody: what the caller may not use does not exist. */
import { isUuid } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { onlookerOf } from './choice.ts';
import type { VolumeType } from './contract.ts';
import { noTypeWithId } from './refusals.ts';
import { findType, lockType, type Queries } from './store.ts';

export async function visibleType(db: Queries, caller: Caller, id: string): Promise<VolumeType> {
  const type = isUuid(id) ? await findType(db, onlookerOf(caller), { id }) : undefined;
  if (type === undefined) throw noTypeWithId(id);
  return type;
}

/** Nobody else changes it until the transaction ends, and no volume of it is begun. */
export async function lockedType(tx: Tx, id: string): Promise<VolumeType> {
  const type = isUuid(id) ? await lockType(tx.sql, id, 'change') : undefined;
  if (type === undefined) throw noTypeWithId(id);
  return type;
}
