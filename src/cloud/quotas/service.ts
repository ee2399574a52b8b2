/**
 * How much a project may have. A reservation is no row: it is the check, made under a lock that the transaction keeps until its end,
 * and the row that the same transaction then writes. So usage can neither drift nor be over-allocated by requests that run at once.
 */
import type { Kysely } from 'kysely';
import type { Schema } from '../database/schema.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import { builtInLimits, type QuotaLimits, type QuotaUse, unlimited, usageByKey } from './keys.ts';
import { badKeys, badLimit, belowUsage, refusalOf } from './refusals.ts';
import {
  defaultsOwner,
  deleteLimits,
  dropTypeLimits,
  lockProject,
  readLimits,
  readTypeNames,
  readUsage,
  renameTypeLimits,
  writeLimits,
} from './store.ts';

export type { QuotaLimits, QuotaUse } from './keys.ts';

export interface Quotas {
  /**
   * Throws what Block Storage answers when the project cannot have this much more. Call it in the transaction that writes the rows, and
   * before it writes them. `per_volume_gigabytes` is the whole size that a volume would have; all other keys are what is added. Keys
   * of one volume type (`volumes_<type>`) are given by the caller.
   */
  reserve(tx: Tx, projectId: string, wanted: Readonly<Record<string, number>>): Promise<void>;

  limitsOf(caller: Caller, projectId: string): Promise<QuotaLimits>;
  usageOf(caller: Caller, projectId: string): Promise<Readonly<Record<string, QuotaUse>>>;
  /** All or nothing. Refuses unknown keys, and limits below what is in use. Returns all limits. */
  setLimits(caller: Caller, projectId: string, limits: QuotaLimits): Promise<QuotaLimits>;
  /** Back to the defaults. */
  resetLimits(caller: Caller, projectId: string): Promise<void>;

  /** What projects without limits of their own have. */
  defaults(caller: Caller, projectId: string): Promise<QuotaLimits>;
  /** Of a class of projects. `default` are the defaults; others are kept for operators' own use. */
  classLimits(caller: Caller, name: string): Promise<QuotaLimits>;
  setClassLimits(caller: Caller, name: string, limits: QuotaLimits): Promise<QuotaLimits>;

  /** Limits on a volume type go with its name: of every project, and the defaults. */
  renameType(tx: Tx, oldName: string, newName: string): Promise<void>;
  /** A later type of the same name is another one. */
  dropType(tx: Tx, name: string): Promise<void>;
}

const limitMax = 2 ** 31 - 1;

export function createQuotas(deps: { database: Database }): Quotas {
  const { database } = deps;

  return {
    async reserve(tx, projectId, wanted) {
      await lockProject(tx, projectId);
      const limits = await effectiveLimits(tx.sql, projectId);
      const inUse = usageByKey(await readUsage(tx.sql, projectId));
      // Sorted, so that of two limits that are both reached always the same one is named: sizes before counts.
      for (const [key, requested] of Object.entries(wanted).sort(([a], [b]) => (a < b ? -1 : 1))) {
        const limit = limits[key];
        if (limit === undefined) throw new Error(`there is no quota ${key}`);
        const used = inUse[key] ?? 0;
        if (requested > 0 && limit !== unlimited && used + requested > limit) throw refusalOf({ key, requested, inUse: used, limit });
      }
    },

    async limitsOf(caller, projectId) {
      authorise(caller, 'quota:get', { projectId });
      return effectiveLimits(database.sql, projectId);
    },
    async usageOf(caller, projectId) {
      authorise(caller, 'quota:get', { projectId });
      const limits = await effectiveLimits(database.sql, projectId);
      const inUse = usageByKey(await readUsage(database.sql, projectId));
      return Object.fromEntries(Object.entries(limits).map(([key, limit]) => [key, { limit, inUse: inUse[key] ?? 0 }]));
    },
    async setLimits(caller, projectId, limits) {
      authorise(caller, 'quota:update', { projectId });
      return database.transact(async (tx) => {
        await lockProject(tx, projectId);
        await validate(tx.sql, 'quota set', limits);
        const inUse = usageByKey(await readUsage(tx.sql, projectId));
        for (const [key, limit] of Object.entries(limits)) {
          const used = inUse[key] ?? 0;
          if (limit !== unlimited && limit < used) throw belowUsage(key, used, limit);
        }
        await writeLimits(tx, projectId, limits);
        return effectiveLimits(tx.sql, projectId);
      });
    },
    async resetLimits(caller, projectId) {
      authorise(caller, 'quota:update', { projectId });
      await database.transact((tx) => deleteLimits(tx, projectId));
    },

    async defaults(caller, projectId) {
      authorise(caller, 'quota:get', { projectId });
      return effectiveLimits(database.sql, defaultsOwner);
    },
    async classLimits(caller, name) {
      authorise(caller, 'quota_class:change', { projectId: null });
      return effectiveLimits(database.sql, classOwner(name));
    },
    async setClassLimits(caller, name, limits) {
      authorise(caller, 'quota_class:change', { projectId: null });
      return database.transact(async (tx) => {
        await validate(tx.sql, 'quota class set', limits);
        await writeLimits(tx, classOwner(name), limits);
        return effectiveLimits(tx.sql, classOwner(name));
      });
    },

    renameType: renameTypeLimits,
    dropType: dropTypeLimits,
  };
}

/** No project has such an id. */
const classOwner = (name: string): string => (name === 'default' ? defaultsOwner : `class:${name}`);

/** Built-in values, under the defaults that were set, under the project's own; limits of types that are gone are left out. */
async function effectiveLimits(db: Kysely<Schema>, projectId: string): Promise<QuotaLimits> {
  const builtIn = builtInLimits(await readTypeNames(db));
  const { own, defaults } = await readLimits(db, projectId);
  return Object.fromEntries(Object.entries(builtIn).map(([key, limit]) => [key, own[key] ?? defaults[key] ?? limit]));
}

async function validate(db: Kysely<Schema>, what: 'quota set' | 'quota class set', limits: QuotaLimits): Promise<void> {
  const known = builtInLimits(await readTypeNames(db));
  const unknown = Object.keys(limits).filter((key) => !Object.hasOwn(known, key));
  if (unknown.length > 0) throw badKeys(what, unknown);
  for (const [key, limit] of Object.entries(limits)) {
    if (!Number.isInteger(limit) || limit < unlimited || limit > limitMax) throw badLimit(key);
  }
}
