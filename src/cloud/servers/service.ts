/** Servers: the use cases. What a machine does is a saga; how machines come and go is in `running.ts`. */
import type { Hypervisor } from '../../engine/hypervisor/contract.ts';
import type { MachineFiles } from '../../engine/hypervisor/machine-files.ts';
import { badRequest, conflict, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import { changedPairs, type PairsChange } from '../../lib/pairs.ts';
import type { Database, StringMap, Tx } from '../database/service.ts';
import type { DisksService, Quiescence } from '../disks/service.ts';
import type { FlavorChoice } from '../flavors/service.ts';
import type { MachineLoad } from '../hosts/contract.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise, canSee, projectOfList } from '../identity/policy.ts';
import type { ImagesForServers } from '../images/service.ts';
import type { Jobs } from '../jobs/service.ts';
import type { ComputeQuotas, MachineUsageSource } from '../quotas/contract.ts';
import type { SnapshotsForServers } from '../snapshots/service.ts';
import type { ServerSources, VolumesForServers } from '../volumes/service.ts';
import { beginOr, checkUnlocked, lockedServer, visibleServer } from './access.ts';
import { actionsOf, insertAction, type ServerAction } from './action-store.ts';
import { attachKind, attachSaga, detachSaga } from './attach.job.ts';
import { type Attachments, createAttachments } from './attachments.ts';
import type { CreateServerOrder, DiskConfig, Server, ServerListQuery } from './contract.ts';
import { type CreateJobDeps, createServerKind, createServerSaga } from './create.job.ts';
import { beginCreate, type CreateDeps, type CreatedServers, checkMetadata } from './create.ts';
import { deleteServerKind, deleteServerSaga } from './delete.job.ts';
import { hasDisk } from './disk-store.ts';
import { imageKind, imageSaga } from './image.job.ts';
import { createServerImages, type ServerImages } from './images.ts';
import { type PowerVerb, powerKind, powerSaga } from './power.job.ts';
import { createQuiescence } from './quiesce.ts';
import { createRunningServers } from './running.ts';
import type { TaskName, VmState } from './states.ts';
import { beginTask, findServer, listServers, loadOf, setVmState, updateServer, usageOf } from './store.ts';

export type { ServerAction } from './action-store.ts';
export type { BlockDeviceOrder, CreateServerOrder, Server, ServerDisk } from './contract.ts';
export type { CreatedServers } from './create.ts';

export interface ServerQuery extends Omit<ServerListQuery, 'projectId' | 'markerId'> {
  readonly allProjects: boolean;
  readonly marker: string | undefined;
}

export interface ServerUpdate {
  readonly name?: string;
  readonly description?: string | null;
  readonly hostname?: string;
  readonly accessIpV4?: string;
  readonly accessIpV6?: string;
  readonly diskConfig?: DiskConfig;
}

export interface ServersService extends Attachments, ServerImages {
  list(caller: Caller, query: ServerQuery): Promise<Server[]>;
  get(caller: Caller, id: string): Promise<Server>;
  create(caller: Caller, order: CreateServerOrder): Promise<CreatedServers>;
  update(caller: Caller, id: string, changes: ServerUpdate): Promise<Server>;
  /** Returns the metadata as it is afterwards. */
  changeMetadata(caller: Caller, id: string, change: PairsChange): Promise<StringMap>;
  changeTags(caller: Caller, id: string, change: (tags: readonly string[]) => readonly string[]): Promise<readonly string[]>;
  delete(caller: Caller, id: string): Promise<void>;
  start(caller: Caller, id: string): Promise<void>;
  stop(caller: Caller, id: string): Promise<void>;
  reboot(caller: Caller, id: string, how: 'SOFT' | 'HARD'): Promise<void>;
  pause(caller: Caller, id: string): Promise<void>;
  unpause(caller: Caller, id: string): Promise<void>;
  lock(caller: Caller, id: string, reason: string | null): Promise<void>;
  unlock(caller: Caller, id: string): Promise<void>;
  /** A password that the guest made up: there is none. */
  forgetPassword(caller: Caller, id: string): Promise<void>;
  resetState(caller: Caller, id: string, state: Extract<VmState, 'active' | 'error'>): Promise<void>;
  /** The end of what the guest said, `lines` of it if that is said. */
  consoleOutput(caller: Caller, id: string, lines: number | undefined): Promise<string>;
  /** The newest first; also of a server that is gone. */
  actions(caller: Caller, id: string): Promise<ServerAction[]>;
  readonly availabilityZone: string;
  /** The port that disks need. */
  readonly quiescence: Quiescence;
  /** At start: the machines that outlived the service. */
  adopt(): Promise<void>;
}

export interface ServersDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly flavors: FlavorChoice;
  readonly keypairs: CreateDeps['keypairs'];
  readonly quotas: Pick<ComputeQuotas, 'reserve'>;
  readonly images: ImagesForServers;
  readonly volumes: VolumesForServers;
  readonly disks: Pick<DisksService, 'freeze' | 'freezeTogether' | 'release'>;
  readonly snapshots: SnapshotsForServers;
  readonly hypervisor: Hypervisor;
  readonly makeConfigDrive: CreateJobDeps['makeConfigDrive'];
  readonly files: MachineFiles;
  readonly availabilityZone: string;
  readonly zone: CreateDeps['zone'];
  /** How long a guest may take to turn itself off, or to let go of a disk. Those that are just starting answer late. */
  readonly guestMs?: number;
  readonly log: Log;
}

const defaultGuestMs = 60_000;
const consoleBytesMax = 100 * 1024;

/** Also defines the sagas of servers, so it comes before `jobs.startWorking`. */
export function createServersService(deps: ServersDeps): ServersService {
  const { database, jobs, hypervisor, volumes, files, guestMs = defaultGuestMs } = deps;
  const running = createRunningServers(deps);
  const quiescence = createQuiescence({ ...deps, running });
  jobs.define(createServerSaga({ ...deps, running }));
  jobs.define(powerSaga({ database, hypervisor, running, shutDownMs: guestMs }));
  jobs.define(deleteServerSaga({ database, jobs, volumes, running, files }));
  jobs.define(imageSaga({ ...deps, running }));
  jobs.define(attachSaga({ database, hypervisor, volumes, running, unplugMs: guestMs }));
  jobs.define(detachSaga({ database, hypervisor, volumes, running, unplugMs: guestMs }));

  /** `asked`: as the request calls it; `action`: as lists of what was asked call it. */
  async function begin(
    caller: Caller,
    id: string,
    order: { task: TaskName; verb: PowerVerb; asked: string; action: string },
  ): Promise<void> {
    await database.transact(async (tx) => {
      const server = await lockedServer(tx, caller, id, 'machine:control');
      checkUnlocked(caller, server);
      await beginOr(tx, server, order.task, order.asked);
      const { requestId, userId } = caller;
      const { projectId } = server;
      await insertAction(tx.sql, { requestId, serverId: id, action: order.action, userId, projectId });
      const input = { serverId: id, verb: order.verb, machineId: newId(), requestId };
      await jobs.start(tx, { kind: powerKind, subjectId: id, projectId, input, requestId });
    });
  }

  async function change(caller: Caller, id: string, work: (tx: Tx, server: Server) => Promise<void>): Promise<Server> {
    return await database.transact(async (tx) => {
      const server = await lockedServer(tx, caller, id, 'machine:update');
      await work(tx, server);
      return (await findServer(tx.sql, id)) as Server;
    });
  }

  return {
    ...createAttachments(deps),
    ...createServerImages(deps),
    async list(caller, query) {
      authorise(caller, 'machine:list', { projectId: caller.projectId });
      if (query.allProjects) authorise(caller, 'machine:list_all', { projectId: null });
      if (query.marker !== undefined) {
        const marker = isUuid(query.marker) ? await findServer(database.sql, query.marker) : undefined;
        if (marker === undefined || !canSee(caller, marker)) throw badRequest(`marker [${query.marker}] not found`);
      }
      const projectId = projectOfList(caller, query.allProjects);
      return query.limit === 0 ? [] : await listServers(database.sql, { ...query, projectId, markerId: query.marker });
    },
    get: (caller, id) => visibleServer(database, caller, id, 'machine:get'),
    create: (caller, order) => {
      checkMetadata(order.metadata);
      return database.transact((tx) => beginCreate(deps, tx, caller, order));
    },
    update: (caller, id, changes) => change(caller, id, (tx) => updateServer(tx.sql, id, changes)),
    async changeMetadata(caller, id, asked) {
      const { metadata } = await change(caller, id, async (tx, server) => {
        checkUnlocked(caller, server);
        const changed = changedPairs(server.metadata, asked);
        checkMetadata(changed);
        await updateServer(tx.sql, id, { metadata: changed });
      });
      return metadata;
    },
    async changeTags(caller, id, asked) {
      const { tags } = await change(caller, id, (tx, server) => updateServer(tx.sql, id, { tags: asked(server.tags) }));
      return tags;
    },
    async delete(caller, id) {
      await database.transact(async (tx) => {
        const server = await lockedServer(tx, caller, id, 'machine:delete');
        checkUnlocked(caller, server);
        if (server.taskState === 'deleting') return;
        await beginTask(tx.sql, id, 'delete');
        for (const kind of [createServerKind, powerKind, attachKind, imageKind]) await jobs.requestCancel(tx, id, kind);
        const { requestId, userId } = caller;
        const { projectId } = server;
        await insertAction(tx.sql, { requestId, serverId: id, action: 'delete', userId, projectId });
        await jobs.start(tx, { kind: deleteServerKind, subjectId: id, projectId, input: { serverId: id, requestId }, requestId });
      });
    },
    start: (caller, id) => begin(caller, id, { task: 'start', verb: 'start', asked: 'start', action: 'start' }),
    stop: (caller, id) => begin(caller, id, { task: 'stop', verb: 'stop', asked: 'stop', action: 'stop' }),
    reboot: (caller, id, how) => {
      const task = how === 'SOFT' ? 'reboot' : 'reboot_hard';
      return begin(caller, id, { task, verb: task, asked: 'reboot', action: 'reboot' });
    },
    pause: (caller, id) => begin(caller, id, { task: 'pause', verb: 'pause', asked: 'pause', action: 'pause' }),
    unpause: (caller, id) => begin(caller, id, { task: 'unpause', verb: 'unpause', asked: 'unpause', action: 'unpause' }),
    async lock(caller, id, reason) {
      await database.transact(async (tx) => {
        await lockedServer(tx, caller, id, 'machine:control');
        await updateServer(tx.sql, id, { lock: { reason } });
      });
    },
    async unlock(caller, id) {
      await database.transact(async (tx) => {
        await lockedServer(tx, caller, id, 'machine:control');
        await updateServer(tx.sql, id, { lock: null });
      });
    },
    async forgetPassword(caller, id) {
      await visibleServer(database, caller, id, 'machine:update');
    },
    async resetState(caller, id, state) {
      await database.transact(async (tx) => {
        await lockedServer(tx, caller, id, 'machine:reset_state');
        await setVmState(tx.sql, id, state);
      });
    },
    async consoleOutput(caller, id, lines) {
      const server = await visibleServer(database, caller, id, 'machine:control');
      if (server.vmState === 'building') throw conflict(`Instance ${id} is not ready`);
      const text = await hypervisor.readConsole(files.consolePath(id), consoleBytesMax);
      if (lines === undefined) return text;
      return lines === 0 ? '' : text.split('\n').slice(-lines).join('\n');
    },
    async actions(caller, id) {
      const done = isUuid(id) ? await actionsOf(database.sql, id) : [];
      const visible = done.filter((action) => canSee(caller, action));
      if (visible.length === 0) throw notFound(`Instance ${id} could not be found.`);
      return visible;
    },
    availabilityZone: deps.availabilityZone,
    async adopt() {
      quiescence.thawLeftovers(await running.adopt());
    },
    quiescence,
  };
}

/** What all machines that run take of this host. */
export const machineLoad = (db: Tx['sql'] | Database['sql']): Promise<MachineLoad> => loadOf(db);

/** What volumes ask of servers. */
export const serverSources = (database: Database): ServerSources => ({ hasDisk: (id) => hasDisk(database.sql, id) });

/** What quotas ask of servers. */
export const machineUsage: MachineUsageSource = { usageOf };
