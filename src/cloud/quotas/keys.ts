/** The names of limits, their built-in values, and what each counts. */

export interface QuotaUse {
  readonly limit: number;
  readonly inUse: number;
}

/** By key. -1 = unlimited. */
export type QuotaLimits = Readonly<Record<string, number>>;

export const unlimited = -1;

const fixedDefaults = {
  volumes: 10,
  snapshots: 10,
  gigabytes: 1000,
  backups: 10,
  backup_gigabytes: 1000,
  per_volume_gigabytes: unlimited,
  groups: 10,
} as const;

/** Counted for each volume type on its own: `volumes_<type>`. */
export const perTypeKeys = ['volumes', 'gigabytes', 'snapshots'] as const;

/** All keys that exist while these volume types do, with their built-in limits. */
export function builtInLimits(typeNames: readonly string[]): QuotaLimits {
  const perType = typeNames.flatMap((type) => perTypeKeys.map((key) => [`${key}_${type}`, unlimited] as const));
  return { ...fixedDefaults, ...Object.fromEntries(perType) };
}

/** What one project has, as the rows themselves say. */
export interface ProjectUsage {
  readonly volumes: readonly TypeUsage[];
  readonly snapshots: readonly TypeUsage[];
  readonly backupCount: number;
  readonly backupGib: number;
  readonly groupCount: number;
}

export interface TypeUsage {
  readonly typeName: string;
  readonly count: number;
  readonly gib: number;
}

/** Usage by key. Snapshots weigh in `gigabytes` like volumes. A limit on one volume has no usage. */
export function usageByKey(usage: ProjectUsage): Record<string, number> {
  const total = (rows: readonly TypeUsage[], field: 'count' | 'gib'): number => rows.reduce((sum, row) => sum + row[field], 0);
  const byKey: Record<string, number> = {
    volumes: total(usage.volumes, 'count'),
    snapshots: total(usage.snapshots, 'count'),
    gigabytes: total(usage.volumes, 'gib') + total(usage.snapshots, 'gib'),
    backups: usage.backupCount,
    backup_gigabytes: usage.backupGib,
    groups: usage.groupCount,
  };
  const add = (key: string, amount: number): void => {
    byKey[key] = (byKey[key] ?? 0) + amount;
  };
  for (const row of usage.volumes) {
    add(`volumes_${row.typeName}`, row.count);
    add(`gigabytes_${row.typeName}`, row.gib);
  }
  for (const row of usage.snapshots) {
    add(`snapshots_${row.typeName}`, row.count);
    add(`gigabytes_${row.typeName}`, row.gib);
  }
  return byKey;
}
