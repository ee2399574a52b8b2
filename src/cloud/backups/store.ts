/** The only SQL on `backups`. Every change of a status is a compare-and-set on the states that `states.ts` allows. */
import { type Kysely, sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import { json, type Schema, type StringMap, type Timestamp } from '../database/service.ts';
import type { Backup, VolumeMeta } from './backup.ts';
import { type BackupColumn, listColumns } from './list-query.ts';
import { type TransitionName, transitions } from './states.ts';

/** A transaction's queries, or the pool's. */
type Queries = Kysely<Schema>;

export interface NewBackup {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly volumeId: string;
  readonly snapshotId: string | null;
  readonly parentId: string | null;
  readonly name: string | null;
  readonly description: string | null;
  readonly sizeGib: number;
  readonly container: string | null;
  readonly availabilityZone: string | null;
  readonly metadata: StringMap;
  readonly volumeMeta: VolumeMeta;
  readonly dataTimestamp: Timestamp;
  readonly createdAt: Timestamp;
  /** Null until it is known: of an imported record. */
  readonly repositoryId: string | null;
  readonly objectCount?: number;
}

/** What may change together with the status. `undefined` = stays. */
export interface BackupChanges {
  readonly failReason?: string | null;
  readonly objectCount?: number;
  /** Only where the user named none. */
  readonly container?: string;
  readonly session?: string | null;
  readonly root?: string | null;
  readonly pointId?: string | null;
  readonly restoreVolumeId?: string | null;
  /** One more that it is being restored to; an empty list: to none any more. */
  readonly restoringTo?: string | readonly [];
  /** What only the record of an imported backup says. */
  readonly imported?: ImportedFacts;
}

export interface ImportedFacts {
  readonly volumeId: string;
  readonly parentId: string | null;
  readonly snapshotId: string | null;
  readonly domain: string;
  readonly repositoryId: string;
  readonly dataTimestamp: Timestamp | null;
  readonly volumeMeta: VolumeMeta;
}

const selectRows = (db: Queries) =>
  db
    .selectFrom('backups')
    .selectAll()
    .select((eb) =>
      eb
        .selectFrom('backups as child')
        .whereRef('child.parent_id', '=', 'backups.id')
        .select((count) => count.fn.countAll<number>().as('count'))
        .as('dependent_count'),
    );

type Row = Awaited<ReturnType<ReturnType<typeof selectRows>['execute']>>[number];

function backupOf(row: Row): Backup {
  return {
    id: row.id,
    projectId: row.project_id,
    userId: row.user_id,
    volumeId: row.volume_id,
    snapshotId: row.snapshot_id,
    parentId: row.parent_id,
    name: row.name,
    description: row.description,
    // Only this file writes the column, and only from the table of states.
    status: row.status as Backup['status'],
    failReason: row.fail_reason,
    sizeGib: row.size_gib,
    objectCount: row.object_count,
    container: row.container,
    availabilityZone: row.availability_zone,
    metadata: row.metadata,
    // Written by `insertBackup` only, from a VolumeMeta.
    volumeMeta: row.volume_meta as unknown as VolumeMeta,
    restoreVolumeId: row.restore_volume_id,
    restoreVolumeIds: row.restore_volume_ids,
    domain: row.domain ?? row.project_id,
    dataTimestamp: row.data_timestamp,
    repositoryId: row.repository_id,
    session: row.session,
    root: row.root,
    pointId: row.point_id,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    dependentCount: row.dependent_count ?? 0,
  };
}

export async function insertBackup(db: Queries, backup: NewBackup): Promise<void> {
  await db
    .insertInto('backups')
    .values({
      id: backup.id,
      project_id: backup.projectId,
      user_id: backup.userId,
      volume_id: backup.volumeId,
      snapshot_id: backup.snapshotId,
      parent_id: backup.parentId,
      name: backup.name,
      description: backup.description,
      status: 'creating',
      size_gib: backup.sizeGib,
      container: backup.container,
      availability_zone: backup.availabilityZone,
      metadata: json(backup.metadata),
      volume_meta: json(backup.volumeMeta),
      data_timestamp: backup.dataTimestamp,
      created_at: backup.createdAt,
      repository_id: backup.repositoryId,
      ...(backup.objectCount === undefined ? {} : { object_count: backup.objectCount }),
    })
    .execute();
}

export async function findBackup(db: Queries, id: string): Promise<Backup | undefined> {
  const row = await selectRows(db).where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : backupOf(row);
}

/** The row, locked until the transaction ends: what is decided on it stays true. */
export async function lockBackup(db: Queries, id: string): Promise<Backup | undefined> {
  const locked = await db.selectFrom('backups').select('id').where('id', '=', id).forUpdate().executeTakeFirst();
  return locked === undefined ? undefined : findBackup(db, id);
}

/** True when the backup was in one of the states that the transition starts from. */
export async function move(db: Queries, id: string, name: TransitionName, changes: BackupChanges = {}): Promise<boolean> {
  const { from, to } = transitions[name];
  const result = await db
    .updateTable('backups')
    .set({
      status: to,
      updated_at: sql<Timestamp>`clock_timestamp()`,
      ...(changes.failReason === undefined ? {} : { fail_reason: changes.failReason }),
      ...(changes.objectCount === undefined ? {} : { object_count: changes.objectCount }),
      ...(changes.container === undefined ? {} : { container: sql<string>`coalesce(container, ${changes.container})` }),
      ...(changes.session === undefined ? {} : { session: changes.session }),
      ...(changes.root === undefined ? {} : { root: changes.root }),
      ...(changes.pointId === undefined ? {} : { point_id: changes.pointId }),
      ...(changes.restoreVolumeId === undefined ? {} : { restore_volume_id: changes.restoreVolumeId }),
      ...restoringColumn(changes.restoringTo),
      ...importedColumns(changes.imported),
    })
    .where('id', '=', id)
    .where('status', 'in', [...from])
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

const restoringColumn = (to: BackupChanges['restoringTo']) => {
  if (to === undefined) return {};
  return {
    restore_volume_ids: typeof to === 'string' ? sql<string[]>`array_append(restore_volume_ids, ${to}::uuid)` : sql<string[]>`'{}'`,
  };
};

/** A parent that is not here is no parent here: what is restored does not depend on it. */
const importedColumns = (facts: ImportedFacts | undefined) =>
  facts === undefined
    ? {}
    : {
        volume_id: facts.volumeId,
        parent_id: sql<
          string | null
        >`(SELECT parent.id FROM backups AS parent WHERE parent.id = ${facts.parentId} AND parent.id <> backups.id)`,
        snapshot_id: facts.snapshotId,
        domain: facts.domain,
        repository_id: facts.repositoryId,
        volume_meta: json(facts.volumeMeta),
        ...(facts.dataTimestamp === null ? {} : { data_timestamp: facts.dataTimestamp }),
      };

/** Takes a volume off the list of those that the backup is being restored to. Returns how many are left. Repeatable. */
export async function endRestoreTo(db: Queries, id: string, volumeId: string): Promise<number> {
  const { rows } = await sql<{ left: number }>`
    UPDATE backups SET restore_volume_ids = array_remove(restore_volume_ids, ${volumeId}::uuid) WHERE id = ${id}
    RETURNING cardinality(restore_volume_ids) AS left`.execute(db);
  return rows[0]?.left ?? 0;
}

/** Other rows lean on the same commit: the record of one backup was imported under several ids. */
export async function hasSiblings(
  db: Queries,
  { id, session }: { id: string; session: string },
  which: 'kept' | 'deleting',
): Promise<boolean> {
  const others = db.selectFrom('backups').select('id').where('session', '=', session).where('id', '<>', id);
  const found = await others
    .where('status', which === 'kept' ? '<>' : '=', 'deleting')
    .limit(1)
    .executeTakeFirst();
  return found !== undefined;
}

/** Notes on a backup that stays in its state. */
export async function describeBackup(
  db: Queries,
  id: string,
  changes: { name?: string | null; description?: string | null; metadata?: StringMap },
): Promise<void> {
  await db
    .updateTable('backups')
    .set({
      updated_at: sql<Timestamp>`clock_timestamp()`,
      ...(changes.name === undefined ? {} : { name: changes.name }),
      ...(changes.description === undefined ? {} : { description: changes.description }),
      ...(changes.metadata === undefined ? {} : { metadata: json(changes.metadata) }),
    })
    .where('id', '=', id)
    .execute();
}

/** Removes a row that is being deleted. One that is gone already is no error. */
export async function removeBackup(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('backups').where('id', '=', id).where('status', '=', 'deleting').execute();
}

export async function hasChildren(db: Queries, id: string): Promise<boolean> {
  return (await db.selectFrom('backups').select('id').where('parent_id', '=', id).limit(1).executeTakeFirst()) !== undefined;
}

/** The project's backups of one volume, oldest data first. */
export async function backupsOfVolume(db: Queries, volumeId: string, projectId: string): Promise<Backup[]> {
  const rows = await selectRows(db)
    .where('volume_id', '=', volumeId)
    .where('project_id', '=', projectId)
    .orderBy('data_timestamp')
    .orderBy('id')
    .execute();
  return rows.map(backupOf);
}

export async function databaseTime(db: Queries): Promise<Timestamp> {
  const row = await db.selectNoFrom(sql<Timestamp>`clock_timestamp()`.as('now')).executeTakeFirstOrThrow();
  return row.now;
}

// lists ------------------------------------------------------------------------------------------------------------

type BackupListQuery = ListQuery<BackupColumn>;

/** `sort` ends with the id, so that the order is total. */
export async function listBackups(db: Queries, list: BackupListQuery): Promise<Backup[]> {
  const { page } = listSql('backups', listColumns, list);
  const { rows } = await sql<Row>`
    SELECT backups.*, (SELECT count(*) FROM backups AS child WHERE child.parent_id = backups.id) AS dependent_count
    FROM backups ${page}`.execute(db);
  return rows.map(backupOf);
}

export async function countBackups(db: Queries, list: BackupListQuery): Promise<number> {
  const { matches } = listSql('backups', listColumns, list);
  const { rows } = await sql<{ count: number }>`SELECT count(*) AS count FROM backups WHERE ${matches}`.execute(db);
  return rows[0]?.count ?? 0;
}
