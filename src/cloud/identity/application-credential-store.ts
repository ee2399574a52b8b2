/** The SQL of application credentials. */
import { type Kysely, type RawBuilder, type Selectable, sql } from 'kysely';
import type { ApplicationCredentialsTable } from '../database/schema.ts';
import type { Schema } from '../database/service.ts';
import type { UserKey } from './directory-store.ts';
import type { ApplicationCredential } from './entities.ts';
import type { AccessRule } from './token.ts';

type Db = Kysely<Schema>;

interface CredentialRow extends Omit<Selectable<ApplicationCredentialsTable>, 'secret_hash'> {
  readonly access_rules: AccessRule[] | null;
}

const credentialOf = (row: CredentialRow): ApplicationCredential => ({
  id: row.id,
  userId: row.user_id,
  projectId: row.project_id,
  name: row.name,
  description: row.description,
  roleIds: row.role_ids,
  accessRules: row.access_rules ?? [],
  unrestricted: row.unrestricted,
  expiresAt: row.expires_at,
});

async function selectCredentials(db: Db, condition: RawBuilder<unknown>): Promise<ApplicationCredential[]> {
  const { rows } = await sql<CredentialRow>`
    SELECT c.id, c.user_id, c.project_id, c.name, c.description, c.role_ids, c.unrestricted, c.expires_at,
           (SELECT json_agg(json_build_object('id', a.id, 'service', a.service, 'method', a.method, 'path', a.path) ORDER BY a.id)
              FROM application_credential_rules r JOIN access_rules a ON a.id = r.rule_id WHERE r.credential_id = c.id) AS access_rules
      FROM application_credentials c WHERE ${condition} ORDER BY c.name
  `.execute(db);
  return rows.map(credentialOf);
}

/** Its access rules have to be there already. */
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
  const rules = credential.accessRules.map((rule) => ({ credential_id: credential.id, rule_id: rule.id }));
  if (rules.length > 0) await db.insertInto('application_credential_rules').values(rules).execute();
}

export async function listApplicationCredentials(db: Db, userId: string, name: string | undefined): Promise<ApplicationCredential[]> {
  const named = name === undefined ? sql`true` : sql`c.name = ${name}`;
  return selectCredentials(db, sql`c.user_id = ${userId} AND ${named}`);
}

export async function findApplicationCredential(db: Db, userId: string, id: string): Promise<ApplicationCredential | undefined> {
  return (await selectCredentials(db, sql`c.user_id = ${userId} AND c.id = ${id}`))[0];
}

export async function deleteApplicationCredential(db: Db, userId: string, id: string): Promise<boolean> {
  const query = db.deleteFrom('application_credentials').where('id', '=', id).where('user_id', '=', userId);
  return (await query.executeTakeFirst()).numDeletedRows > 0n;
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
