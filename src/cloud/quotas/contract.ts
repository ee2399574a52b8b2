/** The quotas of Compute, as those see them whose things are counted. */
import type { Kysely } from 'kysely';
import type { Schema } from '../database/schema.ts';
import type { Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { ComputeLimitKey, ComputeLimits, MachineUsage } from './compute-keys.ts';
import type { QuotaLimits, QuotaUse } from './keys.ts';

export type { MachineUsage } from './compute-keys.ts';

/** Whose limits: those of a project, or of one user in it. */
export interface QuotaOwner {
  readonly projectId: string;
  readonly userId?: string | undefined;
}

/** What the servers of a project use up, or those of one user in it. */
export interface MachineUsageSource {
  usageOf(db: Kysely<Schema>, owner: QuotaOwner): Promise<MachineUsage>;
}

/** Within what something is counted: the lock is of that name. */
export interface Counting {
  readonly countedIn: string;
  readonly count: () => Promise<number>;
}

export interface ComputeQuotas {
  /**
   * Throws Compute's 403 when the project, or the user, cannot have this much more. Call it in the transaction that writes the servers' rows,
   * and before it writes them.
   */
  reserve(tx: Tx, owner: Required<QuotaOwner>, wanted: MachineUsage): Promise<void>;
  /**
   * Whether there may be one more of something, of which there are `count` in `countedIn`; nobody else adds one there until the transaction ends.
   */
  hasRoomFor(tx: Tx, key: 'key_pairs' | 'server_groups' | 'server_group_members', owner: QuotaOwner, counting: Counting): Promise<boolean>;
  /** What holds for whoever is limited, whoever asks. */
  effective(db: Kysely<Schema>, owner: QuotaOwner): Promise<ComputeLimits>;

  limitsOf(caller: Caller, owner: QuotaOwner): Promise<ComputeLimits>;
  usageOf(caller: Caller, owner: QuotaOwner): Promise<Readonly<Record<ComputeLimitKey, QuotaUse>>>;
  /** All or nothing. Refuses limits below what is in use, and for a user above those of the project, unless forced. Returns all limits. */
  setLimits(caller: Caller, owner: QuotaOwner, limits: QuotaLimits, options: { readonly force: boolean }): Promise<ComputeLimits>;
  /** Back to what those have for whom nothing is set. */
  resetLimits(caller: Caller, owner: QuotaOwner): Promise<void>;
  /** What projects without limits of their own have. */
  defaults(caller: Caller, projectId: string): Promise<ComputeLimits>;
  /** Of a class of projects. `default` are the defaults; others are kept for operators' own use. */
  classLimits(caller: Caller, name: string): Promise<ComputeLimits>;
  setClassLimits(caller: Caller, name: string, limits: QuotaLimits): Promise<ComputeLimits>;
}
