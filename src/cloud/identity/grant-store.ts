/** The SQL of role assignments as they were made, and of what they open. */
import { type Kysely, type RawBuilder, type Selectable, sql } from 'kysely';
import type { DomainsTable, ProjectsTable } from '../database/schema.ts';
import type { Schema } from '../database/service.ts';
import { domainOf, projectOf } from './directory-store.ts';
import type { Domain, Grant, Grantee, GrantTarget, Project, Role } from './entities.ts';
import { heldRoles } from './rights.ts';
import { roleOf } from './role-store.ts';

type Db = Kysely<Schema>;

const rowOf = (grantee: Grantee, target: GrantTarget, inherited: boolean) => ({
  user_id: 'userId' in grantee ? grantee.userId : null,
  group_id: 'groupId' in grantee ? grantee.groupId : null,
  project_id: target.kind === 'project' ? target.id : null,
  domain_id: target.kind === 'domain' ? target.id : null,
  inherited,
});

function matching(grantee: Grantee, target: GrantTarget, inherited: boolean): RawBuilder<boolean> {
  const row = rowOf(grantee, target, inherited);
  const whose = row.user_id === null ? sql`group_id = ${row.group_id}` : sql`user_id = ${row.user_id}`;
  return sql<boolean>`${whose} AND inherited = ${inherited}
    AND project_id IS NOT DISTINCT FROM ${row.project_id}::text AND role_assignments.domain_id IS NOT DISTINCT FROM ${row.domain_id}::text`;
}

export async function insertGrant(db: Db, grant: Grant): Promise<void> {
  await db
    .insertInto('role_assignments')
    .values({ role_id: grant.roleId, ...rowOf(grant, grant.target, grant.inherited ?? false) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function deleteGrant(db: Db, grant: Grant): Promise<boolean> {
  const result = await db
    .deleteFrom('role_assignments')
    .where('role_id', '=', grant.roleId)
    .where(matching(grant, grant.target, grant.inherited ?? false))
    .executeTakeFirst();
  return result.numDeletedRows > 0n;
}

/** The roles that were assigned there, without the implied ones and those that come from elsewhere. */
export async function listGrantedRoles(db: Db, grantee: Grantee, target: GrantTarget, inherited: boolean): Promise<Role[]> {
  const rows = await db
    .selectFrom('role_assignments')
    .innerJoin('roles', 'roles.id', 'role_assignments.role_id')
    .selectAll('roles')
    .where(matching(grantee, target, inherited))
    .orderBy('roles.name')
    .execute();
  return rows.map(roleOf);
}

const nothing = sql`NULL::text`;

/** Enabled projects (in enabled domains) where the user has a role. */
export async function listProjectsOfUser(db: Db, userId: string): Promise<Project[]> {
  // First those that any grant could reach, by index; then, of these few, the rule itself.
  const held = heldRoles({ user: sql`${userId}::text`, project: sql`p.id`, domain: nothing, system: sql`false` });
  const { rows } = await sql<Selectable<ProjectsTable>>`
    WITH RECURSIVE granted AS (
      SELECT project_id, domain_id, inherited FROM role_assignments WHERE user_id = ${userId}
      UNION ALL
      SELECT a.project_id, a.domain_id, a.inherited
        FROM group_members m JOIN role_assignments a ON a.group_id = m.group_id WHERE m.user_id = ${userId}
    ), reached AS (
      SELECT project_id AS id, inherited FROM granted WHERE project_id IS NOT NULL
      UNION
      SELECT p.id, true FROM granted g JOIN projects p ON p.domain_id = g.domain_id WHERE g.inherited
      UNION
      SELECT p.id, true FROM reached r JOIN projects p ON p.parent_id = r.id WHERE r.inherited
    )
    SELECT p.* FROM projects p JOIN domains d ON d.id = p.domain_id
     WHERE p.enabled AND d.enabled AND p.id IN (SELECT id FROM reached) AND EXISTS (SELECT FROM ${held} AS held)
     ORDER BY p.name
  `.execute(db);
  return rows.map(projectOf);
}

export async function listDomainsOfUser(db: Db, userId: string): Promise<Domain[]> {
  const held = heldRoles({ user: sql`${userId}::text`, project: nothing, domain: sql`d.id`, system: sql`false` });
  const { rows } = await sql<Selectable<DomainsTable>>`
    SELECT d.* FROM domains d
     WHERE d.enabled AND EXISTS (SELECT FROM ${held} AS held)
       AND d.id IN (
         SELECT domain_id FROM role_assignments WHERE user_id = ${userId}
         UNION ALL
         SELECT a.domain_id FROM group_members m JOIN role_assignments a ON a.group_id = m.group_id WHERE m.user_id = ${userId})
     ORDER BY d.name
  `.execute(db);
  return rows.map(domainOf);
}

/** True when any role counts for the user on the whole system. */
export async function isOfSystem(db: Db, userId: string): Promise<boolean> {
  const held = heldRoles({ user: sql`${userId}::text`, project: nothing, domain: nothing, system: sql`true` });
  const { rows } = await sql`SELECT 1 FROM ${held} AS held LIMIT 1`.execute(db);
  return rows.length > 0;
}
