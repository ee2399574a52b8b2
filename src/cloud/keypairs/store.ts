/** The SQL of keypairs. */
import type { Kysely } from 'kysely';
import type { Schema } from '../database/service.ts';
import type { Keypair, KeypairListQuery } from './contract.ts';

export type Queries = Kysely<Schema>;

const fields = ['id', 'user_id as userId', 'name', 'type', 'public_key as publicKey', 'fingerprint', 'created_at as createdAt'] as const;

/** By name. */
export async function listKeypairs(db: Queries, { userId, limit, marker }: KeypairListQuery): Promise<Keypair[]> {
  let query = db.selectFrom('keypairs').select(fields).where('user_id', '=', userId).orderBy('name');
  if (marker !== undefined) query = query.where('name', '>', marker);
  if (limit !== undefined) query = query.limit(limit);
  return await query.execute();
}

export async function findKeypair(db: Queries, userId: string, name: string): Promise<Keypair | undefined> {
  return await db.selectFrom('keypairs').select(fields).where('user_id', '=', userId).where('name', '=', name).executeTakeFirst();
}

export async function countKeypairs(db: Queries, userId: string): Promise<number> {
  const row = await db
    .selectFrom('keypairs')
    .where('user_id', '=', userId)
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirst();
  return row?.count ?? 0;
}

export async function insertKeypair(db: Queries, keypair: Omit<Keypair, 'id' | 'createdAt'>): Promise<Keypair> {
  return await db
    .insertInto('keypairs')
    .values({
      user_id: keypair.userId,
      name: keypair.name,
      type: keypair.type,
      public_key: keypair.publicKey,
      fingerprint: keypair.fingerprint,
    })
    .returning(fields)
    .executeTakeFirstOrThrow();
}

/** False: there was none. */
export async function deleteKeypair(db: Queries, userId: string, name: string): Promise<boolean> {
  const deleted = await db.deleteFrom('keypairs').where('user_id', '=', userId).where('name', '=', name).executeTakeFirst();
  return deleted.numDeletedRows > 0n;
}
