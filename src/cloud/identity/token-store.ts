/**
 * The SQL of tokens. One statement says everything about a token, and only about one that is good *now*: the user, the scope and their
 * domains enabled, roles as they are assigned at this moment. So disabling somebody or taking a role away needs no bookkeeping.
 */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Database, Schema, Timestamp } from '../database/service.ts';
import type { GrantTarget } from './entities.ts';
import { heldRoles } from './rights.ts';
import type { AccessRule, Reference, Scope, ValidToken } from './token.ts';

export interface NewToken {
  readonly hash: Buffer;
  readonly userId: string;
  readonly target: GrantTarget | undefined;
  readonly applicationCredentialId: string | null;
  readonly methods: readonly string[];
  readonly auditIds: readonly string[];
  readonly issuedAt: Timestamp;
  readonly expiresAt: Timestamp;
}

export async function insertToken(db: Kysely<Schema>, token: NewToken): Promise<void> {
  await db
    .insertInto('tokens')
    .values({
      hash: token.hash,
      user_id: token.userId,
      project_id: token.target?.kind === 'project' ? token.target.id : null,
      domain_id: token.target?.kind === 'domain' ? token.target.id : null,
      system_scope: token.target?.kind === 'system',
      application_credential_id: token.applicationCredentialId,
      methods: [...token.methods],
      audit_ids: [...token.auditIds],
      issued_at: token.issuedAt,
      expires_at: token.expiresAt,
    })
    .execute();
}

interface TokenRow {
  user_id: string;
  user_name: string;
  user_domain_id: string;
  user_domain_name: string;
  project_id: string | null;
  project_name: string | null;
  project_domain_id: string | null;
  project_domain_name: string | null;
  domain_id: string | null;
  domain_name: string | null;
  system_scope: boolean;
  credential_id: string | null;
  credential_name: string | null;
  credential_unrestricted: boolean | null;
  methods: string[];
  audit_ids: string[];
  issued_at: Timestamp;
  expires_at: Timestamp;
  roles: Reference[] | null;
  access_rules: AccessRule[] | null;
}

/** The token with this hash, if it is good at `now`. Every request runs this. */
export async function validToken(database: Database, hash: Buffer, now: Timestamp): Promise<ValidToken | undefined> {
  const statement = tokenStatement(hash, now).compile(database.sql);
  return tokenIn(await database.prepared('valid token', statement));
}

/** The same within a transaction. */
export async function validTokenIn(db: Kysely<Schema>, hash: Buffer, now: Timestamp): Promise<ValidToken | undefined> {
  return tokenIn((await tokenStatement(hash, now).execute(db)).rows);
}

const place = { user: sql`t.user_id`, project: sql`t.project_id`, domain: sql`t.domain_id`, system: sql`t.system_scope` };

function tokenStatement(hash: Buffer, now: Timestamp): RawBuilder<TokenRow> {
  return sql<TokenRow>`
    WITH RECURSIVE t AS (
      SELECT * FROM tokens WHERE hash = ${hash} AND expires_at > ${now}::timestamptz
    ), delegated AS (
      SELECT unnest(c.role_ids) AS role_id FROM t JOIN application_credentials c ON c.id = t.application_credential_id
      UNION
      SELECT i.implied_role_id FROM delegated JOIN role_implications i ON i.prior_role_id = delegated.role_id
    )
    SELECT u.id AS user_id, u.name AS user_name, ud.id AS user_domain_id, ud.name AS user_domain_name,
           p.id AS project_id, p.name AS project_name, pd.id AS project_domain_id, pd.name AS project_domain_name,
           d.id AS domain_id, d.name AS domain_name, t.system_scope,
           c.id AS credential_id, c.name AS credential_name, c.unrestricted AS credential_unrestricted,
           t.methods, t.audit_ids, t.issued_at, t.expires_at,
           (SELECT json_agg(json_build_object('id', r.id, 'name', r.name) ORDER BY r.name)
              FROM roles r
             WHERE r.id IN ${heldRoles(place)}
               AND (c.id IS NULL OR r.id IN (SELECT role_id FROM delegated))) AS roles,
           (SELECT json_agg(json_build_object('id', a.id, 'service', a.service, 'method', a.method, 'path', a.path) ORDER BY a.id)
              FROM application_credential_rules cr JOIN access_rules a ON a.id = cr.rule_id
             WHERE cr.credential_id = c.id) AS access_rules
      FROM t
      JOIN users u ON u.id = t.user_id
      JOIN domains ud ON ud.id = u.domain_id
      LEFT JOIN projects p ON p.id = t.project_id
      LEFT JOIN domains pd ON pd.id = p.domain_id
      LEFT JOIN domains d ON d.id = t.domain_id
      LEFT JOIN application_credentials c ON c.id = t.application_credential_id
     WHERE u.enabled AND ud.enabled
       AND (p.id IS NULL OR (p.enabled AND pd.enabled))
       AND (d.id IS NULL OR d.enabled)
       AND (c.expires_at IS NULL OR c.expires_at > ${now}::timestamptz)
  `;
}

function tokenIn(rows: readonly TokenRow[]): ValidToken | undefined {
  const row = rows[0];
  if (row === undefined) return undefined;
  const token = tokenOf(row);
  // Without a role there, a scope is worth nothing.
  return token.scope.kind !== 'unscoped' && token.roles.length === 0 ? undefined : token;
}

function tokenOf(row: TokenRow): ValidToken {
  return {
    user: { id: row.user_id, name: row.user_name, domain: { id: row.user_domain_id, name: row.user_domain_name } },
    scope: scopeOf(row),
    roles: row.roles ?? [],
    methods: row.methods,
    auditIds: row.audit_ids,
    issuedAt: row.issued_at,
    expiresAt: row.expires_at,
    applicationCredential:
      row.credential_id === null
        ? null
        : {
            id: row.credential_id,
            name: row.credential_name ?? '',
            restricted: row.credential_unrestricted !== true,
            accessRules: row.access_rules ?? [],
          },
  };
}

function scopeOf(row: TokenRow): Scope {
  if (row.project_id !== null) {
    const domain = { id: row.project_domain_id ?? '', name: row.project_domain_name ?? '' };
    return { kind: 'project', project: { id: row.project_id, name: row.project_name ?? '', domain } };
  }
  if (row.domain_id !== null) return { kind: 'domain', domain: { id: row.domain_id, name: row.domain_name ?? '' } };
  return row.system_scope ? { kind: 'system' } : { kind: 'unscoped' };
}

export async function deleteToken(db: Kysely<Schema>, hash: Buffer): Promise<boolean> {
  const result = await db.deleteFrom('tokens').where('hash', '=', hash).executeTakeFirst();
  return result.numDeletedRows > 0n;
}

export async function deleteExpiredTokens(db: Kysely<Schema>, now: Timestamp): Promise<void> {
  await db.deleteFrom('tokens').where('expires_at', '<=', now).execute();
}

export async function deleteTokensOfUser(db: Kysely<Schema>, userId: string): Promise<void> {
  await db.deleteFrom('tokens').where('user_id', '=', userId).execute();
}

export async function deleteTokensOfProject(db: Kysely<Schema>, projectId: string): Promise<void> {
  await db.deleteFrom('tokens').where('project_id', '=', projectId).execute();
}

/** Those scoped to the domain, to a project in it, or held by a user of it. */
export async function deleteTokensOfDomain(db: Kysely<Schema>, domainId: string): Promise<void> {
  await sql`
    DELETE FROM tokens
     WHERE domain_id = ${domainId}
        OR project_id IN (SELECT id FROM projects WHERE domain_id = ${domainId})
        OR user_id IN (SELECT id FROM users WHERE domain_id = ${domainId})
  `.execute(db);
}
