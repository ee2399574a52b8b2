import type { Kysely } from 'kysely';
import type { Schema } from '../database/schema.ts';

/** For things that are given to projects by id: quotas, access to types. */
export async function projectExists(db: Kysely<Schema>, id: string): Promise<boolean> {
  return (await db.selectFrom('projects').select('id').where('id', '=', id).executeTakeFirst()) !== undefined;
}
