/** The only SQL for snapshots. Statuses change by compare-and-set on the table of transitions. */
import { type Kysely, sql } from 'kysely';
import { listSql } from '../database/lists.ts';
import { json, type Schema, type StringMap } from '../database/service.ts';
import { type Snapshot, type SnapshotListQuery, snapshotColumns } from './contract.ts';
import { type SnapshotStatus, type TransitionName, transitions } from './states.ts';

export type Queries = Kysely<Schema>;

const fields = sql.raw(`
  id, project_id AS "projectId", user_id AS "userId", volume_id AS "volumeId", name, description, status, progress,
  size_gib AS "sizeGib", metadata, point_id AS "pointId", group_snapshot_id AS "groupSnapshotId", created_at AS "createdAt", updated_at AS "updatedAt"`);

export async function findSnapshot(db: Queries, id: string): Promise<Snapshot | undefined> {
  return (await sql<Snapshot>`SELECT ${fields} FROM snapshots WHERE id = ${id}`.execute(db)).rows[0];
}

/** Locks the row until the end of the transaction. */
export async function lockSnapshot(db: Queries, id: string): Promise<Snapshot | undefined> {
  return (await sql<Snapshot>`SELECT ${fields} FROM snapshots WHERE id = ${id} FOR UPDATE`.execute(db)).rows[0];
}

export async function lockSnapshotsOf(db: Queries, volumeId: string): Promise<Snapshot[]> {
  return (await sql<Snapshot>`SELECT ${fields} FROM snapshots WHERE volume_id = ${volumeId} ORDER BY id FOR UPDATE`.execute(db)).rows;
}

export async function findLatestSnapshotOf(db: Queries, volumeId: string): Promise<Snapshot | undefined> {
  const { rows } = await sql<Snapshot>`
    SELECT ${fields} FROM snapshots WHERE volume_id = ${volumeId} ORDER BY created_at DESC, id DESC LIMIT 1`.execute(db);
  return rows[0];
}

export async function countSnapshotsOf(db: Queries, volumeId: string): Promise<number> {
  const counted = await db
    .selectFrom('snapshots')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('volume_id', '=', volumeId)
    .executeTakeFirstOrThrow();
  return counted.count;
}

export async function listSnapshots(db: Queries, list: SnapshotListQuery): Promise<Snapshot[]> {
  const { page } = listSql('snapshots', snapshotColumns, list);
  return (await sql<Snapshot>`SELECT ${fields} FROM snapshots ${page}`.execute(db)).rows;
}

export async function countSnapshots(db: Queries, list: SnapshotListQuery): Promise<number> {
  const { matches } = listSql('snapshots', snapshotColumns, list);
  const { rows } = await sql<{ count: number }>`SELECT count(*) AS count FROM snapshots WHERE ${matches}`.execute(db);
  return rows[0]?.count ?? 0;
}

export interface NewSnapshot {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly volumeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly sizeGib: number;
  readonly metadata: StringMap;
  readonly groupSnapshotId?: string;
}

/** With what the volume is at this moment. */
export async function insertSnapshot(db: Queries, snapshot: NewSnapshot): Promise<void> {
  const ofVolume = <T>(column: 'bootable' | 'image_metadata') =>
    sql<T>`(SELECT ${sql.ref(column)} FROM volumes WHERE id = ${snapshot.volumeId})`;
  await db
    .insertInto('snapshots')
    .values({
      id: snapshot.id,
      project_id: snapshot.projectId,
      user_id: snapshot.userId,
      volume_id: snapshot.volumeId,
      name: snapshot.name,
      description: snapshot.description,
      status: 'creating',
      size_gib: snapshot.sizeGib,
      metadata: json(snapshot.metadata),
      group_snapshot_id: snapshot.groupSnapshotId ?? null,
      bootable: ofVolume<boolean>('bootable'),
      image_metadata: ofVolume<string>('image_metadata'),
    })
    .execute();
}

/** What its volume was then. */
export async function originOf(db: Queries, id: string): Promise<{ bootable: boolean; imageMetadata: StringMap }> {
  return await db
    .selectFrom('snapshots')
    .select(['bootable', 'image_metadata as imageMetadata'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
}

export interface SnapshotChanges {
  readonly name?: string | null;
  readonly description?: string | null;
  readonly metadata?: StringMap;
  readonly progress?: string;
  readonly pointId?: string | null;
}

const changedColumns = (changes: SnapshotChanges) => ({
  ...(changes.name !== undefined && { name: changes.name }),
  ...(changes.description !== undefined && { description: changes.description }),
  ...(changes.metadata !== undefined && { metadata: json(changes.metadata) }),
  ...(changes.progress !== undefined && { progress: changes.progress }),
  ...(changes.pointId !== undefined && { point_id: changes.pointId }),
  updated_at: sql<string>`clock_timestamp()`,
});

/** Changes what is not the status. */
export async function updateSnapshot(db: Queries, id: string, changes: SnapshotChanges): Promise<void> {
  await db.updateTable('snapshots').set(changedColumns(changes)).where('id', '=', id).execute();
}

/** One transition of the state table, compare-and-set. False: not in a state that it may start from, or gone. */
export async function move(db: Queries, id: string, name: TransitionName, changes: SnapshotChanges = {}): Promise<boolean> {
  const { from, to } = transitions[name];
  const moved = await db
    .updateTable('snapshots')
    .set({ ...changedColumns(changes), status: to })
    .where('id', '=', id)
    .where('status', 'in', [...from])
    .executeTakeFirst();
  return moved.numUpdatedRows > 0n;
}

/** An administrator's or a driver's word: from whatever state. */
export async function setStatus(db: Queries, id: string, status: SnapshotStatus, changes: SnapshotChanges = {}): Promise<void> {
  await db
    .updateTable('snapshots')
    .set({ ...changedColumns(changes), status })
    .where('id', '=', id)
    .execute();
}

export async function deleteSnapshot(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('snapshots').where('id', '=', id).execute();
}

export async function lockPartsOf(db: Queries, groupSnapshotId: string): Promise<Snapshot[]> {
  return (
    await sql<Snapshot>`SELECT ${fields} FROM snapshots WHERE group_snapshot_id = ${groupSnapshotId} ORDER BY id FOR UPDATE`.execute(db)
  ).rows;
}

/** Those of the giver: an earlier owner of the volume may have kept some. */
export async function giveSnapshotsOf(
  db: Queries,
  volumeId: string,
  giver: string,
  receiver: { projectId: string; userId: string },
): Promise<void> {
  const owner = { project_id: receiver.projectId, user_id: receiver.userId };
  await db.updateTable('snapshots').set(owner).where('volume_id', '=', volumeId).where('project_id', '=', giver).execute();
}
