/**
 * Deleting a server, whatever it is doing.
 *
 *   wait      what else was under way for the server was told to stop, and ends first
 *   machine   it ends at once, and so do the servers of its disks
 *   disks     all are let go; the server's own go away, and those that were said to go with it
 *   rows      the server's row goes, its files with it
 *
 * Half-way: every step finds nothing to do where an interrupted attempt did it. A failure leaves the server in error, and it may be deleted again.
 */
import type { MachineFiles } from '../../engine/hypervisor/machine-files.ts';
import type { Database } from '../database/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { Jobs } from '../jobs/service.ts';
import type { VolumesForServers } from '../volumes/service.ts';
import { finishAction } from './action-store.ts';
import type { RunningServers } from './running.ts';
import { deleteServer, endTask, findServer } from './store.ts';

export const deleteServerKind = 'server.delete';

export type DeleteServerInput = { readonly serverId: string; readonly requestId: string };

export interface DeleteJobDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'find' | 'settled'>;
  readonly volumes: VolumesForServers;
  readonly running: RunningServers;
  readonly files: MachineFiles;
}

type Context = StepContext<DeleteServerInput>;

export function deleteServerSaga(deps: DeleteJobDeps): SagaDefinition<DeleteServerInput> {
  const { database, jobs, volumes, running, files } = deps;
  const notNeeded = 'What is gone cannot come back; what is left is removed by the next attempt.';

  async function wait({ sagaId, input, signal }: Context): Promise<undefined> {
    const others = (await jobs.find(input.serverId)).filter(({ id }) => id !== sagaId);
    for (const { id } of others) await jobs.settled(id, { signal });
  }

  async function endMachine({ input, effect }: Context): Promise<undefined> {
    await running.alone(input.serverId, () => effect('end', () => running.end(input.serverId)));
  }

  async function dropDisks({ input, effect }: Context): Promise<undefined> {
    const { serverId } = input;
    const server = await findServer(database.sql, serverId);
    for (const { volumeId, attachmentId, isLocal, deleteOnTermination } of server?.disks ?? []) {
      await effect('release', () => volumes.release(volumeId, attachmentId));
      // With the volume goes the row that names it here, so that a repeat still finds what is left.
      if (isLocal || deleteOnTermination) await effect('remove', () => volumes.remove({ volumeId, pointId: null }));
    }
  }

  async function removeRows({ input, effect }: Context): Promise<undefined> {
    const { serverId, requestId } = input;
    await effect('files', () => files.remove(serverId));
    await finishAction(database.sql, serverId, requestId, null);
    await effect('rows', () => deleteServer(database.sql, serverId));
  }

  return {
    kind: deleteServerKind,
    // They wait for others, which must find room to run.
    concurrency: 8,
    steps: [
      { name: 'wait', run: wait, undo: { notNeeded: 'It only waits.' } },
      { name: 'machine', run: endMachine, undo: { notNeeded } },
      { name: 'disks', run: dropDisks, undo: { notNeeded } },
      { name: 'rows', run: removeRows, undo: { notNeeded } },
    ],
    async settle({ input }, failure) {
      const fault = { code: 500, message: `The server could not be deleted: ${failure.message}` };
      await endTask(database.sql, input.serverId, ['deleting'], { vmState: 'error', fault });
      await finishAction(database.sql, input.serverId, input.requestId, fault.message);
    },
  };
}
