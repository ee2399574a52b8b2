/** What users wait for: the API while a backup runs. Snapshots are in `snapshot-latency.ts`. */
import { quantile } from './measure.ts';
import type { Subject } from './subject.ts';

export interface Latency {
  readonly what: string;
  readonly count: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export async function measureLatencies(subject: Subject, imagePath: string): Promise<Latency[]> {
  return [summarise('volume list while a full backup runs', await readsDuringBackup(subject, imagePath))];
}

async function readsDuringBackup(subject: Subject, imagePath: string): Promise<number[]> {
  const disk = await subject.makeDisk(imagePath);
  const times: number[] = [];
  let running = true;
  const backup = disk.backUp({ incremental: false }).finally(() => {
    running = false;
  });
  while (running) {
    const startedAt = performance.now();
    await subject.api.volume('GET', '/volumes/detail');
    times.push(performance.now() - startedAt);
  }
  await backup;
  return times;
}

export const summarise = (what: string, times: readonly number[]): Latency => ({
  what,
  count: times.length,
  medianMs: quantile(times, 0.5),
  p99Ms: quantile(times, 0.99),
  maxMs: quantile(times, 1),
});
