/** What a run has done, for its last lines. */
export interface Counts {
  histories: number;
  steps: number;
  checks: number;
  bytesCompared: number;
  /** How often what was killed, and at which marked instants. */
  readonly kills: { service: number; daemon: number; mover: number };
  readonly points: Map<string, number>;
  readonly byStep: Map<string, number>;
  /** Milliseconds in all. */
  readonly msByStep: Map<string, number>;
}

export const newCounts = (): Counts => ({
  histories: 0,
  steps: 0,
  checks: 0,
  bytesCompared: 0,
  kills: { service: 0, daemon: 0, mover: 0 },
  points: new Map(),
  byStep: new Map(),
  msByStep: new Map(),
});

export const addTo = (map: Map<string, number>, key: string, more = 1): void => void map.set(key, (map.get(key) ?? 0) + more);

export function countsText(counts: Counts): string {
  const { service, daemon, mover } = counts.kills;
  const list = (map: Map<string, number>): string =>
    [...map]
      .sort()
      .map(([name, count]) => `${name} ${Math.round(count)}`)
      .join(', ');
  return [
    `histories ${counts.histories}, steps ${counts.steps}, full comparisons ${counts.checks}`,
    `bytes compared ${(counts.bytesCompared / 2 ** 30).toFixed(1)} GiB`,
    `kills: service ${service}, storage daemon ${daemon}, data mover ${mover}`,
    `by step: ${list(counts.byStep)}`,
    `milliseconds by step: ${list(counts.msByStep)}`,
    ...(counts.points.size === 0 ? [] : [`killed at: ${list(counts.points)}`]),
  ].join('\n');
}
