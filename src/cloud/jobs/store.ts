/**
 * The only SQL over `sagas`.
 *
 * A saga belongs to an owner (a process, by the number whose advisory lock it holds) at an epoch. Every write of a runner names
 * both, so that a runner that lost a saga can change nothing any more: its write meets no row.
 */
import { type Selectable, sql } from 'kysely';
import type { Json, JsonMap, SagasTable } from '../database/schema.ts';
import { type Database, json, type Tx } from '../database/service.ts';
import type { Progress, SagaFailure } from './saga.ts';
import { type SagaStatus, unfinishedStatuses } from './states.ts';

export const sagaChannel = 'stillpoint_sagas';

/** Who runs a saga, and which time it was taken. */
export interface Claim {
  readonly sagaId: string;
  readonly owner: number;
  readonly epoch: number;
}

/** What the column `outputs` holds. */
export interface SagaMemory {
  /** By step: `done` = the step ended and its value is final; else the value is what it noted on its way. */
  readonly steps: { readonly [step: string]: { readonly done: boolean; readonly value?: Json } };
  /** Why it is being undone. */
  readonly failure?: SagaFailure;
}

export interface SagaRow {
  readonly id: string;
  readonly kind: string;
  readonly input: Json;
  readonly memory: SagaMemory;
  readonly status: SagaStatus;
  readonly step: string | null;
  readonly cancelRequested: boolean;
  readonly owner: number | null;
  readonly epoch: number;
}

export interface SagaChange {
  readonly status?: SagaStatus;
  readonly step?: string | null;
  readonly failure?: string;
  readonly progress?: Progress;
  readonly memory?: SagaMemory;
}

export const emptyMemory: SagaMemory = { steps: {} };

export type FullRow = Selectable<SagasTable>;

function rowOf(row: FullRow): SagaRow {
  // The column is written by `write` and by nothing else.
  const memory = row.outputs as unknown as Partial<SagaMemory>;
  return {
    id: row.id,
    kind: row.kind,
    input: row.input,
    memory: memory.steps === undefined ? emptyMemory : (memory as SagaMemory),
    status: row.status,
    step: row.step,
    cancelRequested: row.cancel_requested,
    owner: row.owner,
    epoch: row.epoch,
  };
}

export interface NewSaga {
  readonly id: string;
  readonly kind: string;
  readonly subjectId: string;
  readonly projectId: string | null;
  readonly input: Json;
  readonly requestId: string | null;
  readonly step: string | null;
  /** Null: whoever finds it first takes it. */
  readonly owner: number | null;
}

export async function insertSaga(tx: Tx, saga: NewSaga): Promise<void> {
  await tx.sql
    .insertInto('sagas')
    .values({
      id: saga.id,
      kind: saga.kind,
      subject_id: saga.subjectId,
      project_id: saga.projectId,
      input: json(saga.input),
      request_id: saga.requestId,
      step: saga.step,
      status: saga.owner === null ? 'pending' : 'running',
      owner: saga.owner,
      epoch: saga.owner === null ? 0 : 1,
    })
    .execute();
}

/** Changes a saga that the claim still holds. Undefined: it was lost. */
export async function writeSaga(database: Database, claim: Claim, change: SagaChange): Promise<{ cancelRequested: boolean } | undefined> {
  const row = await database.sql
    .updateTable('sagas')
    .set({
      updated_at: sql<string>`clock_timestamp()`,
      ...(change.status === undefined ? {} : { status: change.status }),
      ...(change.step === undefined ? {} : { step: change.step }),
      ...(change.failure === undefined ? {} : { failure: change.failure }),
      ...(change.progress === undefined ? {} : { progress: JSON.stringify(change.progress) }),
      ...(change.memory === undefined ? {} : { outputs: json(change.memory as unknown as JsonMap) }),
    })
    .where('id', '=', claim.sagaId)
    .where('owner', '=', claim.owner)
    .where('epoch', '=', claim.epoch)
    .where('status', 'in', unfinishedStatuses)
    .returning('cancel_requested')
    .executeTakeFirst();
  return row === undefined ? undefined : { cancelRequested: row.cancel_requested };
}

/** Whether the claim still holds its saga. Undefined: it was lost. */
export async function checkClaim(database: Database, claim: Claim): Promise<{ cancelRequested: boolean } | undefined> {
  const row = await database.sql
    .selectFrom('sagas')
    .select('cancel_requested')
    .where('id', '=', claim.sagaId)
    .where('owner', '=', claim.owner)
    .where('epoch', '=', claim.epoch)
    .where('status', 'in', unfinishedStatuses)
    .executeTakeFirst();
  return row === undefined ? undefined : { cancelRequested: row.cancel_requested };
}

/** Takes one saga that nobody has. */
export async function takePending(database: Database, sagaId: string, owner: number): Promise<SagaRow | undefined> {
  const row = await database.sql
    .updateTable('sagas')
    .set((eb) => ({ owner, epoch: eb('epoch', '+', 1), status: 'running', updated_at: sql<string>`clock_timestamp()` }))
    .where('id', '=', sagaId)
    .where('status', '=', 'pending')
    .where('owner', 'is', null)
    .returningAll()
    .executeTakeFirst();
  return row === undefined ? undefined : rowOf(row);
}

export interface PendingSaga {
  readonly id: string;
  readonly kind: string;
  readonly cancelRequested: boolean;
}

/** Sagas that nobody has taken, the oldest first. */
export async function findPending(database: Database, kinds: readonly string[], limit: number): Promise<PendingSaga[]> {
  if (kinds.length === 0) return [];
  return database.sql
    .selectFrom('sagas')
    .select(['id', 'kind', 'cancel_requested as cancelRequested'])
    .where('status', '=', 'pending')
    .where('owner', 'is', null)
    .where('kind', 'in', kinds)
    .orderBy('created_at')
    .limit(limit)
    .execute();
}

/** The unfinished sagas that have an owner, dead or alive. */
export async function findOwned(database: Database, kinds: readonly string[]): Promise<{ id: string; owner: number }[]> {
  if (kinds.length === 0) return [];
  return database.sql
    .selectFrom('sagas')
    .select(['id', 'owner'])
    .where('status', 'in', unfinishedStatuses)
    .where('owner', 'is not', null)
    .where('kind', 'in', kinds)
    .$narrowType<{ owner: number }>()
    .execute();
}

export async function findOne(database: Database, sagaId: string): Promise<SagaRow | undefined> {
  const row = await database.sql.selectFrom('sagas').selectAll().where('id', '=', sagaId).executeTakeFirst();
  return row === undefined ? undefined : rowOf(row);
}

/**
 * Takes over all sagas of an owner that is dead. It is dead when its advisory lock can be had: the lock lives exactly as long as the
 * session that took it. Holding it meanwhile also keeps two heirs apart.
 */
export async function inherit(database: Database, plan: { from: number; to: number; kinds: readonly string[] }): Promise<SagaRow[]> {
  if (plan.kinds.length === 0) return [];
  return database.transact(async (tx) => {
    const lock = await sql<{ taken: boolean }>`SELECT pg_try_advisory_xact_lock(${plan.from}::bigint) AS taken`.execute(tx.sql);
    if (lock.rows[0]?.taken !== true) return [];
    const rows = await tx.sql
      .updateTable('sagas')
      .set((eb) => ({ owner: plan.to, epoch: eb('epoch', '+', 1), updated_at: sql<string>`clock_timestamp()` }))
      .where('owner', '=', plan.from)
      .where('status', 'in', unfinishedStatuses)
      .where('kind', 'in', plan.kinds)
      .returningAll()
      .execute();
    return rows.map(rowOf);
  });
}

/** Marks the unfinished sagas of a subject, and tells every process when the transaction commits. */
export async function markCancelled(tx: Tx, subjectId: string, kind: string | undefined): Promise<string[]> {
  const rows = await tx.sql
    .updateTable('sagas')
    .set({ cancel_requested: true, updated_at: sql<string>`clock_timestamp()` })
    .where('subject_id', '=', subjectId)
    .where('status', 'in', unfinishedStatuses)
    .$if(kind !== undefined, (query) => query.where('kind', '=', kind ?? ''))
    .returning('id')
    .execute();
  for (const { id } of rows) await sql`SELECT pg_notify(${sagaChannel}, ${id})`.execute(tx.sql);
  return rows.map((row) => row.id);
}

export async function findStatus(database: Database, sagaId: string): Promise<SagaStatus | undefined> {
  const row = await database.sql.selectFrom('sagas').select('status').where('id', '=', sagaId).executeTakeFirst();
  return row?.status;
}

export async function findById(database: Database, sagaId: string): Promise<FullRow | undefined> {
  return database.sql.selectFrom('sagas').selectAll().where('id', '=', sagaId).executeTakeFirst();
}

export async function findBySubject(database: Database, subjectId: string): Promise<FullRow[]> {
  return database.sql
    .selectFrom('sagas')
    .selectAll()
    .where('subject_id', '=', subjectId)
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .execute();
}
