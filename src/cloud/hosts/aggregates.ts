/** Host aggregates: the use cases, for operators. There is one host; its zone is the one that an aggregate with it names, else `nova`. */
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { type Database, isUniqueViolation, type StringMap, type Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import {
  type Aggregate,
  type AggregateChanges,
  deleteAggregate,
  findAggregate,
  insertAggregate,
  listAggregates,
  lockAggregates,
  updateAggregate,
} from './aggregate-store.ts';
import { hostName } from './contract.ts';

export type { Aggregate } from './aggregate-store.ts';

export interface Aggregates {
  list(caller: Caller): Promise<Aggregate[]>;
  get(caller: Caller, id: number): Promise<Aggregate>;
  create(caller: Caller, order: Pick<Aggregate, 'name' | 'availabilityZone'>): Promise<Aggregate>;
  update(caller: Caller, id: number, changes: Pick<AggregateChanges, 'name' | 'availabilityZone'>): Promise<Aggregate>;
  /** 400 while hosts are in it. */
  delete(caller: Caller, id: number): Promise<void>;
  addHost(caller: Caller, id: number, host: string): Promise<Aggregate>;
  removeHost(caller: Caller, id: number, host: string): Promise<Aggregate>;
  /** What is null goes; `availability_zone` is the zone. */
  setMetadata(caller: Caller, id: number, pairs: Readonly<Record<string, string | null>>): Promise<Aggregate>;
}

export function createAggregates({ database }: { readonly database: Database }): Aggregates {
  const mayUse = (caller: Caller): void => authorise(caller, 'aggregate:change', { projectId: null });
  const change = <T>(caller: Caller, id: number, work: (tx: Tx, aggregate: Aggregate) => Promise<T>): Promise<T> => {
    mayUse(caller);
    return database.transact(async (tx) => {
      await lockAggregates(tx.sql);
      const aggregate = await findAggregate(tx.sql, id);
      if (aggregate === undefined) throw noAggregate(id);
      return await work(tx, aggregate);
    });
  };

  return {
    async list(caller) {
      mayUse(caller);
      return await listAggregates(database.sql);
    },
    async get(caller, id) {
      mayUse(caller);
      const aggregate = await findAggregate(database.sql, id);
      if (aggregate === undefined) throw noAggregate(id);
      return aggregate;
    },
    async create(caller, order) {
      mayUse(caller);
      return await namedOnce(order.name, () => insertAggregate(database.sql, { uuid: newId(), ...order }));
    },
    update: (caller, id, changes) =>
      change(caller, id, async (tx, aggregate) => {
        const { name = aggregate.name, availabilityZone } = changes;
        if (availabilityZone !== undefined) await requireOneZone(tx, { ...aggregate, availabilityZone });
        return await namedOnce(name, () => updateAggregate(tx.sql, id, changes));
      }),
    delete: (caller, id) =>
      change(caller, id, async (tx, { hosts }) => {
        if (hosts.length > 0) throw badRequest(`Cannot perform action 'delete' on aggregate ${id}. Reason: Host aggregate is not empty.`);
        await deleteAggregate(tx.sql, id);
      }),
    addHost: (caller, id, host) =>
      change(caller, id, async (tx, aggregate) => {
        if (host !== hostName) throw notFound(`Compute host ${host} could not be found.`);
        if (aggregate.hosts.includes(host)) throw conflict(`Aggregate ${id} already has host ${host}.`);
        const hosts = [...aggregate.hosts, host];
        await requireOneZone(tx, { ...aggregate, hosts });
        return await updateAggregate(tx.sql, id, { hosts });
      }),
    removeHost: (caller, id, host) =>
      change(caller, id, async (tx, { hosts }) => {
        if (!hosts.includes(host)) throw notFound(`Aggregate ${id} has no host ${host}.`);
        return await updateAggregate(tx.sql, id, { hosts: hosts.filter((other) => other !== host) });
      }),
    setMetadata: (caller, id, { availability_zone: zone, ...pairs }) =>
      change(caller, id, async (tx, aggregate) => {
        if (zone !== undefined) await requireOneZone(tx, { ...aggregate, availabilityZone: zone });
        const metadata = withoutNulls({ ...aggregate.metadata, ...pairs });
        return await updateAggregate(tx.sql, id, { metadata, ...(zone !== undefined && { availabilityZone: zone }) });
      }),
  };
}

const noAggregate = (id: number) => notFound(`Aggregate ${id} could not be found.`);

async function namedOnce<T>(name: string, write: () => Promise<T>): Promise<T> {
  return await write().catch((error: unknown) => {
    throw isUniqueViolation(error) ? conflict(`Aggregate ${name} already exists.`) : error;
  });
}

/** A host is in one zone. */
async function requireOneZone(tx: Tx, changed: Pick<Aggregate, 'id' | 'hosts' | 'availabilityZone'>): Promise<void> {
  const { id, hosts, availabilityZone } = changed;
  if (availabilityZone === null) return;
  const others = (await listAggregates(tx.sql)).filter((other) => other.id !== id && other.availabilityZone !== null);
  const torn = others.find((other) => other.availabilityZone !== availabilityZone && other.hosts.some((host) => hosts.includes(host)));
  if (torn !== undefined) {
    throw conflict(
      `Cannot perform action 'update_aggregate' on aggregate ${id}. Reason: One or more hosts already in availability zone(s) ${torn.availabilityZone}.`,
    );
  }
}

const withoutNulls = (pairs: Readonly<Record<string, string | null>>): StringMap =>
  Object.fromEntries(Object.entries(pairs).filter((entry): entry is [string, string] => entry[1] !== null));
