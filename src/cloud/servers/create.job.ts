/**
 * Creating a server.
 *
 *   disks    those that were promised are made on their points and reserved for the server; no bytes are copied
 *   files    the config drive, and copies of a kernel and its ramdisk where the image brings some
 *   machine  the disks are served, and the machine starts
 *   finish   one statement: the server is active
 *
 * Half-way: every id was chosen in the request, and each step finds what an interrupted attempt made. Disks come first: the request has promised them
 * already, and whatever fails takes that back. A failure ends the machine, lets go of the disks, removes those that were made for the server, and leaves it
 * in error with the reason, for its owner to see and delete.
 */
import type { ConfigDriveContent } from '../../engine/hypervisor/config-drive-content.ts';
import type { MachineFiles } from '../../engine/hypervisor/machine-files.ts';
import type { Database } from '../database/service.ts';
import type { ImagesForServers } from '../images/service.ts';
import type { SagaDefinition, SagaFailure, StepContext } from '../jobs/saga.ts';
import type { PlannedDisk, VolumesForServers } from '../volumes/service.ts';
import { finishAction } from './action-store.ts';
import { deleteDisk } from './disk-store.ts';
import type { RunningServers } from './running.ts';
import { powerStates } from './states.ts';
import { endTask, failTask, findServer } from './store.ts';

export const createServerKind = 'server.create';

export type NewDisk = {
  /** Null: the volume is there already. */
  readonly planned: PlannedDisk | null;
  readonly volumeId: string;
  readonly attachmentId: string;
};

export type CreateServerInput = {
  readonly serverId: string;
  readonly machineId: string;
  readonly requestId: string;
  readonly kernel: { readonly kernelId: string; readonly ramdiskId: string | null } | null;
  readonly disks: readonly NewDisk[];
};

export interface CreateJobDeps {
  readonly database: Database;
  readonly images: Pick<ImagesForServers, 'copyTo'>;
  readonly volumes: VolumesForServers;
  readonly running: RunningServers;
  readonly files: MachineFiles;
  /** Durably, in place of one that is there. */
  readonly makeConfigDrive: (path: string, content: ConfigDriveContent) => Promise<void>;
}

type Context = StepContext<CreateServerInput>;

const own = ['scheduling'] as const;

export function createServerSaga(deps: CreateJobDeps): SagaDefinition<CreateServerInput> {
  const { database, images, volumes, running, files, makeConfigDrive } = deps;

  async function writeFiles({ input, effect }: Context): Promise<undefined> {
    const { serverId, kernel } = input;
    const server = await findServer(database.sql, serverId);
    if (server === undefined) throw new Error('the server was deleted');
    const paths = await files.prepare(serverId);
    if (kernel !== null) {
      await effect('kernel', () => images.copyTo(kernel.kernelId, paths.kernelPath));
      const { ramdiskId } = kernel;
      if (ramdiskId !== null) await effect('ramdisk', () => images.copyTo(ramdiskId, paths.initrdPath));
    }
    await effect('config-drive', () =>
      makeConfigDrive(paths.configDrivePath, {
        uuid: serverId,
        name: server.name,
        hostname: server.hostname,
        projectId: server.projectId,
        keys: server.keyName === null || server.publicKey === null ? {} : { [server.keyName]: server.publicKey },
        metadata: server.metadata,
        userData: server.userData === null ? undefined : Buffer.from(server.userData, 'base64'),
        availabilityZone: server.availabilityZone,
        launchIndex: server.launchIndex,
      }),
    );
  }

  async function makeDisks({ input, effect }: Context): Promise<undefined> {
    for (const { planned, attachmentId } of input.disks) {
      if (planned !== null) await effect('disk', () => volumes.make(planned, { id: attachmentId, serverId: input.serverId }));
    }
  }

  /** Of those that were not made for the server, only the promise is taken back. */
  async function dropDisks({ input, effect }: Context): Promise<void> {
    for (const { planned, volumeId, attachmentId } of input.disks) {
      await effect('release', () => volumes.release(volumeId, attachmentId));
      // With a volume that goes, so does the row that names it here.
      if (planned === null) await deleteDisk(database.sql, input.serverId, volumeId);
      else await effect('remove', () => volumes.remove(planned));
    }
  }

  async function finish({ input }: Context): Promise<undefined> {
    const { serverId } = input;
    await endTask(database.sql, serverId, own, { vmState: 'active', powerState: powerStates.running, isLaunched: true, fault: null });
    await finishAction(database.sql, serverId, input.requestId, null);
    // It may have ended meanwhile, and nobody was told while the task was under way.
    await running.follow(serverId);
  }

  async function settle({ input }: Context, failure: SagaFailure): Promise<void> {
    const { serverId } = input;
    const fault = {
      code: 500,
      message: failure.isRefusal === true ? failure.message : `The server could not be started: ${failure.message}`,
    };
    await failTask(database.sql, serverId, own, { vmState: 'error', powerState: powerStates.none, fault });
    await finishAction(database.sql, serverId, input.requestId, failure.message);
  }

  return {
    kind: createServerKind,
    concurrency: 8,
    steps: [
      { name: 'disks', run: makeDisks, undo: dropDisks },
      { name: 'files', run: writeFiles, undo: ({ input, effect }) => effect('files', () => files.remove(input.serverId)) },
      {
        name: 'machine',
        async run({ input, effect }) {
          const { serverId, machineId } = input;
          await running.alone(serverId, () => effect('start', () => running.start(serverId, machineId)));
          return undefined;
        },
        undo: ({ input, effect }) => running.alone(input.serverId, () => effect('end', () => running.end(input.serverId))),
      },
      { name: 'finish', run: finish, undo: { notNeeded: 'It is one statement, and the last step.' } },
    ],
    settle,
  };
}
