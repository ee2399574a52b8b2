import type { Kysely } from 'kysely';
import type { ListColumn, ListQuery } from '../database/lists.ts';
import type { Schema, StringMap } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';

/** How large a server is. */
export interface Flavor {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly vcpus: number;
  readonly ramMib: number;
  /** Of the root disk; 0 = as large as the image. */
  readonly diskGib: number;
  readonly ephemeralGib: number;
  readonly swapMib: number;
  /** Kept for clients: nothing here shares out bandwidth. */
  readonly rxtxFactor: number;
  readonly isPublic: boolean;
  readonly extraSpecs: StringMap;
}

/** The names under which lists may be sorted. */
export const flavorColumns = {
  flavorid: { column: 'id', kind: 'text' },
  name: { column: 'name', kind: 'text' },
  description: { column: 'description', kind: 'text', nullable: true },
  vcpus: { column: 'vcpus', kind: 'number' },
  memory_mb: { column: 'ram_mib', kind: 'number' },
  root_gb: { column: 'disk_gib', kind: 'number' },
  ephemeral_gb: { column: 'ephemeral_gib', kind: 'number' },
  swap: { column: 'swap_mib', kind: 'number' },
  rxtx_factor: { column: 'rxtx_factor', kind: 'number' },
  is_public: { column: 'is_public', kind: 'boolean' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type FlavorColumn = keyof typeof flavorColumns;

export interface FlavorListQuery extends Pick<ListQuery<FlavorColumn>, 'sort' | 'limit'> {
  /** Undefined: public and others. Counts for administrators only; what others may use they see. */
  readonly isPublic: boolean | undefined;
  readonly minRamMib: number;
  readonly minDiskGib: number;
  readonly marker: string | undefined;
}

export interface FlavorOrder extends Omit<Flavor, 'id' | 'extraSpecs'> {
  /** Null: any that is free. */
  readonly id: string | null;
}

/** What servers ask of flavors. */
export interface FlavorChoice {
  /** By id. Undefined when there is none, or none that the caller's project may use. Administrators use every one. */
  find(db: Kysely<Schema>, caller: Caller, id: string): Promise<Flavor | undefined>;
}
