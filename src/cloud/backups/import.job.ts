/**
 * Importing the record of a backup: is what it speaks of really there?
 *
 *   verify    the repository is asked for the commit, which has to be live and hold what the record says
 *   publish   one transaction: the backup is available, with what its record says beside the bytes
 *
 * Nothing is written outside of the database, so there is nothing to undo. A record that is not true leaves a backup in error, which can only be
 * deleted; deleting it touches no commit, because its row never got one.
 */
import type { DataMover } from '../../engine/transfer/contract.ts';
import type { Database, Timestamp } from '../database/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import { failReasonOf } from './backup.ts';
import { explained, withNewMover } from './reasons.ts';
import { type RecordPlace, recordService } from './record.ts';
import type { Repositories } from './repositories.ts';
import { hasSiblings, lockBackup, move, removeBackup } from './store.ts';

export const importKind = 'backup.import';

export type ImportInput = {
  readonly backupId: string;
  readonly service: string;
  readonly sizeGib: number;
  readonly volumeId: string | null;
  readonly parentId: string | null;
  readonly snapshotId: string | null;
  readonly dataTimestamp: Timestamp | null;
  readonly place: RecordPlace | null;
};

export interface ImportJobDeps {
  readonly database: Database;
  readonly mover: Pick<DataMover, 'identify'>;
  readonly repositories: Repositories;
}

const gib = 2 ** 30;

export function importRecordSaga(deps: ImportJobDeps): SagaDefinition<ImportInput> {
  return {
    kind: importKind,
    steps: [
      { name: 'verify', run: (context) => verify(deps, context), undo: { notNeeded: 'It only reads.' } },
      { name: 'publish', run: (context) => publish(deps, context), undo: { notNeeded: 'It is one transaction, and the last step.' } },
    ],
    async settle({ input }, failure) {
      await deps.database.transact(async (tx) => {
        const backup = await lockBackup(tx.sql, input.backupId);
        if (backup === undefined || backup.session !== null) return;
        if (backup.status === 'deleting') await removeBackup(tx.sql, backup.id);
        else await move(tx.sql, backup.id, 'createFailed', { failReason: failReasonOf(failure.message) });
      });
    },
  };
}

async function verify({ mover, repositories }: ImportJobDeps, { input, signal }: StepContext<ImportInput>): Promise<undefined> {
  const { service, place, sizeGib } = input;
  if (service !== recordService || place === null) throw new Error('The record was made by another program.');
  if (!(await repositories.list()).some(({ id }) => id === place.repositoryId)) throw new Error('Its repository is not known here.');
  const repository = await repositories.addressOf(place.repositoryId);
  const found = await explained(signal, () => withNewMover(signal, () => mover.identify(repository, place.domain, place.session)));
  if (found.root !== place.root || found.sizeBytes > sizeGib * gib) throw new Error('The record does not fit what is in the repository.');
}

async function publish({ database }: ImportJobDeps, context: StepContext<ImportInput>): Promise<undefined> {
  const { backupId, place, volumeId, parentId, snapshotId, dataTimestamp } = context.input;
  if (place === null) throw new Error('The record was made by another program.');
  const { session, root, domain, repositoryId, volumeMeta } = place;
  await context.effect('rows', () =>
    database.transact(async (tx) => {
      const backup = await lockBackup(tx.sql, backupId);
      if (backup?.session === session) return;
      // Its tombstone may just be written.
      if (await hasSiblings(tx.sql, { id: backupId, session }, 'deleting')) throw new Error('The backup is being deleted.');
      const facts = { volumeId: volumeId ?? backupId, parentId, snapshotId, domain, repositoryId, dataTimestamp, volumeMeta };
      if (!(await move(tx.sql, backupId, 'published', { session, root, imported: facts, failReason: null }))) {
        throw new Error('the import was cancelled');
      }
    }),
  );
}
