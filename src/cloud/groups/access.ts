/** Finding a group or a group snapshot for somebody: what the caller may not see does not exist. */
import { notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee } from '../identity/policy.ts';
import type { Group, GroupSnapshot } from './contract.ts';
import { findGroup, findGroupSnapshot, lockGroup, lockGroupSnapshot, type Queries } from './store.ts';

function visible<T extends { readonly projectId: string }>(caller: Caller, found: T | undefined, action: Action, missing: string): T {
  if (found === undefined || !canSee(caller, found)) throw notFound(missing);
  authorise(caller, action, found);
  return found;
}

const noGroup = (id: string): string => `Group ${id} could not be found.`;
const noSnapshot = (id: string): string => `GroupSnapshot ${id} could not be found.`;

export const visibleGroup = async (db: Queries, caller: Caller, id: string, action: Action): Promise<Group> =>
  visible(caller, isUuid(id) ? await findGroup(db, id) : undefined, action, noGroup(id));

/** Locked until the transaction ends. Groups are locked before their volumes. */
export const lockedGroup = async (tx: Tx, caller: Caller, id: string, action: Action, how?: 'share'): Promise<Group> =>
  visible(caller, isUuid(id) ? await lockGroup(tx.sql, id, how) : undefined, action, noGroup(id));

export const visibleGroupSnapshot = async (db: Queries, caller: Caller, id: string, action: Action): Promise<GroupSnapshot> =>
  visible(caller, isUuid(id) ? await findGroupSnapshot(db, id) : undefined, action, noSnapshot(id));

export const lockedGroupSnapshot = async (tx: Tx, caller: Caller, id: string, action: Action): Promise<GroupSnapshot> =>
  visible(caller, isUuid(id) ? await lockGroupSnapshot(tx.sql, id) : undefined, action, noSnapshot(id));
