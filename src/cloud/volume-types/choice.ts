/** Which type a new volume gets. */
import { isUuid } from '../../lib/ids.ts';
import type { Caller } from '../identity/caller.ts';
import { isAllowed } from '../identity/policy.ts';
import type { TypeChoice, VolumeType } from './contract.ts';
import { findEncryption } from './encryption-store.ts';
import { noKeyManager, noType, noTypeWithId } from './refusals.ts';
import { findDefault, findType, lockType, type Onlooker, type Queries } from './store.ts';

/** The type that the first migration makes. It may be renamed, and stays what volumes are of when nobody says anything. */
export const configuredDefaultId = '7d1c4b0e-5a7f-4d52-9c2e-0f6f7f1d3a11';

/** Administrators use every type. */
export const onlookerOf = (caller: Caller): Onlooker =>
  isAllowed(caller, 'volume_type:see_all', { projectId: null }) ? undefined : (caller.projectId ?? '');

/** An id is tried before a name. */
export async function findByIdOrName(db: Queries, onlooker: Onlooker, idOrName: string): Promise<VolumeType> {
  const byId = isUuid(idOrName) ? await findType(db, onlooker, { id: idOrName }) : undefined;
  const type = byId ?? (await findType(db, onlooker, { name: idOrName }));
  if (type === undefined) throw noType(idOrName);
  return type;
}

export async function defaultTypeId(db: Queries, projectId: string | null): Promise<string> {
  return (projectId === null ? undefined : await findDefault(db, projectId)) ?? configuredDefaultId;
}

export const typeChoice: TypeChoice = {
  async choose(tx, caller, { asked, fromSource }) {
    const id =
      asked === null
        ? (fromSource ?? (await defaultTypeId(tx.sql, caller.projectId)))
        : (await findByIdOrName(tx.sql, onlookerOf(caller), asked)).id;
    const type = await lockType(tx.sql, id, 'use');
    if (type === undefined) throw noTypeWithId(id);
    if ((await findEncryption(tx.sql, id)) !== undefined) throw noKeyManager();
    return type;
  },
  byId: async (database, id) => {
    const type = await findType(database.sql, undefined, { id });
    if (type === undefined) throw noTypeWithId(id);
    return type;
  },
};
