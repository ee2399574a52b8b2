/** Keypairs: the use cases. They belong to users, whatever project these work in, and whatever they may do there. */
import type { Kysely } from 'kysely';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type Schema } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise } from '../identity/policy.ts';
import type { ComputeQuotas } from '../quotas/contract.ts';
import { importCertificate, makeCertificate } from './certificates.ts';
import type { KeyMaterial, Keypair, KeypairListQuery, KeypairOrder } from './contract.ts';
import { nameTaken, noKeypair, noMarker, noUser, tooMany } from './refusals.ts';
import { importSshKey, makeSshKey } from './ssh-keys.ts';
import { countKeypairs, deleteKeypair, findKeypair, insertKeypair, listKeypairs } from './store.ts';

export type { Keypair } from './contract.ts';

export interface KeypairsService {
  /** By name. */
  list(caller: Caller, query: KeypairListQuery): Promise<Keypair[]>;
  get(caller: Caller, userId: string, name: string): Promise<Keypair>;
  /** `privateKey`: of what was made here, and nowhere else afterwards. */
  create(caller: Caller, order: KeypairOrder): Promise<{ readonly keypair: Keypair; readonly privateKey: string | undefined }>;
  delete(caller: Caller, userId: string, name: string): Promise<void>;
  /** For servers: the caller's own. Undefined when there is none of this name. */
  find(db: Kysely<Schema>, caller: Caller, name: string): Promise<Keypair | undefined>;
}

export interface KeypairsDeps {
  readonly database: Database;
  readonly quotas: Pick<ComputeQuotas, 'hasRoomFor'>;
  readonly clock?: Clock;
}

export function createKeypairs({ database, quotas, clock = systemClock }: KeypairsDeps): KeypairsService {
  const may = (caller: Caller, action: Action, userId: string): void => {
    authorise(caller, userId === caller.userId ? action : 'keypair:of_others', { projectId: null });
  };
  const materialFor = async ({ userId, type, publicKey }: KeypairOrder): Promise<KeyMaterial> => {
    if (publicKey !== null) return type === 'ssh' ? importSshKey(publicKey) : importCertificate(publicKey);
    return type === 'ssh' ? await makeSshKey() : await makeCertificate(userId, clock.now());
  };

  return {
    async list(caller, query) {
      may(caller, 'keypair:list', query.userId);
      const { marker, userId } = query;
      if (marker !== undefined && (await findKeypair(database.sql, userId, marker)) === undefined) throw noMarker(marker);
      return await listKeypairs(database.sql, query);
    },
    async get(caller, userId, name) {
      may(caller, 'keypair:get', userId);
      const keypair = await findKeypair(database.sql, userId, name);
      if (keypair === undefined) throw noKeypair(name, userId);
      return keypair;
    },
    async create(caller, order) {
      may(caller, 'keypair:create', order.userId);
      const { userId, name, type } = order;
      // Making one takes a moment: before anything is locked for it.
      const { privateKey, ...material } = await materialFor(order);
      const keypair = await database.transact(async (tx) => {
        const counting = { countedIn: userId, count: () => countKeypairs(tx.sql, userId) };
        if (!(await quotas.hasRoomFor(tx, 'key_pairs', { projectId: caller.projectId ?? '', userId }, counting))) throw tooMany();
        return await insertKeypair(tx.sql, { userId, name, type, ...material }).catch((error: unknown) => {
          if (isUniqueViolation(error)) throw nameTaken(name);
          throw isForeignKeyViolation(error) ? noUser(userId) : error;
        });
      });
      return { keypair, privateKey };
    },
    async delete(caller, userId, name) {
      may(caller, 'keypair:delete', userId);
      if (!(await deleteKeypair(database.sql, userId, name))) throw noKeypair(name, userId);
    },
    find: (db, caller, name) => findKeypair(db, caller.userId, name),
  };
}
