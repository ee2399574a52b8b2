/** The only SQL for messages. */
import { type Kysely, sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import type { Schema, Timestamp } from '../database/service.ts';
import type { MessageResource } from './catalogue.ts';
import { type MessageColumn, messageColumns } from './contract.ts';

type Queries = Kysely<Schema>;

export interface MessageRow {
  readonly id: string;
  readonly projectId: string;
  readonly requestId: string | null;
  readonly resourceType: MessageResource;
  readonly resourceId: string;
  readonly actionId: string;
  readonly detailId: string;
  readonly level: string;
  readonly createdAt: Timestamp;
  readonly expiresAt: Timestamp;
}

const fields = sql.raw(`
  id, project_id AS "projectId", request_id AS "requestId", resource_type AS "resourceType", resource_uuid AS "resourceId",
  action_id AS "actionId", detail_id AS "detailId", message_level AS "level", created_at AS "createdAt", expires_at AS "expiresAt"`);

/** Only what has not expired: the rest is removed when the next one is written. */
const living = sql`(SELECT *, 'VOLUME_' || resource_type || '_' || action_id || '_' || detail_id AS event_id
  FROM messages WHERE expires_at > clock_timestamp()) AS messages`;

export async function findMessage(db: Queries, id: string): Promise<MessageRow | undefined> {
  return (await sql<MessageRow>`SELECT ${fields} FROM ${living} WHERE id = ${id}`.execute(db)).rows[0];
}

export async function listMessages(db: Queries, list: ListQuery<MessageColumn>): Promise<MessageRow[]> {
  const { page } = listSql('messages', messageColumns, list);
  return (
    await sql<MessageRow>`WITH messages AS NOT MATERIALIZED (SELECT * FROM ${living}) SELECT ${fields} FROM messages ${page}`.execute(db)
  ).rows;
}

export async function deleteMessage(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('messages').where('id', '=', id).execute();
}

export interface NewMessage {
  /** The saga that failed: one is told once, however often it settles. */
  readonly id: string;
  readonly resourceType: MessageResource;
  /** Null: the saga's subject. */
  readonly resourceId: string | null;
  readonly actionId: string;
  readonly detailId: string;
  readonly livesDays: number;
}

/** Project and request come from the saga's own row. */
export async function insertMessage(db: Queries, message: NewMessage): Promise<void> {
  await sql`
    INSERT INTO messages (id, project_id, request_id, resource_type, resource_uuid, action_id, detail_id, expires_at)
    SELECT id, project_id, request_id, ${message.resourceType}, coalesce(${message.resourceId}, subject_id)::uuid, ${message.actionId}, ${message.detailId},
      clock_timestamp() + make_interval(days => ${message.livesDays})
    FROM sagas WHERE id = ${message.id} AND project_id IS NOT NULL
    ON CONFLICT (id) DO NOTHING`.execute(db);
}

export async function deleteExpired(db: Queries): Promise<void> {
  await sql`DELETE FROM messages WHERE expires_at <= clock_timestamp()`.execute(db);
}
