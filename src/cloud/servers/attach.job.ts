/**
 * Attaching a volume: it was reserved, and given its device, by the request.
 *
 *   plug   the disk is served, and plugged into the machine if one runs
 *
 * Half-way: a repeat finds the disk plugged in. A failure unplugs what may be there, gives the volume back, and leaves the server as it was. Should the guest
 * not let go of it any more, it stays: the server has it after all, or, when it is being deleted, loses it with everything else.
 *
 * Detaching:
 *
 *   unplug   the guest is asked to let go of it
 *   release  the server of the disk ends, and the volume is available
 *
 * Half-way: a repeat goes on where it was. After a failure the machine tells how it stands: a guest that has not let go keeps its disk, the volume is in use
 * again, and the server's action says why; otherwise the rest is done.
 */
import { type Hypervisor, MachineError } from '../../engine/hypervisor/contract.ts';
import type { Database } from '../database/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { VolumesForServers } from '../volumes/service.ts';
import { finishAction } from './action-store.ts';
import type { Server } from './contract.ts';
import { deleteDisk, keepDisk } from './disk-store.ts';
import type { RunningServers } from './running.ts';
import { findServer } from './store.ts';

export const attachKind = 'server.attach';
export const detachKind = 'server.detach';

export type AttachInput = {
  readonly serverId: string;
  readonly volumeId: string;
  readonly attachmentId: string;
  readonly requestId: string;
};

export interface AttachJobDeps {
  readonly database: Database;
  readonly hypervisor: Hypervisor;
  readonly volumes: VolumesForServers;
  readonly running: RunningServers;
  /** How long a guest may take to let go of a disk. */
  readonly unplugMs: number;
}

type Context = StepContext<AttachInput>;

export function attachSaga(deps: AttachJobDeps): SagaDefinition<AttachInput> {
  const { database, running } = deps;
  return {
    kind: attachKind,
    steps: [
      {
        name: 'plug',
        async run({ input, effect }) {
          const { serverId, volumeId, requestId } = input;
          await running.alone(serverId, async () => {
            const server = await findServer(database.sql, serverId);
            const disk = server?.disks.find((one) => one.volumeId === volumeId);
            if (server === undefined || disk === undefined) throw new Error('the server, or its disk, was removed');
            await effect('plug', () => running.plug(server, disk));
          });
          await finishAction(database.sql, serverId, requestId, null);
          return undefined;
        },
        undo: (context) => running.alone(context.input.serverId, () => takeBack(deps, context)),
      },
    ],
    async settle({ input }, failure) {
      await finishAction(database.sql, input.serverId, input.requestId, failure.message);
    },
  };
}

export function detachSaga(deps: AttachJobDeps): SagaDefinition<AttachInput> {
  const { database, volumes, running } = deps;
  return {
    kind: detachKind,
    steps: [
      {
        name: 'unplug',
        async run(context) {
          await running.alone(context.input.serverId, () => unplug(deps, context));
          return undefined;
        },
        undo: { notNeeded: settledByMachine },
      },
      {
        name: 'release',
        async run(context) {
          await letGo(deps, context);
          await finishAction(database.sql, context.input.serverId, context.input.requestId, null);
          return undefined;
        },
        undo: { notNeeded: settledByMachine },
      },
    ],
    async settle(context, failure) {
      const { serverId, volumeId, requestId } = context.input;
      await running.alone(serverId, async () => {
        if (!(await hasDisk(deps, context))) return await letGo(deps, context);
        await keepDisk(database.sql, serverId, volumeId);
        await volumes.keep(volumeId);
      });
      await finishAction(database.sql, serverId, requestId, failure.message);
    },
  };
}

const settledByMachine = 'Settling asks the machine whether it has the disk.';

/** One that ends loses its disks. */
async function hasDisk({ database, hypervisor, running }: AttachJobDeps, { input }: Context): Promise<boolean> {
  const server = await findServer(database.sql, input.serverId);
  const machine = server === undefined ? undefined : await running.find(server);
  return machine !== undefined && (await hypervisor.inspect(machine)).diskIds.includes(input.volumeId);
}

async function takeBack(deps: AttachJobDeps, context: Context): Promise<void> {
  const { database, volumes } = deps;
  const { serverId, volumeId, attachmentId } = context.input;
  const server = await findServer(database.sql, serverId);
  if (server?.taskState === 'deleting') return;
  const disk = server?.disks.find((one) => one.volumeId === volumeId);
  try {
    await unplug(deps, context);
  } catch (error) {
    if (disk === undefined || !(error instanceof MachineError) || error.kind !== 'busy') throw error;
    return await volumes.complete(attachmentId, `/dev/${disk.device}`);
  }
  await letGo(deps, context);
}

async function unplug({ database, hypervisor, running, unplugMs }: AttachJobDeps, { input, effect }: Context): Promise<void> {
  const server: Server | undefined = await findServer(database.sql, input.serverId);
  const machine = server === undefined ? undefined : await running.find(server);
  if (machine === undefined) return;
  await effect('unplug', () => hypervisor.unplug(machine, input.volumeId, unplugMs)).catch((error: unknown) => {
    if (!(error instanceof MachineError) || error.kind !== 'gone') throw error;
  });
}

async function letGo({ database, volumes }: AttachJobDeps, { input, effect }: Context): Promise<void> {
  const { serverId, volumeId, attachmentId } = input;
  await effect('release', () => volumes.release(volumeId, attachmentId));
  await deleteDisk(database.sql, serverId, volumeId);
}
