/** The only SQL on `volume_attachments`, but for what every volume shows of its own. */
import { sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import { json, type Timestamp } from '../database/service.ts';
import { type Attachment, type AttachmentColumn, type AttachmentStatus, attachmentColumns } from './contract.ts';
import { type Queries, withoutLocalDisks } from './store.ts';

const fields = sql.raw(`
  id, volume_id AS "volumeId", project_id AS "projectId", instance_uuid AS "instanceId", host_name AS "hostName", mountpoint, mode, status,
  connection_info AS "connectionInfo", attached_at AS "attachedAt"`);

export async function findAttachment(db: Queries, id: string): Promise<Attachment | undefined> {
  return (await sql<Attachment>`SELECT ${fields} FROM volume_attachments WHERE id = ${id}`.execute(db)).rows[0];
}

export async function listAttachments(db: Queries, list: ListQuery<AttachmentColumn>): Promise<Attachment[]> {
  const { page } = listSql('volume_attachments', attachmentColumns, withoutLocalDisks(list));
  return (await sql<Attachment>`SELECT ${fields} FROM volume_attachments ${page}`.execute(db)).rows;
}

export async function attachmentsOf(db: Queries, volumeId: string): Promise<Attachment[]> {
  return (await sql<Attachment>`SELECT ${fields} FROM volume_attachments WHERE volume_id = ${volumeId} ORDER BY created_at`.execute(db))
    .rows;
}

export interface NewAttachment {
  readonly id: string;
  readonly volumeId: string;
  readonly projectId: string;
  readonly instanceId: string | null;
  readonly hostName: string | null;
  readonly mountpoint: string | null;
  readonly mode: 'rw' | 'ro';
  readonly status: AttachmentStatus;
}

export async function insertAttachment(db: Queries, attachment: NewAttachment): Promise<void> {
  await db
    .insertInto('volume_attachments')
    .values({
      id: attachment.id,
      volume_id: attachment.volumeId,
      project_id: attachment.projectId,
      instance_uuid: attachment.instanceId,
      host_name: attachment.hostName,
      mountpoint: attachment.mountpoint,
      mode: attachment.mode,
      status: attachment.status,
      attached_at: attachment.status === 'attached' ? sql<Timestamp>`clock_timestamp()` : null,
    })
    .execute();
}

export async function updateAttachment(
  db: Queries,
  id: string,
  changes: Partial<Pick<Attachment, 'hostName' | 'mountpoint' | 'mode' | 'status' | 'connectionInfo'>>,
): Promise<void> {
  await db
    .updateTable('volume_attachments')
    .set({
      ...(changes.hostName !== undefined && { host_name: changes.hostName }),
      ...(changes.mountpoint !== undefined && { mountpoint: changes.mountpoint }),
      ...(changes.mode !== undefined && { mode: changes.mode }),
      ...(changes.connectionInfo !== undefined && { connection_info: json(changes.connectionInfo) }),
      ...(changes.status !== undefined && { status: changes.status }),
      ...(changes.status === 'attached' && { attached_at: sql<Timestamp>`coalesce(attached_at, clock_timestamp())` }),
    })
    .where('id', '=', id)
    .execute();
}

/** Left out `attachmentId`: all of the volume's. */
export async function deleteAttachments(db: Queries, volumeId: string, attachmentId?: string): Promise<void> {
  const all = db.deleteFrom('volume_attachments').where('volume_id', '=', volumeId);
  await (attachmentId === undefined ? all : all.where('id', '=', attachmentId)).execute();
}
