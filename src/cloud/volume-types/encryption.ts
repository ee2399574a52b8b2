/** How disks of a type are to be encrypted: the use cases, for administrators. */
import { newId } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Encryption, EncryptionOrder } from './contract.ts';
import { deleteEncryption, findEncryption, insertEncryption, updateEncryption } from './encryption-store.ts';
import { lockedType, visibleType } from './lookup.ts';
import { encryptionInUse, encryptionThere, noEncryption } from './refusals.ts';
import { isInUse } from './store.ts';

export interface EncryptionService {
  encryptionOf(caller: Caller, typeId: string): Promise<Encryption | undefined>;
  createEncryption(caller: Caller, typeId: string, order: EncryptionOrder): Promise<Encryption>;
  updateEncryption(caller: Caller, typeId: string, changes: Partial<EncryptionOrder>): Promise<void>;
  deleteEncryption(caller: Caller, typeId: string): Promise<void>;
}

export function createEncryptionService({ database }: { readonly database: Database }): EncryptionService {
  /** All refused while volumes of the type exist. */
  const change = <T>(caller: Caller, id: string, verb: 'create' | 'update' | 'delete', work: (tx: Tx) => Promise<T>): Promise<T> => {
    authorise(caller, 'volume_type:change', { projectId: null });
    return database.transact(async (tx) => {
      await lockedType(tx, id);
      const there = (await findEncryption(tx.sql, id)) !== undefined;
      if (verb === 'create' && there) throw encryptionThere(id);
      if (verb !== 'create' && !there) throw noEncryption(id);
      if (await isInUse(tx.sql, id)) throw encryptionInUse(verb);
      return await work(tx);
    });
  };
  return {
    async encryptionOf(caller, typeId) {
      authorise(caller, 'volume_type:change', { projectId: null });
      return await findEncryption(database.sql, (await visibleType(database.sql, caller, typeId)).id);
    },
    createEncryption: (caller, typeId, order) =>
      change(caller, typeId, 'create', async (tx) => {
        await insertEncryption(tx.sql, typeId, newId(), order);
        return (await findEncryption(tx.sql, typeId)) as Encryption;
      }),
    updateEncryption: (caller, typeId, changes) => change(caller, typeId, 'update', (tx) => updateEncryption(tx.sql, typeId, changes)),
    deleteEncryption: (caller, typeId) => change(caller, typeId, 'delete', (tx) => deleteEncryption(tx.sql, typeId)),
  };
}
