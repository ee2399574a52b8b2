/** The SQL of the list of role assignments: as they were made, or as they count in the end. */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Schema } from '../database/service.ts';
import type { Assignment, AssignmentFilter } from './entities.ts';
import type { Owned } from './token.ts';

interface AssignmentRow {
  user_id: string | null;
  user_name: string | null;
  user_domain_id: string | null;
  user_domain_name: string | null;
  group_id: string | null;
  group_name: string | null;
  group_domain_id: string | null;
  group_domain_name: string | null;
  role_id: string;
  role_name: string;
  role_domain_id: string | null;
  role_domain_name: string | null;
  project_id: string | null;
  project_name: string | null;
  project_domain_id: string | null;
  project_domain_name: string | null;
  domain_id: string | null;
  domain_name: string | null;
  inherited: boolean;
  source_role_id: string;
  source_group_id: string | null;
  source_project_id: string | null;
  source_domain_id: string | null;
}

const asMade = sql`
  line AS (
    SELECT user_id, group_id, role_id, project_id, domain_id, inherited, role_id AS source_role_id,
           NULL::text AS source_group_id, NULL::text AS source_project_id, NULL::text AS source_domain_id
      FROM role_assignments
  )`;

/** Inherited ones on each project below, groups as their members, roles with those they imply (and without those of domains). */
const asCounted = sql`
  below AS (
    SELECT p.parent_id AS top, p.id FROM projects p
     WHERE p.parent_id IN (SELECT project_id FROM role_assignments WHERE inherited AND project_id IS NOT NULL)
    UNION ALL
    SELECT b.top, p.id FROM below b JOIN projects p ON p.parent_id = b.id
  ), placed AS (
    SELECT a.user_id, a.group_id, a.role_id, a.project_id, a.domain_id, NULL::text AS source_project_id, NULL::text AS source_domain_id
      FROM role_assignments a WHERE NOT a.inherited
    UNION ALL
    SELECT a.user_id, a.group_id, a.role_id, b.id, NULL, a.project_id, NULL
      FROM role_assignments a JOIN below b ON b.top = a.project_id WHERE a.inherited
    UNION ALL
    SELECT a.user_id, a.group_id, a.role_id, p.id, NULL, NULL, a.domain_id
      FROM role_assignments a JOIN projects p ON p.domain_id = a.domain_id WHERE a.inherited
  ), personal AS (
    SELECT coalesce(a.user_id, m.user_id) AS user_id, a.role_id, a.project_id, a.domain_id,
           a.group_id AS source_group_id, a.source_project_id, a.source_domain_id
      FROM placed a LEFT JOIN group_members m ON m.group_id = a.group_id
     WHERE coalesce(a.user_id, m.user_id) IS NOT NULL
  ), held AS (
    SELECT p.*, p.role_id AS source_role_id FROM personal p
    UNION
    SELECT h.user_id, i.implied_role_id, h.project_id, h.domain_id, h.source_group_id, h.source_project_id, h.source_domain_id, h.source_role_id
      FROM held h JOIN role_implications i ON i.prior_role_id = h.role_id
  ), line AS (
    SELECT DISTINCT ON (h.user_id, h.role_id, h.project_id, h.domain_id)
           h.user_id, NULL::text AS group_id, h.role_id, h.project_id, h.domain_id, false AS inherited,
           h.source_role_id, h.source_group_id, h.source_project_id, h.source_domain_id
      FROM held h JOIN roles r ON r.id = h.role_id AND r.domain_id IS NULL
     ORDER BY h.user_id, h.role_id, h.project_id, h.domain_id,
              (h.source_role_id = h.role_id) DESC, (h.source_project_id IS NULL AND h.source_domain_id IS NULL) DESC, (h.source_group_id IS NULL) DESC,
              h.source_role_id, h.source_group_id, h.source_project_id, h.source_domain_id
  )`;

export async function listAssignments(db: Kysely<Schema>, filter: AssignmentFilter): Promise<Assignment[]> {
  const { rows } = await sql<AssignmentRow>`
    WITH RECURSIVE wanted_projects AS (
      SELECT id FROM projects WHERE id = ${filter.projectId ?? null}
      UNION
      SELECT p.id FROM wanted_projects w JOIN projects p ON p.parent_id = w.id WHERE ${filter.includeSubtree ?? false}
    ), ${filter.effective === true ? asCounted : asMade}
    SELECT u.id AS user_id, u.name AS user_name, ud.id AS user_domain_id, ud.name AS user_domain_name,
           g.id AS group_id, g.name AS group_name, gd.id AS group_domain_id, gd.name AS group_domain_name,
           r.id AS role_id, r.name AS role_name, rd.id AS role_domain_id, rd.name AS role_domain_name,
           p.id AS project_id, p.name AS project_name, pd.id AS project_domain_id, pd.name AS project_domain_name,
           d.id AS domain_id, d.name AS domain_name,
           a.inherited, a.source_role_id, a.source_group_id, a.source_project_id, a.source_domain_id
      FROM line a
      LEFT JOIN users u ON u.id = a.user_id
      LEFT JOIN domains ud ON ud.id = u.domain_id
      LEFT JOIN groups g ON g.id = a.group_id
      LEFT JOIN domains gd ON gd.id = g.domain_id
      JOIN roles r ON r.id = a.role_id
      LEFT JOIN domains rd ON rd.id = r.domain_id
      LEFT JOIN projects p ON p.id = a.project_id
      LEFT JOIN domains pd ON pd.id = p.domain_id
      LEFT JOIN domains d ON d.id = a.domain_id
     WHERE ${conditionOf(filter)}
     ORDER BY u.name, u.id, g.name, g.id, p.name, p.id, d.name, d.id, r.name, r.id, a.inherited
  `.execute(db);
  return rows.map(assignmentOf);
}

function conditionOf(filter: AssignmentFilter): RawBuilder<boolean> {
  const parts: RawBuilder<unknown>[] = [sql`true`];
  if (filter.userId !== undefined) parts.push(sql`a.user_id = ${filter.userId}`);
  if (filter.groupId !== undefined) parts.push(sql`a.group_id = ${filter.groupId}`);
  if (filter.roleId !== undefined) parts.push(sql`a.role_id = ${filter.roleId}`);
  if (filter.projectId !== undefined) parts.push(sql`a.project_id IN (SELECT id FROM wanted_projects)`);
  if (filter.domainId !== undefined) parts.push(sql`a.domain_id = ${filter.domainId}`);
  if (filter.system === true) parts.push(sql`a.project_id IS NULL AND a.domain_id IS NULL`);
  if (filter.inherited === true) {
    parts.push(filter.effective === true ? sql`(a.source_project_id IS NOT NULL OR a.source_domain_id IS NOT NULL)` : sql`a.inherited`);
  }
  return sql<boolean>`${sql.join(parts, sql` AND `)}`;
}

function assignmentOf(row: AssignmentRow): Assignment {
  return {
    user: ownedOf(row.user_id, row.user_name, row.user_domain_id, row.user_domain_name),
    group: ownedOf(row.group_id, row.group_name, row.group_domain_id, row.group_domain_name),
    role: { id: row.role_id, name: row.role_name, domain: referenceOf(row.role_domain_id, row.role_domain_name) },
    project: ownedOf(row.project_id, row.project_name, row.project_domain_id, row.project_domain_name),
    domain: referenceOf(row.domain_id, row.domain_name),
    inherited: row.inherited,
    source: {
      roleId: row.source_role_id,
      groupId: row.source_group_id,
      projectId: row.source_project_id,
      domainId: row.source_domain_id,
    },
  };
}

const referenceOf = (id: string | null, name: string | null) => (id === null ? null : { id, name: name ?? '' });

function ownedOf(id: string | null, name: string | null, domainId: string | null, domainName: string | null): Owned | null {
  const domain = referenceOf(domainId, domainName);
  return id === null || domain === null ? null : { id, name: name ?? '', domain };
}
