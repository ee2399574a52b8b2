/** The only SQL on `server_actions`: what was asked of servers. */
import { sql } from 'kysely';
import type { Timestamp } from '../database/service.ts';
import type { Queries } from './store.ts';

export interface ServerAction {
  readonly requestId: string;
  readonly serverId: string;
  readonly action: string;
  readonly userId: string;
  readonly projectId: string;
  readonly message: string | null;
  readonly startedAt: Timestamp;
  readonly finishedAt: Timestamp | null;
}

const fields = sql.raw(`request_id AS "requestId", server_id AS "serverId", action, user_id AS "userId", project_id AS "projectId", message,
  started_at AS "startedAt", finished_at AS "finishedAt"`);

export async function insertAction(
  db: Queries,
  action: Pick<ServerAction, 'requestId' | 'serverId' | 'action' | 'userId' | 'projectId'>,
): Promise<void> {
  const { requestId, serverId, userId, projectId } = action;
  await db
    .insertInto('server_actions')
    .values({ request_id: requestId, server_id: serverId, action: action.action, user_id: userId, project_id: projectId })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** `message`: why it failed. */
export async function finishAction(db: Queries, serverId: string, requestId: string, message: string | null): Promise<void> {
  await db
    .updateTable('server_actions')
    .set({ message, finished_at: sql<string>`clock_timestamp()` })
    .where('server_id', '=', serverId)
    .where('request_id', '=', requestId)
    .execute();
}

/** The newest first. */
export async function actionsOf(db: Queries, serverId: string): Promise<ServerAction[]> {
  const { rows } = await sql<ServerAction>`
    SELECT ${fields} FROM server_actions WHERE server_id = ${serverId} ORDER BY started_at DESC, request_id DESC`.execute(db);
  return rows;
}
