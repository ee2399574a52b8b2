/** The SQL of application credentials. */
import type { Kysely, Selectable } from 'kysely';
import type { ApplicationCredentialsTable } from '../database/schema.ts';
import type { Schema } from '../database/service.ts';
import type { UserKey } from './directory-store.ts';
import type { ApplicationCredential } from './entities.ts';

type Db = Kysely<Schema>;

const credentialOf = (row: Selectable<ApplicationCredentialsTable>): ApplicationCredential => ({
  id: row.id,
  userId: row.user_id,
  projectId: row.project_id,
  name: row.name,
  description: row.description,
  roleIds: row.role_ids,
  unrestricted: row.unrestricted,
  expiresAt: row.expires_at,
});

export async function insertApplicationCredential(db: Db, credential: ApplicationCredential, secretHash: string): Promise<void> {
  await db
    .insertInto('application_credentials')
    .values({
      id: credential.id,
      user_id: credential.userId,
      project_id: credential.projectId,
      name: credential.name,
      description: credential.description,
      secret_hash: secretHash,
      role_ids: [...credential.roleIds],
      unrestricted: credential.unrestricted,
      expires_at: credential.expiresAt,
    })
    .execute();
}

export async function listApplicationCredentials(db: Db, userId: string, name: string | undefined): Promise<ApplicationCredential[]> {
  let query = db.selectFrom('application_credentials').selectAll().where('user_id', '=', userId).orderBy('name');
  if (name !== undefined) query = query.where('name', '=', name);
  return (await query.execute()).map(credentialOf);
}

export async function findApplicationCredential(db: Db, userId: string, id: string): Promise<ApplicationCredential | undefined> {
  const row = await db
    .selectFrom('application_credentials')
    .selectAll()
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return row === undefined ? undefined : credentialOf(row);
}

export async function deleteApplicationCredential(db: Db, userId: string, id: string): Promise<boolean> {
  const query = db.deleteFrom('application_credentials').where('id', '=', id).where('user_id', '=', userId);
  return (await query.executeTakeFirst()).numDeletedRows > 0n;
}

/** Those of one user in one project that hand on a role which is not in `roleIds`. */
export async function deleteCredentialsBeyond(db: Db, userId: string, projectId: string, roleIds: ReadonlySet<string>): Promise<void> {
  const rows = await db
    .selectFrom('application_credentials')
    .select(['id', 'role_ids'])
    .where('user_id', '=', userId)
    .where('project_id', '=', projectId)
    .execute();
  const ids = rows.filter((row) => row.role_ids.some((roleId) => !roleIds.has(roleId))).map((row) => row.id);
  if (ids.length > 0) await db.deleteFrom('application_credentials').where('id', 'in', ids).execute();
}

export interface CredentialLogin {
  readonly id: string;
  readonly userId: string;
  readonly projectId: string;
  readonly secretHash: string;
}

export type CredentialKey = { readonly id: string } | { readonly name: string; readonly user: UserKey };

export async function findCredentialLogin(db: Db, key: CredentialKey): Promise<CredentialLogin | undefined> {
  const query = db
    .selectFrom('application_credentials as c')
    .innerJoin('users as u', 'u.id', 'c.user_id')
    .innerJoin('domains as d', 'd.id', 'u.domain_id')
    .select(['c.id', 'c.user_id as userId', 'c.project_id as projectId', 'c.secret_hash as secretHash']);
  if ('id' in key) return query.where('c.id', '=', key.id).executeTakeFirst();
  const named = query.where('c.name', '=', key.name);
  const { user } = key;
  if ('id' in user) return named.where('u.id', '=', user.id).executeTakeFirst();
  const ofUser = named.where('u.name', '=', user.name);
  return 'id' in user.domain
    ? ofUser.where('d.id', '=', user.domain.id).executeTakeFirst()
    : ofUser.where('d.name', '=', user.domain.name).executeTakeFirst();
}
