/** Finding a volume for somebody: what the caller may not see does not exist. */
import { notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee } from '../identity/policy.ts';
import type { Volume } from './contract.ts';
import { localDisks, lockVolume, readVolume } from './store.ts';

const isHidden = ({ projectId }: Volume): boolean => projectId === localDisks;
const missing = (id: string) => notFound(`Volume ${id} could not be found.`);

export async function visibleVolume(database: Database, caller: Caller, id: string, action: Action): Promise<Volume> {
  const volume = isUuid(id) ? await readVolume(database, id) : undefined;
  if (volume === undefined || isHidden(volume) || !canSee(caller, volume)) throw missing(id);
  authorise(caller, action, volume);
  return volume;
}

/** The same, with the row locked until the transaction ends. Volumes are locked before anything that belongs to them. */
export async function lockedVolume(tx: Tx, caller: Caller, id: string, action: Action): Promise<Volume> {
  const volume = isUuid(id) ? await lockVolume(tx.sql, id) : undefined;
  if (volume === undefined || isHidden(volume) || !canSee(caller, volume)) throw missing(id);
  authorise(caller, action, volume);
  return volume;
}
