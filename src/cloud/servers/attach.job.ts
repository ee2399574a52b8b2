/**
 * Attaching a volume: it was reserved, and given its device, by the request.
 *
 *   plug   the disk is served, and plugged into the machine if one runs
 *
 * Half-way: a repeat finds the disk plugged in. A failure unplugs what may be there, gives the volume back, and leaves the server as it was.
 *
 * Detaching:
 *
 *   unplug   the guest is asked to let go of it
 *   release  the server of the disk ends, and the volume is available
 *
 * Half-way: a repeat goes on where it was. A guest that does not let go keeps its disk: the volume is in use again, and the server's action says why.
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
}

type Context = StepContext<AttachInput>;

/** Guests that are starting answer late. */
const unplugMs = 60_000;

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
        undo: async (context) => {
          await running.alone(context.input.serverId, () => unplug(deps, context));
          await letGo(deps, context);
        },
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
        undo: { notNeeded: 'Settling says that the server keeps it.' },
      },
      {
        name: 'release',
        async run(context) {
          await letGo(deps, context);
          await finishAction(database.sql, context.input.serverId, context.input.requestId, null);
          return undefined;
        },
        undo: { notNeeded: 'It is repeated until it is done.' },
      },
    ],
    async settle({ input }, failure) {
      const { serverId, volumeId, requestId } = input;
      await keepDisk(database.sql, serverId, volumeId);
      await volumes.keep(volumeId);
      await finishAction(database.sql, serverId, requestId, failure.message);
    },
  };
}

async function unplug({ database, hypervisor, running }: AttachJobDeps, { input, effect }: Context): Promise<void> {
  const server: Server | undefined = await findServer(database.sql, input.serverId);
  const machine = server === undefined ? undefined : running.machineOf(server);
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
