/** The only SQL on `volume_transfers`. */
import { type Kysely, sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import type { Schema } from '../database/service.ts';
import { type Transfer, type TransferColumn, transferColumns } from './contract.ts';

type Queries = Kysely<Schema>;

const fields = sql.raw(
  'id, volume_id AS "volumeId", project_id AS "projectId", name, no_snapshots AS "noSnapshots", created_at AS "createdAt"',
);

export async function findTransfer(db: Queries, id: string): Promise<Transfer | undefined> {
  return (await sql<Transfer>`SELECT ${fields} FROM volume_transfers WHERE id = ${id}`.execute(db)).rows[0];
}

/** With the hash of its key; locked until the end of the transaction. */
export async function lockTransfer(db: Queries, id: string): Promise<(Transfer & { readonly keyHash: Buffer }) | undefined> {
  const { rows } = await sql<Transfer & { keyHash: Buffer }>`
    SELECT ${fields}, key_hash AS "keyHash" FROM volume_transfers WHERE id = ${id} FOR UPDATE`.execute(db);
  return rows[0];
}

export async function listTransfers(db: Queries, list: ListQuery<TransferColumn>): Promise<Transfer[]> {
  const { page } = listSql('volume_transfers', transferColumns, list);
  return (await sql<Transfer>`SELECT ${fields} FROM volume_transfers ${page}`.execute(db)).rows;
}

/** Takes the place of one that an administrator's reset of the volume has left behind. */
export async function insertTransfer(db: Queries, transfer: Omit<Transfer, 'createdAt'> & { readonly keyHash: Buffer }): Promise<void> {
  await db.deleteFrom('volume_transfers').where('volume_id', '=', transfer.volumeId).execute();
  await db
    .insertInto('volume_transfers')
    .values({
      id: transfer.id,
      volume_id: transfer.volumeId,
      project_id: transfer.projectId,
      name: transfer.name,
      key_hash: transfer.keyHash,
      no_snapshots: transfer.noSnapshots,
    })
    .execute();
}

export async function deleteTransfer(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('volume_transfers').where('id', '=', id).execute();
}
