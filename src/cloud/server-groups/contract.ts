import type { Kysely } from 'kysely';
import type { Schema, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';

export const groupPolicies = ['affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity'] as const;
export type GroupPolicy = (typeof groupPolicies)[number];

/** With `anti-affinity` only: how many servers of the group one host takes. */
export type GroupRules = { readonly max_server_per_host?: number };

/** Servers that are to be placed together, or apart. */
export interface ServerGroup {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string;
  readonly policy: GroupPolicy;
  readonly rules: GroupRules;
  /** The ids of its servers. */
  readonly members: readonly string[];
}

export type ServerGroupOrder = Pick<ServerGroup, 'name' | 'policy' | 'rules'>;

export interface ServerGroupListQuery {
  readonly allProjects: boolean;
  readonly limit: number;
  readonly offset: number;
}

/** What servers ask of groups. */
export interface GroupMembership {
  /**
   * Puts a new server into a group of the caller's project, in the transaction that makes the server. 400 when there is no such group; 403 when it is
   * full. Returns the group as it was before: its rule is for whoever places the server.
   */
  join(tx: Tx, caller: Caller, groupId: string, serverId: string): Promise<ServerGroup>;
  /** The server is gone. */
  leave(tx: Tx, serverId: string): Promise<void>;
  /** The ids of the groups that it is in. */
  groupsOf(db: Kysely<Schema>, serverId: string): Promise<readonly string[]>;
}
