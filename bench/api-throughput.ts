/** What the API answers to clients that ask without pause: requests a second over kept connections, and what each waits. The client shares the cores. */
import { Agent, get } from 'node:http';
import type { Api } from '../test/support/api.ts';
import { type Latency, summarise } from './latencies.ts';

const volumes = 1_000;
const pageSize = 100;
const connections = 8;
const makersAtOnce = 16;
const warmUpMs = 2_000;
const measuredMs = 8_000;

export interface Throughput extends Latency {
  readonly perSecond: number;
}

export async function measureThroughput(api: Api, serviceUrl: string): Promise<Throughput[]> {
  const ids = await makeVolumes(api);
  const at = (path: string): string => `${serviceUrl}/volume/v3${path}`;
  const list = await ask(api, `list of ${pageSize} of ${volumes} volumes with detail`, () => at(`/volumes/detail?limit=${pageSize}`));
  let next = 0;
  const one = await ask(api, 'one volume by id', () => at(`/volumes/${ids[next++ % ids.length]}`));
  for (const id of ids) await api.volume('DELETE', `/volumes/${id}`);
  for (const id of ids) await api.settled('volumes', id);
  return [list, one];
}

async function makeVolumes(api: Api): Promise<string[]> {
  const ids: string[] = [];
  const maker = async (): Promise<void> => {
    while (ids.length < volumes) {
      const place = ids.push('') - 1;
      const { volume } = await api.volume('POST', '/volumes', {
        volume: { name: `bench-${place}`, size: 1, metadata: { place: `${place}` } },
      });
      ids[place] = volume.id;
      await api.settled('volumes', volume.id);
    }
  };
  await Promise.all(Array.from({ length: makersAtOnce }, maker));
  return ids;
}

async function ask(api: Api, what: string, urlOf: () => string): Promise<Throughput> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const times: number[] = [];
  const measuredFrom = performance.now() + warmUpMs;
  const until = measuredFrom + measuredMs;
  const client = async (): Promise<void> => {
    for (;;) {
      const startedAt = performance.now();
      if (startedAt > until) return;
      await fetchWhole(agent, urlOf(), api.token);
      if (startedAt >= measuredFrom) times.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: connections }, client));
  agent.destroy();
  const row = { ...summarise(`${what}, ${connections} connections`, times), perSecond: times.length / (measuredMs / 1000) };
  process.stdout.write(`  ${row.what}: ${row.perSecond.toFixed(0)}/s, p50 ${row.medianMs.toFixed(1)} p99 ${row.p99Ms.toFixed(1)} ms\n`);
  return row;
}

function fetchWhole(agent: Agent, url: string, token: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent, headers: { 'x-auth-token': token, 'openstack-api-version': 'volume 3.70' } }, (reply) => {
      if (reply.statusCode !== 200) reject(new Error(`${url}: ${reply.statusCode}`));
      reply.resume().once('end', resolve).once('error', reject);
    });
    request.once('error', reject);
  });
}
