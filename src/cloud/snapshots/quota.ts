/** What a snapshot takes of a project's quota. */
export function quotaOfSnapshot(typeName: string, sizeGib: number): Record<string, number> {
  return { snapshots: 1, gigabytes: sizeGib, [`snapshots_${typeName}`]: 1, [`gigabytes_${typeName}`]: sizeGib };
}
