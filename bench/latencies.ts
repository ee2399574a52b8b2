/** What users wait for: snapshots, and the API while a backup runs. */
import { makeVolume } from '../test/support/scenario.ts';
import { quantile } from './measure.ts';
import { type Subject, untilAvailable } from './subject.ts';

const snapshotCount = 200;
const warmUpCount = 20;

export interface Latency {
  readonly what: string;
  readonly count: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export async function measureLatencies(subject: Subject, imagePath: string): Promise<Latency[]> {
  return [
    summarise('snapshot of a 1 GiB volume, request to available', await snapshots(subject, 1)),
    summarise('snapshot of a 1 TiB volume, request to available', await snapshots(subject, 1024)),
    summarise('volume list while a full backup runs', await readsDuringBackup(subject, imagePath)),
  ];
}

async function snapshots({ api }: Subject, sizeGib: number): Promise<number[]> {
  const volumeId = await makeVolume(api, { size: sizeGib });
  const times: number[] = [];
  for (let count = 0; count < snapshotCount + warmUpCount; count += 1) {
    const startedAt = performance.now();
    const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: volumeId } });
    await untilAvailable(api, `/snapshots/${snapshot.id}`, 'snapshot');
    if (count >= warmUpCount) times.push(performance.now() - startedAt);
  }
  await api.volume('DELETE', `/volumes/${volumeId}?cascade=True`);
  await api.settled('volumes', volumeId, 120_000);
  return times;
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

const summarise = (what: string, times: readonly number[]): Latency => ({
  what,
  count: times.length,
  medianMs: quantile(times, 0.5),
  p99Ms: quantile(times, 0.99),
  maxMs: quantile(times, 1),
});
