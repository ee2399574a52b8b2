/** The limits of Compute: their names, their built-in values, and what is said when one is reached. */
import { badRequest, forbidden } from '../../lib/errors.ts';

const fixedDefaults = {
  instances: 10,
  cores: 20,
  /** In MiB. */
  ram: 51_200,
  /** Of one server. */
  metadata_items: 128,
  /** Of one user. */
  key_pairs: 100,
  server_groups: 10,
  /** Of one group, for one user. */
  server_group_members: 10,
  // What follows belongs to ways of older clients that nothing here offers: kept and told, and limiting nothing.
  injected_files: 5,
  injected_file_content_bytes: 10_240,
  injected_file_path_bytes: 255,
  fixed_ips: -1,
  floating_ips: -1,
  security_groups: -1,
  security_group_rules: -1,
} as const;

export type ComputeLimitKey = keyof typeof fixedDefaults;
export type ComputeLimits = Readonly<Record<ComputeLimitKey, number>>;

export const builtInComputeLimits: ComputeLimits = fixedDefaults;

/** What servers use up. `ram` in MiB. */
export interface MachineUsage {
  readonly instances: number;
  readonly cores: number;
  readonly ram: number;
}

export interface Shortage {
  readonly key: keyof MachineUsage;
  readonly requested: number;
  readonly inUse: number;
  readonly limit: number;
}

/** All limits that a request goes beyond, in one sentence. */
export function tooManyInstances(shortages: readonly Shortage[]) {
  const of = (field: keyof Shortage): string => shortages.map((shortage) => shortage[field]).join(', ');
  const keys = of('key');
  return forbidden(`Quota exceeded for ${keys}: Requested ${of('requested')}, but already used ${of('inUse')} of ${of('limit')} ${keys}`);
}

export const belowUsage = (key: string, limit: number, used: number) =>
  badRequest(`Quota limit ${limit} for ${key} must be greater than or equal to already used and reserved ${used}.`);
export const aboveProject = (key: string, limit: number, most: number) =>
  badRequest(`Quota limit ${limit} for ${key} must be less than or equal to ${most}.`);
export const noProject = (projectId: string) => badRequest(`Project ID ${projectId} is not a valid project.`);
