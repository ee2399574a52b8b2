/**
 * What happened, in order: rows that are written in the transaction that did it. A notification only says that there is something
 * new; who missed one reads on from the last id it saw.
 *
 * Ids are given before commits, so a row with a smaller id may appear after one with a larger id. Recording therefore takes a lock to the
 * end of its transaction: ids appear in order, and reading on from the last one never skips any. Record last in a transaction.
 */
import { sql } from 'kysely';
import type { JsonMap, Timestamp } from '../database/schema.ts';
import { type Database, json, type Tx } from '../database/service.ts';

export const eventChannel = 'stillpoint_events';

export interface NewEvent {
  /** Null: not for any one project. */
  readonly projectId: string | null;
  /** `backup.created` */
  readonly kind: string;
  readonly resourceType: string;
  readonly resourceId: string;
  readonly payload?: JsonMap;
}

export interface Event {
  readonly id: number;
  readonly projectId: string | null;
  readonly kind: string;
  readonly resourceType: string;
  readonly resourceId: string;
  readonly payload: JsonMap;
  readonly createdAt: Timestamp;
}

export interface EventQuery {
  /** Undefined: of all projects. */
  readonly projectId?: string;
  readonly limit?: number;
}

export interface Events {
  record(tx: Tx, event: NewEvent): Promise<void>;
  /** Events after an id, the oldest first, at most `limit` (100, at most 1,000). */
  since(id: number, query?: EventQuery): Promise<Event[]>;
}

const recordLock = 0x5350_0003;
const limitDefault = 100;
const limitMax = 1_000;

export function createEvents(deps: { database: Database }): Events {
  return {
    async record(tx, event) {
      await sql`SELECT pg_advisory_xact_lock(${recordLock})`.execute(tx.sql);
      const { id } = await tx.sql
        .insertInto('events')
        .values({
          project_id: event.projectId,
          kind: event.kind,
          resource_type: event.resourceType,
          resource_id: event.resourceId,
          payload: json(event.payload ?? {}),
        })
        .returning('id')
        .executeTakeFirstOrThrow();
      await sql`SELECT pg_notify(${eventChannel}, ${String(id)})`.execute(tx.sql);
    },
    async since(id, query = {}) {
      const { projectId } = query;
      const rows = await deps.database.sql
        .selectFrom('events')
        .selectAll()
        .where('id', '>', id)
        .$if(projectId !== undefined, (events) => events.where('project_id', '=', projectId ?? null))
        .orderBy('id')
        .limit(Math.min(query.limit ?? limitDefault, limitMax))
        .execute();
      return rows.map((row) => ({
        id: row.id,
        projectId: row.project_id,
        kind: row.kind,
        resourceType: row.resource_type,
        resourceId: row.resource_id,
        payload: row.payload,
        createdAt: row.created_at,
      }));
    },
  };
}
