/** The request to import the record of a backup: form, id and quota are checked here, the bytes by the saga that it starts. */
import { badRequest } from '../../lib/errors.ts';
import { isUniqueViolation, type Tx } from '../database/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import { type ImportInput, importKind } from './import.job.ts';
import { type BackupRecord, contentOf } from './record.ts';
import { databaseTime, findBackup, insertBackup } from './store.ts';

export interface ImportDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly placement: Pick<Placement, 'requireBackups'>;
  readonly availabilityZone: string;
}

const alreadyThere = () => badRequest('Invalid backup: Backup already exists in database.');

/** Of which volume an imported backup is, until its record has been believed. */
const noVolume = '00000000-0000-0000-0000-000000000000';

/** Returns the backup's id. */
export async function beginImport(
  deps: ImportDeps,
  tx: Tx,
  caller: Caller & { projectId: string },
  { service, url }: BackupRecord,
): Promise<string> {
  const content = contentOf(url);
  const { projectId, requestId } = caller;
  await deps.placement.requireBackups(tx.sql);
  await deps.quotas.reserve(tx, projectId, { backups: 1, backup_gigabytes: content.sizeGib });
  if ((await findBackup(tx.sql, content.id)) !== undefined) throw alreadyThere();
  const createdAt = await databaseTime(tx.sql);
  const { id, name, description, sizeGib, container, metadata, objectCount, place } = content;
  await insertBackup(tx.sql, {
    id,
    projectId,
    userId: caller.userId,
    volumeId: noVolume,
    snapshotId: null,
    parentId: null,
    name,
    description,
    sizeGib,
    container,
    availabilityZone: deps.availabilityZone,
    metadata,
    volumeMeta: place?.volumeMeta ?? { name: null, description: null, bootable: false, metadata: {}, imageMetadata: {} },
    dataTimestamp: content.dataTimestamp ?? createdAt,
    createdAt,
    repositoryId: null,
    objectCount,
  }).catch((error: unknown) => {
    // Somebody else imports it right now.
    throw isUniqueViolation(error) ? alreadyThere() : error;
  });
  const { volumeId, parentId, snapshotId, dataTimestamp } = content;
  const input: ImportInput = { backupId: id, service, sizeGib, volumeId, parentId, snapshotId, dataTimestamp, place: place ?? null };
  await deps.jobs.start(tx, { kind: importKind, subjectId: id, projectId, input, requestId });
  return id;
}
