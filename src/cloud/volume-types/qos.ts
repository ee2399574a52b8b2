/** QoS specs and the types that have them: the use cases, for administrators. */
import { isUuid, newId } from '../../lib/ids.ts';
import { type Database, isUniqueViolation, type StringMap, type Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { QosConsumer, QosListQuery, QosSpecs } from './contract.ts';
import { lockedType } from './lookup.ts';
import { deleteQos, dropQosFromTypes, findQos, insertQos, listQos, lockQos, typesWithQos, updateQos } from './qos-store.ts';
import { noQos, noQosKey, otherQos, qosInUse, qosNameTaken } from './refusals.ts';
import { updateType } from './store.ts';

export interface QosService {
  list(caller: Caller, query: QosListQuery): Promise<QosSpecs[]>;
  get(caller: Caller, id: string): Promise<QosSpecs>;
  create(caller: Caller, order: Omit<QosSpecs, 'id'>): Promise<QosSpecs>;
  /** Merges into what is there. */
  update(caller: Caller, id: string, changes: { readonly consumer?: QosConsumer; readonly specs: StringMap }): Promise<void>;
  /** All of the keys or none. */
  removeKeys(caller: Caller, id: string, keys: readonly string[]): Promise<void>;
  /** `force`: also from the types that have them. */
  delete(caller: Caller, id: string, options: { readonly force: boolean }): Promise<void>;
  associations(caller: Caller, id: string): Promise<readonly { readonly id: string; readonly name: string }[]>;
  associate(caller: Caller, id: string, typeId: string): Promise<void>;
  disassociate(caller: Caller, id: string, typeId: string): Promise<void>;
  disassociateAll(caller: Caller, id: string): Promise<void>;
}

export function createQos({ database }: { readonly database: Database }): QosService {
  const mayUse = (caller: Caller): void => authorise(caller, 'qos:change', { projectId: null });
  const known = async (caller: Caller, id: string): Promise<QosSpecs> => {
    mayUse(caller);
    const qos = isUuid(id) ? await findQos(database.sql, id) : undefined;
    if (qos === undefined) throw noQos(id);
    return qos;
  };
  const change = <T>(caller: Caller, id: string, work: (tx: Tx, qos: QosSpecs) => Promise<T>): Promise<T> => {
    mayUse(caller);
    return database.transact(async (tx) => {
      const qos = isUuid(id) ? await lockQos(tx.sql, id) : undefined;
      if (qos === undefined) throw noQos(id);
      return await work(tx, qos);
    });
  };

  return {
    async list(caller, query) {
      mayUse(caller);
      if (query.marker !== undefined) await known(caller, query.marker);
      const list = { ...query, projectId: undefined, metadata: {}, markerId: query.marker };
      return query.limit === 0 ? [] : await listQos(database.sql, list);
    },
    get: known,
    async create(caller, order) {
      mayUse(caller);
      const qos = { id: newId(), ...order };
      await insertQos(database.sql, qos).catch((error: unknown) => {
        throw isUniqueViolation(error) ? qosNameTaken(order.name) : error;
      });
      return qos;
    },
    update: (caller, id, { consumer, specs }) =>
      change(caller, id, (tx, qos) =>
        updateQos(tx.sql, id, { ...(consumer !== undefined && { consumer }), specs: { ...qos.specs, ...specs } }),
      ),
    removeKeys: (caller, id, keys) =>
      change(caller, id, async (tx, { specs }) => {
        const missing = keys.find((key) => !Object.hasOwn(specs, key));
        if (missing !== undefined) throw noQosKey(id, missing);
        const rest = Object.entries(specs).filter(([key]) => !keys.includes(key));
        await updateQos(tx.sql, id, { specs: Object.fromEntries(rest) });
      }),
    delete: (caller, id, { force }) =>
      change(caller, id, async (tx) => {
        if (!force && (await typesWithQos(tx.sql, id)).length > 0) throw qosInUse(id);
        await dropQosFromTypes(tx.sql, id);
        await deleteQos(tx.sql, id);
      }),
    associations: async (caller, id) => await typesWithQos(database.sql, (await known(caller, id)).id),
    associate: (caller, id, typeId) =>
      change(caller, id, async (tx) => {
        const { qosSpecsId } = await lockedType(tx, typeId);
        if (qosSpecsId !== null && qosSpecsId !== id) throw otherQos(typeId, qosSpecsId);
        await updateType(tx.sql, typeId, { qosSpecsId: id });
      }),
    disassociate: (caller, id, typeId) =>
      change(caller, id, async (tx) => {
        await lockedType(tx, typeId);
        await dropQosFromTypes(tx.sql, id, typeId);
      }),
    disassociateAll: (caller, id) => change(caller, id, (tx) => dropQosFromTypes(tx.sql, id)),
  };
}
