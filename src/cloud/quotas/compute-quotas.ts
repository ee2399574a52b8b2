/**
 * How much of Compute a project may have, and single users in it. Kept beside the limits of Block Storage, under owners of its own, so that
 * neither API shows, sets or resets what is the other's. As there, a reservation is the check, made under a lock that the transaction keeps.
 */
import type { Kysely } from 'kysely';
import type { Schema } from '../database/schema.ts';
import type { Database } from '../database/service.ts';
import { authorise } from '../identity/policy.ts';
import { projectExists } from '../identity/project-exists.ts';
import {
  aboveProject,
  belowUsage,
  builtInComputeLimits,
  type ComputeLimitKey,
  type ComputeLimits,
  type MachineUsage,
  noProject,
  type Shortage,
  tooManyInstances,
} from './compute-keys.ts';
import type { ComputeQuotas, MachineUsageSource, QuotaOwner } from './contract.ts';
import { type QuotaLimits, type QuotaUse, unlimited } from './keys.ts';
import { countServerGroups, deleteLimits, lockProject, readLimitsOver, writeLimits } from './store.ts';

type Queries = Kysely<Schema>;

const classRow = (name: string): string => `compute-class:${name}`;
const defaultsRow = classRow('default');
const projectRow = (projectId: string): string => `compute:${projectId}`;
const rowOf = ({ projectId, userId }: QuotaOwner): string => projectRow(projectId) + (userId === undefined ? '' : `:${userId}`);

async function limitsOver(db: Queries, rows: readonly string[]): Promise<ComputeLimits> {
  return { ...builtInComputeLimits, ...(await readLimitsOver(db, rows)) };
}

/** The built-in values, under the defaults that were set, under the project's own, under the user's own. */
const effective = (db: Queries, owner: QuotaOwner): Promise<ComputeLimits> =>
  limitsOver(db, [defaultsRow, projectRow(owner.projectId), rowOf(owner)]);

export function createComputeQuotas(deps: { readonly database: Database; readonly machines: MachineUsageSource }): ComputeQuotas {
  const { database, machines } = deps;

  const inUse = async (db: Queries, owner: QuotaOwner): Promise<Partial<Record<ComputeLimitKey, number>>> => ({
    ...(await machines.usageOf(db, owner)),
    server_groups: await countServerGroups(db, owner),
  });
  /** A project that there is not is a slip of the operator's pen; others never get this far. */
  const mustExist = async (db: Queries, projectId: string): Promise<void> => {
    if (!(await projectExists(db, projectId))) throw noProject(projectId);
  };

  return {
    effective,
    async hasRoomFor(tx, key, owner, { countedIn, count }) {
      await lockProject(tx, `${key}:${countedIn}`);
      const limit = (await effective(tx.sql, owner))[key];
      return limit === unlimited || (await count()) < limit;
    },
    async reserve(tx, { projectId, userId }, wanted) {
      await lockProject(tx, projectRow(projectId));
      for (const owner of [{ projectId }, { projectId, userId }]) {
        const shortages = shortagesOf(await effective(tx.sql, owner), await machines.usageOf(tx.sql, owner), wanted);
        if (shortages.length > 0) throw tooManyInstances(shortages);
      }
    },

    async limitsOf(caller, owner) {
      authorise(caller, 'machine_quota:get', owner);
      await mustExist(database.sql, owner.projectId);
      return await effective(database.sql, owner);
    },
    async usageOf(caller, owner) {
      authorise(caller, 'machine_quota:get', owner);
      await mustExist(database.sql, owner.projectId);
      const limits = await effective(database.sql, owner);
      const used = await inUse(database.sql, owner);
      const uses = keysOf(limits).map((key) => [key, { limit: limits[key], inUse: used[key] ?? 0 }]);
      return Object.fromEntries(uses) as Record<ComputeLimitKey, QuotaUse>;
    },
    async setLimits(caller, owner, limits, { force }) {
      authorise(caller, 'machine_quota:update', owner);
      return await database.transact(async (tx) => {
        await mustExist(tx.sql, owner.projectId);
        await lockProject(tx, projectRow(owner.projectId));
        if (!force) {
          const most = owner.userId === undefined ? undefined : await effective(tx.sql, { projectId: owner.projectId });
          requireSensible(limits, await inUse(tx.sql, owner), most);
        }
        await writeLimits(tx, rowOf(owner), limits);
        return await effective(tx.sql, owner);
      });
    },
    async resetLimits(caller, owner) {
      authorise(caller, 'machine_quota:update', owner);
      await database.transact((tx) => deleteLimits(tx, rowOf(owner)));
    },
    async defaults(caller, projectId) {
      authorise(caller, 'machine_quota:see_defaults', { projectId: null });
      await mustExist(database.sql, projectId);
      return await limitsOver(database.sql, [defaultsRow]);
    },
    async classLimits(caller, name) {
      authorise(caller, 'machine_quota_class:change', { projectId: null });
      return await limitsOver(database.sql, [classRow(name)]);
    },
    async setClassLimits(caller, name, limits) {
      authorise(caller, 'machine_quota_class:change', { projectId: null });
      return await database.transact(async (tx) => {
        await writeLimits(tx, classRow(name), limits);
        return await limitsOver(tx.sql, [classRow(name)]);
      });
    },
  };
}

const keysOf = (limits: ComputeLimits): ComputeLimitKey[] => Object.keys(limits) as ComputeLimitKey[];

/** In the order of their names, as the original says them. */
function shortagesOf(limits: ComputeLimits, used: MachineUsage, wanted: MachineUsage): Shortage[] {
  return (['cores', 'instances', 'ram'] as const)
    .filter((key) => wanted[key] > 0 && limits[key] !== unlimited && used[key] + wanted[key] > limits[key])
    .map((key) => ({ key, requested: wanted[key], inUse: used[key], limit: limits[key] }));
}

function requireSensible(limits: QuotaLimits, used: Partial<Record<string, number>>, most: QuotaLimits | undefined): void {
  for (const [key, limit] of Object.entries(limits)) {
    if (limit !== unlimited && limit < (used[key] ?? 0)) throw belowUsage(key, limit, used[key] ?? 0);
    const upper = most?.[key] ?? unlimited;
    if (upper !== unlimited && (limit === unlimited || limit > upper)) throw aboveProject(key, limit, upper);
  }
}
