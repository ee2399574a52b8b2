/** The SQL of role assignments and of roles that imply others. */

import type { Selectable } from 'kysely';
import { type Kysely, sql } from 'kysely';
import type { ProjectsTable } from '../database/schema.ts';
import type { Schema } from '../database/service.ts';
import { projectOf } from './directory-store.ts';
import type { Assignment, AssignmentFilter, Domain, Grant, GrantTarget, Implication, Project, Role } from './entities.ts';

type Db = Kysely<Schema>;

const columnsOf = (target: GrantTarget) => ({
  project_id: target.kind === 'project' ? target.id : null,
  domain_id: target.kind === 'domain' ? target.id : null,
});

export async function insertGrant(db: Db, { userId, roleId, target }: Grant): Promise<void> {
  await db
    .insertInto('role_assignments')
    .values({ user_id: userId, role_id: roleId, ...columnsOf(target) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function deleteGrant(db: Db, { userId, roleId, target }: Grant): Promise<boolean> {
  const { project_id, domain_id } = columnsOf(target);
  const result = await db
    .deleteFrom('role_assignments')
    .where('user_id', '=', userId)
    .where('role_id', '=', roleId)
    .where('project_id', 'is not distinct from', project_id)
    .where('domain_id', 'is not distinct from', domain_id)
    .executeTakeFirst();
  return result.numDeletedRows > 0n;
}

/** The roles that were assigned there, without the implied ones. */
export async function listGrantedRoles(db: Db, userId: string, target: GrantTarget): Promise<Role[]> {
  const { project_id, domain_id } = columnsOf(target);
  return db
    .selectFrom('role_assignments')
    .innerJoin('roles', 'roles.id', 'role_assignments.role_id')
    .selectAll('roles')
    .where('user_id', '=', userId)
    .where('project_id', 'is not distinct from', project_id)
    .where('domain_id', 'is not distinct from', domain_id)
    .orderBy('roles.name')
    .execute();
}

/** The ids of the roles that count there, with the implied ones. */
export async function effectiveRoleIds(db: Db, userId: string, target: GrantTarget): Promise<Set<string>> {
  const { project_id, domain_id } = columnsOf(target);
  const { rows } = await sql<{ role_id: string }>`
    WITH RECURSIVE held AS (
      SELECT role_id FROM role_assignments
       WHERE user_id = ${userId} AND project_id IS NOT DISTINCT FROM ${project_id} AND domain_id IS NOT DISTINCT FROM ${domain_id}
      UNION
      SELECT i.implied_role_id FROM held JOIN role_implications i ON i.prior_role_id = held.role_id
    )
    SELECT role_id FROM held
  `.execute(db);
  return new Set(rows.map((row) => row.role_id));
}

interface AssignmentRow {
  user_id: string;
  user_name: string;
  user_domain_id: string;
  user_domain_name: string;
  role_id: string;
  role_name: string;
  assigned_role_id: string;
  project_id: string | null;
  project_name: string | null;
  project_domain_id: string | null;
  project_domain_name: string | null;
  domain_id: string | null;
  domain_name: string | null;
}

export async function listAssignments(db: Db, filter: AssignmentFilter): Promise<Assignment[]> {
  const { rows } = await sql<AssignmentRow>`
    WITH RECURSIVE wanted_projects AS (
      SELECT id FROM projects WHERE id = ${filter.projectId ?? null}
      UNION
      SELECT p.id FROM wanted_projects w JOIN projects p ON p.parent_id = w.id WHERE ${filter.includeSubtree ?? false}
    ), expanded AS (
      SELECT user_id, project_id, domain_id, role_id, role_id AS assigned_role_id FROM role_assignments
      UNION
      SELECT e.user_id, e.project_id, e.domain_id, i.implied_role_id, e.assigned_role_id
        FROM expanded e JOIN role_implications i ON i.prior_role_id = e.role_id WHERE ${filter.effective ?? false}
    )
    SELECT DISTINCT ON (u.name, u.id, p.name, p.id, d.name, d.id, r.name, r.id)
           u.id AS user_id, u.name AS user_name, ud.id AS user_domain_id, ud.name AS user_domain_name,
           r.id AS role_id, r.name AS role_name, e.assigned_role_id,
           p.id AS project_id, p.name AS project_name, pd.id AS project_domain_id, pd.name AS project_domain_name,
           d.id AS domain_id, d.name AS domain_name
      FROM expanded e
      JOIN users u ON u.id = e.user_id
      JOIN domains ud ON ud.id = u.domain_id
      JOIN roles r ON r.id = e.role_id
      LEFT JOIN projects p ON p.id = e.project_id
      LEFT JOIN domains pd ON pd.id = p.domain_id
      LEFT JOIN domains d ON d.id = e.domain_id
     WHERE (${filter.userId ?? null}::text IS NULL OR u.id = ${filter.userId ?? null})
       AND (${filter.roleId ?? null}::text IS NULL OR r.id = ${filter.roleId ?? null})
       AND (${filter.projectId ?? null}::text IS NULL OR p.id IN (SELECT id FROM wanted_projects))
       AND (${filter.domainId ?? null}::text IS NULL OR d.id = ${filter.domainId ?? null})
       AND (NOT ${filter.system ?? false}::boolean OR (p.id IS NULL AND d.id IS NULL))
     ORDER BY u.name, u.id, p.name, p.id, d.name, d.id, r.name, r.id, (e.assigned_role_id = r.id) DESC
  `.execute(db);
  return rows.map(assignmentOf);
}

function assignmentOf(row: AssignmentRow): Assignment {
  const projectDomain = { id: row.project_domain_id ?? '', name: row.project_domain_name ?? '' };
  return {
    user: { id: row.user_id, name: row.user_name, domain: { id: row.user_domain_id, name: row.user_domain_name } },
    role: { id: row.role_id, name: row.role_name },
    priorRoleId: row.assigned_role_id === row.role_id ? null : row.assigned_role_id,
    project: row.project_id === null ? null : { id: row.project_id, name: row.project_name ?? '', domain: projectDomain },
    domain: row.domain_id === null ? null : { id: row.domain_id, name: row.domain_name ?? '' },
  };
}

/** Enabled projects (in enabled domains) where the user has a role. */
export async function listProjectsOfUser(db: Db, userId: string): Promise<Project[]> {
  const { rows } = await sql<Selectable<ProjectsTable>>`
    SELECT p.* FROM projects p JOIN domains d ON d.id = p.domain_id
     WHERE p.enabled AND d.enabled AND p.id IN (SELECT project_id FROM role_assignments WHERE user_id = ${userId})
     ORDER BY p.name
  `.execute(db);
  return rows.map(projectOf);
}

export async function listDomainsOfUser(db: Db, userId: string): Promise<Domain[]> {
  const { rows } = await sql<Domain>`
    SELECT id, name, description, enabled FROM domains
     WHERE enabled AND id IN (SELECT domain_id FROM role_assignments WHERE user_id = ${userId})
     ORDER BY name
  `.execute(db);
  return rows;
}

export async function listImplications(db: Db): Promise<Implication[]> {
  const [roles, pairs] = await Promise.all([
    db.selectFrom('roles').selectAll().execute(),
    db.selectFrom('role_implications').selectAll().execute(),
  ]);
  const byId = new Map<string, Role>(roles.map((role) => [role.id, role]));
  return pairs.flatMap((pair) => {
    const prior = byId.get(pair.prior_role_id);
    const implied = byId.get(pair.implied_role_id);
    return prior === undefined || implied === undefined ? [] : [{ prior, implied }];
  });
}
