/**
 * What a snapshot takes from the request until it is available, for volumes of all sizes, with many snapshots or none on them, offline,
 * connected, while their client writes, and while layers merge; and what a merge in the background does to the writes of that client.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../src/lib/random.ts';
import type { Api } from '../test/support/api.ts';
import { connectNbd, type NbdClient, socketPathOf } from '../test/support/nbd-client.ts';
import { connect, disconnect, makeSnapshot, makeVolume } from '../test/support/scenario.ts';
import { type Latency, summarise } from './latencies.ts';
import { untilAvailable } from './subject.ts';

const sizesGib = [1, 100, 1024];
const standing = [0, 10, 200];
/** As many as a 99th percentile takes that is not the maximum. */
const measuredPerCell = 200;
const warmUps = 5;
const blockBytes = 4096;
const writeSpanBytes = 512 * 2 ** 20;
/** A busy database: so many writes in flight, a flush after each batch. */
const writesInFlight = 8;
const writeEveryMs = 4;

type Load = 'offline' | 'connected, idle' | 'connected, writing';

export async function measureSnapshotLatency(api: Api): Promise<Latency[]> {
  const rows: Latency[] = [];
  for (const sizeGib of sizesGib) {
    for (const count of standing) {
      for (const load of ['offline', 'connected, idle', 'connected, writing'] as const) {
        // A fresh one each time: else layers of the cell before stand in it, too.
        const volumeId = await makeVolume(api, { size: sizeGib });
        for (let made = 0; made < count; made += 1) await makeSnapshot(api, volumeId);
        const what = `snapshot, ${sizeGib} GiB, ${count} snapshots, ${load}`;
        rows.push(summarise(what, await underLoad(api, volumeId, load, () => snapshots(api, volumeId))));
        const { medianMs, p99Ms, maxMs } = rows.at(-1) as Latency;
        process.stdout.write(`  ${what}: p50 ${medianMs.toFixed(1)} p99 ${p99Ms.toFixed(1)} max ${maxMs.toFixed(1)} ms\n`);
        await removeVolume(api, volumeId);
      }
    }
  }
  return rows;
}

async function removeVolume(api: Api, volumeId: string): Promise<void> {
  await api.volume('DELETE', `/volumes/${volumeId}?cascade=True`);
  await api.settled('volumes', volumeId, 120_000);
}

/** Returns what it took in milliseconds until it was available. */
async function timedSnapshot(api: Api, volumeId: string): Promise<{ id: string; timeMs: number }> {
  const startedAt = performance.now();
  const { snapshot } = await api.volume('POST', '/snapshots', { snapshot: { volume_id: volumeId, force: true } });
  await untilAvailable(api, `/snapshots/${snapshot.id}`, 'snapshot');
  return { id: snapshot.id, timeMs: performance.now() - startedAt };
}

/** Those that it makes are deleted again, so that the number of snapshots on the volume stays. */
async function snapshots(api: Api, volumeId: string): Promise<number[]> {
  const times: number[] = [];
  for (let count = 0; count < measuredPerCell + warmUps; count += 1) {
    const { id, timeMs } = await timedSnapshot(api, volumeId);
    if (count >= warmUps) times.push(timeMs);
    await api.volume('DELETE', `/snapshots/${id}`);
    await api.settled('snapshots', id);
  }
  return times;
}

async function underLoad<T>(api: Api, volumeId: string, load: Load, work: () => Promise<T>): Promise<T> {
  if (load === 'offline') return await work();
  return await connected(api, volumeId, async (client) => {
    const writer = load === 'connected, writing' ? startWriter(client) : undefined;
    try {
      return await work();
    } finally {
      await writer?.stop();
    }
  });
}

async function connected<T>(api: Api, volumeId: string, work: (client: NbdClient) => Promise<T>): Promise<T> {
  const client = await connectNbd(socketPathOf(await connect(api, volumeId)));
  try {
    return await work(client);
  } finally {
    await client.close();
    await disconnect(api, volumeId);
  }
}

const anyOffset = (random: () => number): number => Math.floor((random() * writeSpanBytes) / blockBytes) * blockBytes;

interface Writer {
  /** Milliseconds from sending a block until it was acknowledged. */
  readonly times: number[];
  stop(): Promise<void>;
}

/** Batches of random blocks, a flush behind each, at a pace that leaves the disk room. */
function startWriter(client: NbdClient): Writer {
  const times: number[] = [];
  const random = seededRandom(1);
  const block = Buffer.alloc(blockBytes);
  let running = true;
  const writing = (async () => {
    while (running) {
      const batch = Array.from({ length: writesInFlight }, async () => {
        const startedAt = performance.now();
        block.writeUInt32LE(Math.floor(random() * 2 ** 32), 0);
        await client.write(anyOffset(random), block);
        times.push(performance.now() - startedAt);
      });
      await Promise.all(batch);
      await client.flush();
      await sleep(writeEveryMs);
    }
  })();
  return {
    times,
    async stop() {
      running = false;
      await writing;
    },
  };
}

const writesPerLayer = 4096;
const volumesWithMerges = 25;
/** Merging begins after two seconds without a snapshot, and the layers made here take it four more at least. */
const mergesRunFromMs = 2_600;
const mergesRunForMs = 1_500;
const layersToMerge = 3;

/** Snapshots at a moment when the layers of deleted ones are being merged: one of each volume, for after it the merges wait. */
export async function measureSnapshotsDuringMerges(api: Api): Promise<Latency[]> {
  const random = seededRandom(3);
  const times: number[] = [];
  for (let count = 0; count < volumesWithMerges; count += 1) {
    const volumeId = await makeVolume(api, { size: 100 });
    await connected(api, volumeId, async (client) => {
      const ids = await snapshotsWithWrites(api, volumeId, { client, random, layers: layersToMerge });
      for (const id of ids) await api.volume('DELETE', `/snapshots/${id}`);
      await sleep(mergesRunFromMs + random() * mergesRunForMs);
      const writer = startWriter(client);
      await sleep(100);
      times.push((await timedSnapshot(api, volumeId)).timeMs);
      await writer.stop();
    });
    await removeVolume(api, volumeId);
  }
  return [summarise('snapshot, 100 GiB, connected, writing, while layers merge', times)];
}

/** Returns the ids of the snapshots, with thousands of blocks written before each. */
async function snapshotsWithWrites(
  api: Api,
  volumeId: string,
  { client, random, layers }: { client: NbdClient; random: () => number; layers: number },
): Promise<string[]> {
  const ids: string[] = [];
  for (let layer = 0; layer < layers; layer += 1) {
    for (let done = 0; done < writesPerLayer; done += writesInFlight) {
      await Promise.all(Array.from({ length: writesInFlight }, () => client.write(anyOffset(random), Buffer.alloc(blockBytes, layer + 1))));
    }
    ids.push(await makeSnapshot(api, volumeId));
  }
  return ids;
}

const mergedLayers = 12;
const observedMs = 5_000;

/** Writes of a connected client: undisturbed, and while the layers of deleted snapshots are merged below it. */
export async function measureWritesDuringMerges(api: Api): Promise<Latency[]> {
  const volumeId = await makeVolume(api, { size: 100 });
  return await connected(api, volumeId, async (client) => {
    const ids = await snapshotsWithWrites(api, volumeId, { client, random: seededRandom(2), layers: mergedLayers });
    const quiet = startWriter(client);
    await sleep(observedMs);
    await quiet.stop();
    const busy = startWriter(client);
    for (const id of ids) await api.volume('DELETE', `/snapshots/${id}`);
    await sleep(observedMs);
    await busy.stop();
    return [
      summarise('write of 4 KiB by a client, undisturbed', quiet.times),
      summarise('the same while layers merge below it', busy.times),
    ];
  });
}
