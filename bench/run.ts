/**
 * `npm run bench`: what backups and restores cost, beside restic, borg, zstd and cp, on the same image in one run. The service is the
 * real one with its embedded PostgreSQL; times run from the request to the settled state. Writes count until they are durable.
 * `--repeats N` (default 3), `--folder DIR` (default below the system's folder for temporary files; the image is kept there).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeStateDir, removeStateDir, startServiceUnderTest } from '../test/support/service.ts';
import { measureThroughput } from './api-throughput.ts';
import { changeDataset, copyDataset, type Dataset, makeDataset } from './dataset.ts';
import { measureGrowth } from './growth.ts';
import { measureLatencies } from './latencies.ts';
import { type Row, warmMemory } from './measure.ts';
import { copyImage, createPeers, type Peer } from './peers.ts';
import { printTable } from './report.ts';
import { measureSnapshotLatency, measureSnapshotsDuringMerges, measureWritesDuringMerges } from './snapshot-latency.ts';
import { createSubject, type Subject } from './subject.ts';

const changedShare = 0.02;

const { values } = parseArgs({
  options: { repeats: { type: 'string', default: '3' }, folder: { type: 'string', default: join(tmpdir(), 'stillpoint-bench') } },
});
const repeats = Number(values.repeats);
const folder = values.folder;

const rows: Row[] = [];
function note(work: string, side: string, seconds: number, stored?: number): void {
  const known = rows.find((row) => row.work === work && row.side === side);
  const row = known ?? { work, side, samples: [] };
  if (known === undefined) rows.push(row);
  row.samples.push(stored === undefined ? { seconds } : { seconds, stored });
  process.stdout.write(`  ${work} · ${side}: ${seconds.toFixed(2)} s\n`);
}

/** One round over all works: every side sees the same bytes in the same state, one after the other. */
async function oneRound(original: Dataset, subject: Subject, peers: ReturnType<typeof createPeers>, round: number): Promise<void> {
  const image = copyDataset(original, join(folder, 'work.raw'));
  const others: Peer[] = [peers.restic, peers.borg];
  for (const peer of [...others, peers.zstd]) {
    peer.reset();
    await warmMemory();
    const seconds = await peer.backup(image.imagePath);
    note('full backup', peer.name, seconds, peer.stored());
  }
  const disk = await subject.makeDisk(image.imagePath);
  await timeSubject(subject, 'full backup', () => disk.backUp({ incremental: false }));
  for (const [work, shape] of [
    ['incremental, 2 % scattered', 'scattered'],
    ['incremental, 2 % in runs of 4 MiB', 'runs'],
  ] as const) {
    const changed = changeDataset(image, shape, changedShare, round * 100 + shape.length);
    await disk.apply(image.imagePath, changed);
    for (const peer of others) await timePeer(peer, work, () => peer.backup(image.imagePath));
    await timeSubject(subject, work, () => disk.backUp({ incremental: true }));
  }
  for (const peer of others) await timePeer(peer, 'unchanged backup', () => peer.backup(image.imagePath));
  await timeSubject(subject, 'unchanged backup', () => disk.backUp({ incremental: true }));
  for (const durable of [false, true]) {
    await warmMemory();
    note('restore to a new volume', durable ? 'cp, synced' : 'cp', await copyImage(image.imagePath, join(folder, 'copy.raw'), durable));
  }
  if (peers.restic.restore !== undefined) note('restore to a new volume', 'restic', await peers.restic.restore(image.imagePath));
  await timeSubject(subject, 'restore to a new volume', () => disk.restore());
  await disk.mustEqual(image.imagePath);
  await disk.remove();
}

async function timePeer(peer: Peer, work: string, action: () => Promise<number>): Promise<void> {
  const before = peer.stored();
  await warmMemory();
  const seconds = await action();
  note(work, peer.name, seconds, peer.stored() - before);
}

async function timeSubject(subject: Subject, work: string, action: () => Promise<number>): Promise<void> {
  const before = subject.stored();
  await warmMemory();
  const seconds = await action();
  note(work, 'stillpoint', seconds, subject.stored() - before);
}

async function main(): Promise<void> {
  mkdirSync(folder, { recursive: true });
  process.stdout.write(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}; making the image …\n`);
  const original = makeDataset(folder);
  const stateDir = await makeStateDir();
  const service = await startServiceUnderTest(stateDir);
  try {
    const subject = await createSubject(service);
    const peers = createPeers(folder);
    for (let round = 1; round <= repeats; round += 1) await oneRound(original, subject, peers, round);
    const memory = subject.peakMemory();
    const latencies = [
      ...(await measureLatencies(subject, original.imagePath)),
      ...(await measureSnapshotLatency(subject.api)),
      ...(await measureSnapshotsDuringMerges(subject.api)),
      ...(await measureWritesDuringMerges(subject.api)),
    ];
    const throughput = await measureThroughput(subject.api, service.url);
    const growth = await measureGrowth(subject);
    await service.stop();
    const again = await startServiceUnderTest(stateDir);
    await again.stop();
    printTable({ rows, memory, latencies, throughput, growth, secondStartMs: again.readyAfterMs });
  } catch (error) {
    process.stderr.write(service.log().slice(-4000));
    throw error;
  } finally {
    await service.stop();
    await removeStateDir(stateDir);
    for (const name of [
      'work.raw',
      'work.raw.extents',
      'restic',
      'restic-cache',
      'restic-restored',
      'borg',
      'borg-cache',
      'borg-config',
      'zstd',
    ]) {
      rmSync(join(folder, name), { recursive: true, force: true });
    }
    execFileSync('sync');
  }
}

await main();
