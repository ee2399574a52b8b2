/** The requests that end a volume. */
import { badRequest } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import { lockedVolume } from './access.ts';
import type { Volume } from './contract.ts';
import { type DeleteInput, deleteKind } from './delete.job.ts';
import type { SnapshotSources } from './sources.ts';
import { can } from './states.ts';
import { move, setStatus } from './store.ts';

export interface DeleteDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'start' | 'requestCancel'>;
  readonly snapshots: SnapshotSources;
}

const refusal = () =>
  badRequest(
    'Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer.',
  );

/** `force` drops the condition on the status; it is for administrators. */
export async function beginDelete(
  deps: DeleteDeps,
  caller: Caller,
  id: string,
  { cascade, force }: { cascade: boolean; force: boolean },
): Promise<void> {
  await deps.database.transact(async (tx) => {
    const volume = await lockedVolume(tx, caller, id, 'volume:delete');
    if (force) authorise(caller, 'volume:force_delete', volume);
    if (volume.attachments.length > 0 || volume.groupId !== null || !(force || can.begin(volume, 'deleteBegun'))) throw refusal();
    if (cascade) {
      if (!(await deps.snapshots.beginDeleteAll(tx, caller, id))) throw refusal();
    } else if ((await deps.snapshots.countOf(tx, id)) > 0) {
      throw refusal();
    }
    if (force) await setStatus(tx.sql, id, 'deleting');
    else await move(tx.sql, id, 'deleteBegun');
    await startDelete(deps, tx, volume, cascade);
  });
}

/** `os-force_delete`: any status, attachments too; only snapshots and a group stand in the way. */
export async function beginForceDelete(deps: DeleteDeps, caller: Caller, id: string): Promise<void> {
  await deps.database.transact(async (tx) => {
    const volume = await lockedVolume(tx, caller, id, 'volume:force_delete');
    if (volume.groupId !== null || (await deps.snapshots.countOf(tx, id)) > 0) throw refusal();
    await setStatus(tx.sql, id, 'deleting');
    await startDelete(deps, tx, volume, false);
  });
}

/** Whatever else still works on the volume is told to stop; its last words no longer find the status that they start from. */
async function startDelete(deps: DeleteDeps, tx: Tx, volume: Volume, cascade: boolean): Promise<void> {
  await deps.jobs.requestCancel(tx, volume.id);
  const input: DeleteInput = { volumeId: volume.id, cascade };
  await deps.jobs.start(tx, { kind: deleteKind, subjectId: volume.id, projectId: volume.projectId, input });
}
