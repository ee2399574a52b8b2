/** The only SQL on `image_tasks`: what imports were asked for, and how they ended. */
import { type Selectable, sql } from 'kysely';
import { type JsonMap, json, type Schema, type Timestamp } from '../database/service.ts';
import type { TaskStatus } from './image.ts';
import type { Queries } from './store.ts';

export interface ImageTask {
  readonly id: string;
  readonly imageId: string;
  readonly owner: string;
  readonly userId: string;
  readonly requestId: string;
  /** What was asked for. */
  readonly input: JsonMap;
  readonly status: TaskStatus;
  /** Why it failed; empty otherwise. */
  readonly message: string;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
  readonly expiresAt: Timestamp | null;
}

export interface TaskQuery {
  readonly status: TaskStatus | undefined;
  readonly limit: number;
  readonly marker: ImageTask | undefined;
}

const hoursKept = 48;

function taskOf(row: Selectable<Schema['image_tasks']>): ImageTask {
  return {
    id: row.id,
    imageId: row.image_id,
    owner: row.owner,
    userId: row.user_id,
    requestId: row.request_id,
    input: row.input,
    status: row.status,
    message: row.message,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    expiresAt: row.expires_at,
  };
}

export type NewTask = Pick<ImageTask, 'id' | 'imageId' | 'owner' | 'userId' | 'requestId' | 'input'>;

/** Also forgets the tasks whose time is over. */
export async function insertTask(db: Queries, task: NewTask, at: Timestamp): Promise<void> {
  await db.deleteFrom('image_tasks').where('expires_at', '<', at).execute();
  await db
    .insertInto('image_tasks')
    .values({
      id: task.id,
      image_id: task.imageId,
      owner: task.owner,
      user_id: task.userId,
      request_id: task.requestId,
      input: json(task.input),
      status: 'processing',
      created_at: at,
      updated_at: at,
    })
    .execute();
}

/** The end that is told last counts: a saga that had succeeded may be undone after all. */
export async function endTask(db: Queries, id: string, status: 'success' | 'failure', message: string, at: Timestamp): Promise<void> {
  await db
    .updateTable('image_tasks')
    .set({ status, message, updated_at: at, expires_at: sql<Timestamp>`${at}::timestamptz + make_interval(hours => ${hoursKept})` })
    .where('id', '=', id)
    .execute();
}

/** The newest first. */
export async function tasksOfImage(db: Queries, imageId: string, now: Timestamp): Promise<ImageTask[]> {
  const rows = await db
    .selectFrom('image_tasks')
    .selectAll()
    .where('image_id', '=', imageId)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  return rows.map(taskOf);
}

export async function findTask(db: Queries, id: string): Promise<ImageTask | undefined> {
  const row = await db.selectFrom('image_tasks').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : taskOf(row);
}

/** Of all projects, the newest first. */
export async function selectTasks(db: Queries, { status, limit, marker }: TaskQuery): Promise<ImageTask[]> {
  let query = db.selectFrom('image_tasks').selectAll().orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit);
  if (status !== undefined) query = query.where('status', '=', status);
  if (marker !== undefined) query = query.where(sql<boolean>`(created_at, id) < (${marker.createdAt}::timestamptz, ${marker.id}::uuid)`);
  return (await query.execute()).map(taskOf);
}
