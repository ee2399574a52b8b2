/** The only SQL for volumes. Statuses change by compare-and-set on the table of transitions. */
import { type Kysely, sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import { type Database, json, type Schema, type StringMap } from '../database/service.ts';
import { type Volume, type VolumeListQuery, volumeColumns } from './contract.ts';
import { type TransitionName, transitions, type VolumeStatus } from './states.ts';

export type Queries = Kysely<Schema>;

/**
 * The project of the disks that are a server's own. They are volumes to everything that works on disks, and do not exist in Block Storage: no project has
 * this id, so they are in nobody's lists and quotas.
 */
export const localDisks = '';

/** Lists over all projects are lists of what Block Storage knows. */
export function withoutLocalDisks<Name extends string>(list: ListQuery<Name | 'project_id'>): ListQuery<Name | 'project_id'> {
  if (list.projectId !== undefined) return list;
  return { ...list, filters: [...list.filters, { column: 'project_id', comparison: 'neq', value: localDisks }] };
}

const fields = sql.raw(`
  volumes.id, volumes.project_id AS "projectId", volumes.user_id AS "userId", volumes.name, volumes.description, volumes.status,
  volumes.previous_status AS "previousStatus", volumes.size_gib AS "sizeGib", volumes.availability_zone AS "availabilityZone",
  (SELECT json_build_object('id', id, 'name', name) FROM volume_types WHERE id = volumes.volume_type_id) AS "volumeType", volumes.bootable, volumes.readonly,
  volumes.snapshot_id AS "snapshotId", volumes.source_volid AS "sourceVolumeId", volumes.metadata,
  volumes.image_metadata AS "imageMetadata", volumes.top_layer_id AS "topLayerId", volumes.group_id AS "groupId",
  volumes.created_at AS "createdAt", volumes.updated_at AS "updatedAt",
  coalesce((SELECT json_agg(json_build_object('id', id, 'volumeId', volume_id, 'instanceId', instance_uuid, 'hostName', host_name,
      'mountpoint', mountpoint, 'mode', mode, 'status', status, 'attachedAt', to_char(attached_at, 'YYYY-MM-DD"T"HH24:MI:SS.US'))
      ORDER BY volume_attachments.created_at)
    FROM volume_attachments WHERE volume_id = volumes.id), '[]') AS attachments`);

export async function findVolume(db: Queries, id: string): Promise<Volume | undefined> {
  return (await volumeById(id).execute(db)).rows[0];
}

const volumeById = (id: string) => sql<Volume>`SELECT ${fields} FROM volumes WHERE volumes.id = ${id}`;

/** The same for the requests that clients poll with. */
export async function readVolume(database: Database, id: string): Promise<Volume | undefined> {
  return (await database.prepared('volume by id', volumeById(id).compile(database.sql)))[0];
}

/**
 * Locks the row until the end of the transaction. Its attachments may be those from before it waited for the lock; `attachmentsOf` asks again. (With a
 * join, a row whose type changed while it waited would not be found at all.)
 */
export async function lockVolume(db: Queries, id: string): Promise<Volume | undefined> {
  const { rows } = await sql<Volume>`SELECT ${fields} FROM volumes WHERE volumes.id = ${id} FOR UPDATE OF volumes`.execute(db);
  return rows[0];
}

export async function listVolumes(db: Queries, list: VolumeListQuery): Promise<Volume[]> {
  const { page, order } = listSql('volumes', volumeColumns, withoutLocalDisks(list));
  // The page first: what belongs to a volume is then looked up for its rows only.
  const { rows } = await sql<Volume>`
    SELECT ${fields} FROM (SELECT * FROM volumes ${page}) AS volumes ORDER BY ${order}`.execute(db);
  return rows;
}

export async function countVolumes(db: Queries, list: VolumeListQuery): Promise<{ count: number; sizeGib: number }> {
  const { matches } = listSql('volumes', volumeColumns, withoutLocalDisks(list));
  const { rows } = await sql<{
    count: number;
    sizeGib: number;
  }>`SELECT count(*) AS count, coalesce(sum(size_gib), 0) AS "sizeGib" FROM volumes WHERE ${matches}`.execute(db);
  return rows[0] ?? { count: 0, sizeGib: 0 };
}

/** All metadata keys with the values that occur. */
export async function metadataInUse(db: Queries, projectId: string | undefined): Promise<Record<string, string[]>> {
  const mine = projectId === undefined ? sql`project_id <> ${localDisks}` : sql`project_id = ${projectId}`;
  const { rows } = await sql<{
    key: string;
    values: string[];
  }>`SELECT key, array_agg(DISTINCT value ORDER BY value) AS values FROM volumes, jsonb_each_text(metadata) WHERE ${mine} GROUP BY key`.execute(
    db,
  );
  return Object.fromEntries(rows.map(({ key, values }) => [key, values]));
}

export interface NewVolume {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly status: VolumeStatus;
  readonly sizeGib: number;
  readonly availabilityZone: string;
  readonly volumeTypeId: string;
  readonly bootable: boolean;
  readonly snapshotId: string | null;
  readonly sourceVolumeId: string | null;
  readonly metadata: StringMap;
  readonly imageMetadata: StringMap;
  readonly groupId?: string | null;
}

export async function insertVolume(db: Queries, volume: NewVolume): Promise<void> {
  await db
    .insertInto('volumes')
    .values({
      id: volume.id,
      project_id: volume.projectId,
      user_id: volume.userId,
      name: volume.name,
      description: volume.description,
      status: volume.status,
      size_gib: volume.sizeGib,
      availability_zone: volume.availabilityZone,
      volume_type_id: volume.volumeTypeId,
      bootable: volume.bootable,
      snapshot_id: volume.snapshotId,
      source_volid: volume.sourceVolumeId,
      metadata: json(volume.metadata),
      image_metadata: json(volume.imageMetadata),
      group_id: volume.groupId ?? null,
    })
    .execute();
}

export interface VolumeChanges {
  readonly name?: string | null;
  readonly description?: string | null;
  readonly sizeGib?: number;
  readonly bootable?: boolean;
  readonly readonly?: boolean;
  readonly metadata?: StringMap;
  readonly imageMetadata?: StringMap;
  readonly previousStatus?: VolumeStatus | null;
  readonly statusReason?: string;
  readonly volumeTypeId?: string;
  readonly groupId?: string | null;
  readonly owner?: { readonly projectId: string; readonly userId: string };
}

const changedColumns = (changes: VolumeChanges) => ({
  ...(changes.name !== undefined && { name: changes.name }),
  ...(changes.description !== undefined && { description: changes.description }),
  ...(changes.sizeGib !== undefined && { size_gib: changes.sizeGib }),
  ...(changes.bootable !== undefined && { bootable: changes.bootable }),
  ...(changes.readonly !== undefined && { readonly: changes.readonly }),
  ...(changes.metadata !== undefined && { metadata: json(changes.metadata) }),
  ...(changes.imageMetadata !== undefined && { image_metadata: json(changes.imageMetadata) }),
  ...(changes.previousStatus !== undefined && { previous_status: changes.previousStatus }),
  ...(changes.statusReason !== undefined && { status_reason: changes.statusReason }),
  ...(changes.volumeTypeId !== undefined && { volume_type_id: changes.volumeTypeId }),
  ...(changes.groupId !== undefined && { group_id: changes.groupId }),
  ...(changes.owner !== undefined && { project_id: changes.owner.projectId, user_id: changes.owner.userId }),
  updated_at: sql<string>`clock_timestamp()`,
});

/** Changes what is not the status. */
export async function updateVolume(db: Queries, id: string, changes: VolumeChanges): Promise<void> {
  await db.updateTable('volumes').set(changedColumns(changes)).where('id', '=', id).execute();
}

/**
 * One transition of the state table, compare-and-set. `to: 'previous'` goes back to where the volume came from. False: the volume is in none
 * of the states that the transition may start from, or is gone.
 */
export async function move(db: Queries, id: string, name: TransitionName, changes: VolumeChanges = {}): Promise<boolean> {
  const { from, to } = transitions[name];
  const back = sql<string>`coalesce(previous_status, 'available')`;
  const moved = await db
    .updateTable('volumes')
    .set({ ...changedColumns(changes), status: to === 'previous' ? back : to })
    .where('id', '=', id)
    .where('status', 'in', [...from])
    .executeTakeFirst();
  return moved.numUpdatedRows > 0n;
}

/** Of attachments that clients made as such nobody here knows how far they are: those volumes are left out. */
export async function findHalfAttached(db: Queries): Promise<{ id: string; isAttached: boolean }[]> {
  return await db
    .selectFrom('volumes')
    .where('status', 'in', [...transitions.attachInterrupted.from])
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('volume_attachments')
            .whereRef('volume_id', '=', 'volumes.id')
            .where('volume_attachments.status', '<>', 'attached')
            .select('volume_attachments.id'),
        ),
      ),
    )
    .select(({ exists, selectFrom }) => [
      'id',
      exists(selectFrom('volume_attachments').whereRef('volume_id', '=', 'volumes.id').select('volume_attachments.id'))
        .$castTo<boolean>()
        .as('isAttached'),
    ])
    .execute();
}

/** An administrator's word, or deletion by force: from whatever state. */
export async function setStatus(db: Queries, id: string, status: VolumeStatus): Promise<void> {
  await db
    .updateTable('volumes')
    .set({ status, previous_status: null, status_reason: null, updated_at: sql<string>`clock_timestamp()` })
    .where('id', '=', id)
    .execute();
}

export async function deleteVolume(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('volumes').where('id', '=', id).execute();
}

export async function lockMembers(db: Queries, groupId: string): Promise<Volume[]> {
  const { rows } = await sql<Volume>`
    SELECT ${fields} FROM volumes WHERE volumes.group_id = ${groupId} ORDER BY volumes.id FOR UPDATE OF volumes`.execute(db);
  return rows;
}

export async function memberIds(db: Queries, groupIds: readonly string[]): Promise<Map<string, string[]>> {
  if (groupIds.length === 0) return new Map();
  const rows = await db
    .selectFrom('volumes')
    .select(['id', 'group_id'])
    .where('group_id', 'in', [...groupIds])
    .orderBy('id')
    .execute();
  const ids = new Map<string, string[]>(groupIds.map((id) => [id, []]));
  for (const { id, group_id: groupId } of rows) if (groupId !== null) ids.get(groupId)?.push(id);
  return ids;
}
