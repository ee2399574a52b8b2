/**
 * The services of the deployment as operators see and stop them, and the backend that volumes are put on. A service that is disabled takes
 * no new work of its kind: volumes end in error, backups too. What an operator said stays said over a restart.
 */
import type { Kysely } from 'kysely';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { badRequest, notFound, unavailable } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database, Schema } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import {
  backendHost,
  backendName,
  type Capabilities,
  type Capacity,
  type ExtraSpecs,
  type HostShare,
  hostName,
  type Pool,
  poolHost,
  type ServiceBinary,
  type ServiceQuery,
  type ServiceView,
  serviceBinaries,
} from './contract.ts';
import { satisfies } from './extra-specs.ts';
import { levelsOf, setLevel } from './log-levels.ts';
import { isDisabled, provisionedGib, readShares, readStates, type ServiceState, writeState } from './store.ts';

export type { Capabilities, Capacity, HostShare, Pool, ServiceView } from './contract.ts';

type Queries = Kysely<Schema>;

export interface LogQuery extends ServiceQuery {
  readonly prefix: string;
}

export interface LogLevels {
  readonly binary: string;
  readonly host: string;
  readonly levels: Readonly<Record<string, string>>;
}

/** What the work itself asks before it begins. */
export interface Placement {
  /** There is an enabled backend that has what a type asks for. */
  takesVolume(db: Queries, specs: ExtraSpecs): Promise<boolean>;
  takesBackups(db: Queries): Promise<boolean>;
  /** 503 when no backup service takes work. */
  requireBackups(db: Queries): Promise<void>;
}

export interface HostsService {
  list(caller: Caller, query: ServiceQuery): Promise<ServiceView[]>;
  /** 404 unless there is such a service on exactly this host. */
  enable(caller: Caller, host: string, binary: string): Promise<ServiceView>;
  disable(caller: Caller, host: string, binary: string, reason: string | null): Promise<ServiceView>;
  /** 400 unless it is the host of the volume service. */
  setFrozen(caller: Caller, host: string, frozen: boolean): Promise<void>;
  /** Always refused: no backend here has a copy elsewhere. */
  failOver(caller: Caller, host: string): Promise<never>;
  /** Whether the zone takes new volumes. */
  isZoneAvailable(): Promise<boolean>;
  /** With `specs`: those that have what a type asks for. */
  pools(caller: Caller, specs?: ExtraSpecs): Promise<Pool[]>;
  capabilities(caller: Caller, host: string): Promise<Capabilities>;
  /** Of a host that carries volumes: all together first, then by project. 404 otherwise. */
  shares(caller: Caller, host: string): Promise<HostShare[]>;
  /** How much each of the services says. */
  logLevels(caller: Caller, query: LogQuery): Promise<LogLevels[]>;
  setLogLevel(caller: Caller, query: LogQuery, level: string): Promise<void>;
  readonly placement: Placement;
}

export interface HostsDeps {
  readonly database: Database;
  readonly capacity: () => Promise<Capacity>;
  readonly version: string;
  readonly log: Pick<Log, 'level'>;
  readonly clock?: Clock;
}

const gib = 2 ** 30;
const hosts: Readonly<Record<ServiceBinary, string>> = {
  'cinder-scheduler': hostName,
  'cinder-volume': backendHost,
  'cinder-backup': hostName,
};

export function createHosts(deps: HostsDeps): HostsService {
  const { database } = deps;
  const clock = deps.clock ?? systemClock;
  const viewOf = (binary: ServiceBinary, states: readonly ServiceState[]): ServiceView => {
    const state = states.find((known) => known.binary === binary && known.host === hosts[binary]);
    const { disabled = false, disabledReason = null, frozen = false } = state ?? {};
    // They answer: so they are there now.
    return { binary, host: hosts[binary], disabled, disabledReason, frozen, updatedAt: clock.nowText() };
  };
  const set = async (
    caller: Caller,
    host: string,
    asked: string,
    disabled: boolean,
    disabledReason: string | null,
  ): Promise<ServiceView> => {
    authorise(caller, 'service:change', { projectId: null });
    const binary = serviceBinaries.find((known) => known === asked);
    if (binary === undefined || hosts[binary] !== host) throw notFound(`Service ${asked} could not be found on host ${host}.`);
    await writeState(database.sql, { host, binary, disabled, disabledReason });
    return viewOf(binary, await readStates(database.sql));
  };
  const capabilitiesNow = async (db: Queries): Promise<Capabilities> => ({
    ...fixedCapabilities(deps.version),
    ...capacityOf(await deps.capacity(), await provisionedGib(db)),
  });

  return {
    async list(caller, query) {
      authorise(caller, 'service:list', { projectId: null });
      const states = await readStates(database.sql);
      return serviceBinaries
        .map((binary) => viewOf(binary, states))
        .filter(({ binary, host }) => (query.binary === undefined || binary === query.binary) && isOn(host, query.host));
    },
    enable: (caller, host, binary) => set(caller, host, binary, false, null),
    disable: (caller, host, binary, reason) => set(caller, host, binary, true, reason),
    async setFrozen(caller, host, frozen) {
      requireBackend(caller, host);
      const reason = frozen ? 'frozen' : null;
      await writeState(database.sql, { host: backendHost, binary: 'cinder-volume', disabled: frozen, disabledReason: reason, frozen });
    },
    async failOver(caller, host) {
      requireBackend(caller, host);
      throw badRequest('Invalid input received: Replication status must be enabled or failed-over, but it is disabled.');
    },
    isZoneAvailable: async () => !(await isDisabled(database.sql, backendHost, 'cinder-volume')),
    async pools(caller, specs = {}) {
      authorise(caller, 'pool:list', { projectId: null });
      const capabilities = await capabilitiesNow(database.sql);
      return satisfies(capabilities, specs) ? [{ name: poolHost, capabilities, timestamp: clock.nowText() }] : [];
    },
    async capabilities(caller, host) {
      authorise(caller, 'capabilities:get', { projectId: null });
      if (!isOn(poolHost, host) && host !== poolHost) throw notFound(`Service cinder-volume could not be found on host ${host}.`);
      return fixedCapabilities(deps.version);
    },
    async shares(caller, host) {
      authorise(caller, 'host:list', { projectId: null });
      if (host !== backendHost) throw notFound(`Host ${host} could not be found.`);
      const byProject = await readShares(database.sql);
      return [totalOf(byProject), ...byProject];
    },
    async logLevels(caller, { binary, host, prefix }) {
      authorise(caller, 'service:list', { projectId: null });
      return serviceBinaries
        .map((name) => ({ binary: name, host: hosts[name], levels: levelsOf(deps.log, prefix) }))
        .filter((item) => (binary === undefined || item.binary === binary) && isOn(item.host, host));
    },
    async setLogLevel(caller, { binary, host, prefix }, level) {
      authorise(caller, 'service:change', { projectId: null });
      const meant = serviceBinaries.some((name) => (binary === undefined || name === binary) && isOn(hosts[name], host));
      if (meant) setLevel(deps.log, prefix, level);
    },
    placement: {
      async takesVolume(db, specs) {
        if (await isDisabled(db, backendHost, 'cinder-volume')) return false;
        return Object.keys(specs).length === 0 || satisfies(await capabilitiesNow(db), specs);
      },
      takesBackups: async (db) => !(await isDisabled(db, hostName, 'cinder-backup')),
      async requireBackups(db) {
        if (await isDisabled(db, hostName, 'cinder-backup')) throw unavailable('Service cinder-backup could not be found.');
      },
    },
  };
}

/** A host without a backend stands for all that it has. */
function isOn(host: string, asked: string | undefined): boolean {
  return asked === undefined || host === asked || host.startsWith(`${asked}@`) || host.startsWith(`${asked}#`);
}

function requireBackend(caller: Caller, host: string): void {
  authorise(caller, 'service:change', { projectId: null });
  if (host !== backendHost) throw badRequest(`Invalid input received: Service cinder-volume could not be found on host ${host}.`);
}

const fixedCapabilities = (version: string): Capabilities => ({
  volume_backend_name: backendName,
  vendor_name: 'Stillpoint',
  driver_version: version,
  storage_protocol: 'NBD',
  QoS_support: false,
  thin_provisioning_support: true,
  thick_provisioning_support: false,
  multiattach: false,
  replication_enabled: false,
  online_extend_support: false,
  location_info: poolHost,
});

const capacityOf = ({ totalBytes, freeBytes }: Capacity, provisioned: number): Capabilities => ({
  total_capacity_gb: hundredths(totalBytes / gib),
  free_capacity_gb: hundredths(freeBytes / gib),
  allocated_capacity_gb: provisioned,
  provisioned_capacity_gb: provisioned,
  reserved_percentage: 0,
});

const hundredths = (value: number): number => Math.round(value * 100) / 100;

function totalOf(shares: readonly HostShare[]): HostShare {
  const sum = (field: 'volumeCount' | 'volumeGib' | 'snapshotCount' | 'snapshotGib'): number =>
    shares.reduce((total, share) => total + share[field], 0);
  return {
    projectId: null,
    volumeCount: sum('volumeCount'),
    volumeGib: sum('volumeGib'),
    snapshotCount: sum('snapshotCount'),
    snapshotGib: sum('snapshotGib'),
  };
}
