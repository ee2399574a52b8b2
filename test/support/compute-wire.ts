/** Compute over its wire, but for servers: real HTTP parsing, real tokens, real rows, in this process. */
import fastify from 'fastify';
import type { Database } from '../../src/cloud/database/service.ts';
import { createFlavors } from '../../src/cloud/flavors/service.ts';
import { createAggregates } from '../../src/cloud/hosts/aggregates.ts';
import { createComputeHosts } from '../../src/cloud/hosts/compute-hosts.ts';
import { createIdentityService } from '../../src/cloud/identity/service.ts';
import { createKeypairs } from '../../src/cloud/keypairs/service.ts';
import { createComputeQuotas } from '../../src/cloud/quotas/compute-quotas.ts';
import type { MachineUsageSource } from '../../src/cloud/quotas/contract.ts';
import { createServerGroups } from '../../src/cloud/server-groups/service.ts';
import type { ServersService } from '../../src/cloud/servers/service.ts';
import { computeFront } from '../../src/fronts/openstack/compute/plugin.ts';
import { identityFront } from '../../src/fronts/openstack/identity/plugin.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createMachineFacts } from '../../src/main/machine-facts.ts';
import { type TestDatabase, testDatabase } from './database.ts';
import { memberOf, type Person, signIn } from './people.ts';

export interface ComputeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  // biome-ignore lint/suspicious/noExplicitAny: what the wire carried; the assertions look into it
  readonly body: any;
}

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

export interface ComputeWire {
  readonly held: TestDatabase;
  readonly admin: Person;
  /** With this role (member, unless said otherwise) in a project of their own, both of this name. */
  person(name: string, role?: string): Promise<Person>;
  /** `path` behind `/compute/v2.1`. The microversion is 2.1 unless another is named. */
  send(who: Person, method: Method, path: string, body?: unknown, version?: string): Promise<ComputeAnswer>;
  stop(): Promise<void>;
}

/** What stands for servers. */
export interface ComputeWireOptions {
  readonly machines?: MachineUsageSource;
}

const gib = 2 ** 30;
const noMachines: MachineUsageSource = { usageOf: async () => ({ instances: 0, cores: 0, ram: 0 }) };

/** What Compute's front works with, but for who asks. */
export function computeParts(database: Database, { machines = noMachines }: ComputeWireOptions = {}) {
  const computeQuotas = createComputeQuotas({ database, machines });
  const computeHosts = createComputeHosts({
    database,
    capacity: async () => ({ totalBytes: 100 * gib, freeBytes: 60 * gib }),
    machine: createMachineFacts('127.0.0.1'),
    load: async () => ({ servers: 0, vcpus: 0, ramMib: 0 }),
  });
  return {
    // There are none: the other routes are tested where there are machines.
    servers: { list: async () => [] } as Partial<ServersService> as ServersService,
    computeQuotas,
    computeHosts,
    aggregates: createAggregates({ database }),
    flavors: createFlavors({ database }),
    keypairs: createKeypairs({ database, quotas: computeQuotas }),
    serverGroups: createServerGroups({ database, quotas: computeQuotas }),
  };
}

export async function startComputeWire(options: ComputeWireOptions = {}): Promise<ComputeWire> {
  const held = await testDatabase();
  const { database } = held;
  const identity = createIdentityService({ database, clock: systemClock });
  await identity.bootstrapIdentity({ adminPassword: 'secret' });
  const app = fastify({ routerOptions: { ignoreTrailingSlash: true, maxParamLength: 2048 } });
  await app.register(identityFront, { prefix: '/identity', identity, publicUrl: undefined });
  await app.register(computeFront, { prefix: '/compute', identity, ...computeParts(database, options), publicUrl: undefined });
  const admin = await signIn(app, 'admin', 'secret', 'admin');
  return {
    held,
    admin,
    person: (name, role) => memberOf(app, admin, name, role),
    async send(who, method, path, body, version) {
      const headers = {
        'x-auth-token': who.token,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(version !== undefined && { 'openstack-api-version': `compute ${version}` }),
      };
      const payload = body === undefined ? {} : { payload: JSON.stringify(body) };
      const answer = await app.inject({ method, url: `/compute/v2.1${path}`, headers, ...payload });
      return { status: answer.statusCode, headers: answer.headers, body: answer.body === '' ? undefined : answer.json() };
    },
    async stop() {
      await app.close();
      await held.drop();
    },
  };
}

/** Status and text of a refusal. */
export const faultOf = ({ status, body }: ComputeAnswer): [number, string] => [
  status,
  (Object.values(body)[0] as { message: string }).message,
];
