import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Api, signIn } from '../support/api.ts';
import { makeGroup, snapshotGroup } from '../support/groups.ts';
import { connectNbd, type NbdClient, socketPathOf } from '../support/nbd-client.ts';
import { connect, disconnect, makeVolume } from '../support/scenario.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

const blockBytes = 4096;
const streamCount = 8;
const snapshotCount = 12;

let stateDir: string;
let service: ServiceUnderTest;
let api: Api;

beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
  await api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: { volumes: -1, snapshots: -1, gigabytes: -1, groups: -1 } });
});
afterAll(async () => {
  await service.stop();
  await removeStateDir(stateDir);
});

async function groupOf(volumeCount: number): Promise<{ groupId: string; volumeIds: string[] }> {
  const groupId = await makeGroup(api, `of ${volumeCount}`);
  const volumeIds: string[] = [];
  for (let made = 0; made < volumeCount; made += 1) volumeIds.push(await makeVolume(api, { group_id: groupId }));
  return { groupId, volumeIds };
}

/** By volume, the snapshots that belong to it. */
async function partsOfSnapshot(groupId: string): Promise<Map<string, string>> {
  const { snapshots } = await api.volume('GET', `/snapshots/detail?group_snapshot_id=${await snapshotGroup(api, groupId)}`);
  return new Map(snapshots.map((part: { id: string; volume_id: string }) => [part.volume_id, part.id]));
}

/** The counts of all streams in a snapshot, which a new volume shows. */
async function countsIn(snapshotId: string): Promise<number[]> {
  const volumeId = await makeVolume(api, { snapshot_id: snapshotId });
  const client = await connectNbd(socketPathOf(await connect(api, volumeId, 'ro')));
  const bytes = await client.read(0, streamCount * blockBytes);
  await client.close();
  await disconnect(api, volumeId);
  await api.volume('DELETE', `/volumes/${volumeId}`);
  return Array.from({ length: streamCount }, (_, stream) => bytes.readUInt32LE(stream * blockBytes));
}

/** The volumes in the order in which a stream counts on them: each stream begins elsewhere, and half of them go backwards. */
function routeOf<T>(stream: number, volumes: readonly T[]): T[] {
  const begin = stream % volumes.length;
  const turned = [...volumes.slice(begin), ...volumes.slice(0, begin)];
  return stream % 2 === 0 ? turned : turned.reverse();
}

function startStreams(clients: readonly NbdClient[]): { slowestMs: () => number; stop: () => Promise<void> } {
  let [isStopped, slowestMs] = [false, 0];
  const streams = Array.from({ length: streamCount }, async (_, stream) => {
    const block = Buffer.alloc(blockBytes);
    for (let count = 1; !isStopped; count += 1) {
      block.writeUInt32LE(count);
      for (const client of routeOf(stream, clients)) {
        const startedAt = performance.now();
        await client.write(stream * blockBytes, block);
        slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      }
    }
  });
  return {
    slowestMs: () => slowestMs,
    async stop() {
      isStopped = true;
      await Promise.all(streams);
    },
  };
}

it.each([2, 4])('of %d volumes, whatever order clients write in', { timeout: 180_000 }, async (volumeCount) => {
  const { groupId, volumeIds } = await groupOf(volumeCount);
  const clients: NbdClient[] = [];
  for (const volumeId of volumeIds) clients.push(await connectNbd(socketPathOf(await connect(api, volumeId))));
  const streams = startStreams(clients);
  const made: Map<string, string>[] = [];
  for (let count = 0; count < snapshotCount; count += 1) made.push(await partsOfSnapshot(groupId));
  await streams.stop();
  let total = 0;
  for (const parts of made) {
    const counts = new Map<string, number[]>();
    for (const [volumeId, snapshotId] of parts) counts.set(volumeId, await countsIn(snapshotId));
    for (let stream = 0; stream < streamCount; stream += 1) {
      const route = routeOf(stream, volumeIds).map((volumeId) => counts.get(volumeId)?.[stream] ?? Number.NaN);
      const ahead = route.map((count) => count - (route.at(-1) as number));
      expect(ahead, `stream ${stream} counts ${route}`).toEqual(ahead.toSorted((a, b) => b - a));
      expect(ahead[0], `stream ${stream} counts ${route}`).toBeLessThanOrEqual(1);
    }
    const counted = [...counts.values()].flat().reduce((sum, count) => sum + count, 0);
    expect(counted).toBeGreaterThan(total);
    total = counted;
  }
  process.stdout.write(`the slowest write during group snapshots of ${volumeCount} volumes took ${streams.slowestMs().toFixed(0)} ms\n`);
  for (const client of clients) await client.close();
});
