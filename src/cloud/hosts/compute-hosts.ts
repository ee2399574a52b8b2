/**
 * Compute's services and its one hypervisor, as operators see and stop them. They are parts of one process; the names are Compute's, because
 * clients look for them. A service that is disabled, or that an operator declared to be down, takes no new servers.
 */
import type { Kysely } from 'kysely';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import type { Database, Schema, Timestamp } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import { zoneOf } from './aggregate-store.ts';
import { type Capacity, hostName, type MachineLoad } from './contract.ts';
import { readStates, writeState } from './store.ts';

const gib = 2 ** 30;

/** Of servers' host, unless an aggregate says otherwise. */
const defaultZone = 'nova';

/** Which numbers and ids stand for them never changes. */
const services = [
  { id: 1, uuid: '5b1d2f0e-7c61-4b52-9a55-0c8f6d1e7a01', binary: 'nova-conductor', zone: 'internal' },
  { id: 2, uuid: '5b1d2f0e-7c61-4b52-9a55-0c8f6d1e7a02', binary: 'nova-scheduler', zone: 'internal' },
  { id: 3, uuid: '5b1d2f0e-7c61-4b52-9a55-0c8f6d1e7a03', binary: 'nova-compute', zone: defaultZone },
] as const;
const [, , compute] = services;
const hypervisorId = { id: 1, uuid: '5b1d2f0e-7c61-4b52-9a55-0c8f6d1e7a10' };

export interface ComputeServiceView {
  readonly id: number;
  readonly uuid: string;
  readonly binary: string;
  readonly host: string;
  readonly zone: string;
  readonly disabled: boolean;
  readonly disabledReason: string | null;
  readonly forcedDown: boolean;
  readonly updatedAt: Timestamp;
}

/** What is left out stays as it is. A reason is for being disabled. */
export interface ComputeServiceChanges {
  readonly disabled?: boolean | undefined;
  readonly disabledReason?: string | null | undefined;
  readonly forcedDown?: boolean | undefined;
}

/** A number for older clients, an id for newer ones; or a host and what runs there. */
export type ServiceName = { readonly uuid: string } | { readonly id: number } | { readonly host: string; readonly binary: string };

/** What the machine is that servers run on. */
export interface MachineFacts {
  readonly hostName: string;
  readonly address: string;
  readonly vcpus: number;
  readonly ramMib: number;
  readonly architecture: string;
  readonly processor: string;
  /** 7.2.1 = 7002001. */
  readonly hypervisorVersion: number;
  /** As `uptime` prints it. */
  readonly uptime: string;
}

export interface Hypervisor {
  readonly id: number;
  readonly uuid: string;
  readonly service: ComputeServiceView;
  readonly facts: MachineFacts;
  readonly load: MachineLoad;
  readonly diskGib: number;
  readonly freeDiskGib: number;
}

export interface ComputeHosts {
  services(
    caller: Caller,
    query: { readonly host: string | undefined; readonly binary: string | undefined },
  ): Promise<ComputeServiceView[]>;
  /** 404 unless there is such a service; 400 unless it is the one that servers run on. */
  change(caller: Caller, name: ServiceName, changes: ComputeServiceChanges): Promise<ComputeServiceView>;
  /** Always refused: it is part of the process that answers. */
  remove(caller: Caller, name: ServiceName): Promise<never>;
  hypervisors(caller: Caller): Promise<Hypervisor[]>;
  /** By its number or its id. */
  hypervisor(caller: Caller, id: string): Promise<Hypervisor>;
  /** The services of both zones, the one for servers last. */
  zones(caller: Caller): Promise<ComputeServiceView[]>;
  /** Where servers are, and whether more can be put there. For everybody. */
  zone(db?: Kysely<Schema>): Promise<{ readonly name: string; readonly takesServers: boolean }>;
}

export interface ComputeHostsDeps {
  readonly database: Database;
  readonly capacity: () => Promise<Capacity>;
  readonly machine: () => Promise<MachineFacts>;
  readonly load: (db: Kysely<Schema>) => Promise<MachineLoad>;
  readonly clock?: Clock;
}

const noService = (name: string) => notFound(`Service ${name} could not be found.`);

export function createComputeHosts(deps: ComputeHostsDeps): ComputeHosts {
  const { database, clock = systemClock } = deps;

  const views = async (db: Kysely<Schema>): Promise<ComputeServiceView[]> => {
    const states = await readStates(db);
    const zone = await zoneOf(db, hostName);
    return services.map((service) => {
      const state = states.find(({ host, binary }) => host === hostName && binary === service.binary);
      const { disabled = false, disabledReason = null, forcedDown = false } = state ?? {};
      // They answer: so they are there now.
      const own = service.binary === compute.binary && zone !== undefined ? { zone } : {};
      return { ...service, ...own, host: hostName, disabled, disabledReason, forcedDown, updatedAt: clock.nowText() };
    });
  };
  const named = async (name: ServiceName): Promise<ComputeServiceView> => {
    const all = await views(database.sql);
    if ('host' in name) {
      const found = all.find(({ host, binary }) => host === name.host && binary === name.binary);
      if (found === undefined) throw notFound(`Could not find binary ${name.binary} on host ${name.host}.`);
      return found;
    }
    const found = all.find(({ id, uuid }) => ('uuid' in name ? uuid === name.uuid : id === name.id));
    if (found === undefined) throw noService(String('uuid' in name ? name.uuid : name.id));
    return found;
  };
  const hypervisors = async (): Promise<Hypervisor[]> => {
    const service = await named(compute);
    const [facts, load, capacity] = await Promise.all([deps.machine(), deps.load(database.sql), deps.capacity()]);
    const diskGib = Math.floor(capacity.totalBytes / gib);
    return [{ ...hypervisorId, service, facts, load, diskGib, freeDiskGib: Math.floor(capacity.freeBytes / gib) }];
  };

  return {
    async services(caller, query) {
      authorise(caller, 'service:list', { projectId: null });
      return (await views(database.sql)).filter(({ host, binary }) => (query.host ?? host) === host && (query.binary ?? binary) === binary);
    },
    async change(caller, name, changes) {
      authorise(caller, 'service:change', { projectId: null });
      const service = await named(name);
      if (service.binary !== compute.binary)
        throw badRequest(`Updating a ${service.binary} service is not supported. Only nova-compute services can be updated.`);
      const disabled = changes.disabled ?? service.disabled;
      const changed = {
        disabled,
        disabledReason: disabled ? (changes.disabledReason === undefined ? service.disabledReason : changes.disabledReason) : null,
        forcedDown: changes.forcedDown ?? service.forcedDown,
      };
      await writeState(database.sql, { host: service.host, binary: service.binary, ...changed });
      return { ...service, ...changed };
    },
    async remove(caller, name) {
      authorise(caller, 'service:change', { projectId: null });
      const { binary } = await named(name);
      throw conflict(`Service ${binary} is part of the running cloud and cannot be deleted.`);
    },
    async hypervisors(caller) {
      authorise(caller, 'hypervisor:list', { projectId: null });
      return await hypervisors();
    },
    async hypervisor(caller, asked) {
      authorise(caller, 'hypervisor:list', { projectId: null });
      const found = (await hypervisors()).find(({ id, uuid }) => asked === uuid || asked === String(id));
      if (found === undefined) throw notFound(`Compute host ${asked} could not be found.`);
      return found;
    },
    async zones(caller) {
      authorise(caller, 'service:list', { projectId: null });
      return await views(database.sql);
    },
    async zone(db = database.sql) {
      const service = (await views(db)).find(({ binary }) => binary === compute.binary);
      if (service === undefined) throw new Error(`there is no ${compute.binary}`);
      return { name: service.zone, takesServers: !service.disabled && !service.forcedDown };
    },
  };
}
