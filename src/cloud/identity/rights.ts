/**
 * The one rule of who has which role where, as SQL. A role counts for a user at a target when it was granted there to the user or to a
 * group of theirs, or, for a project, when it was granted to be inherited at a project above or at the domain; and with it the roles
 * that it implies. Roles of domains only stand for those that they imply.
 */
import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { Schema } from '../database/service.ts';

type Expression = RawBuilder<unknown>;

export interface Place {
  readonly user: Expression;
  /** Null, or the project that roles are asked for. */
  readonly project: Expression;
  readonly domain: Expression;
  /** True: the whole system. */
  readonly system: Expression;
}

/** A subquery with the ids (`role_id`) of the roles that count at a place. It may refer to columns of the statement around it. */
export function heldRoles({ user, project, domain, system }: Place): RawBuilder<unknown> {
  return sql`(
    WITH RECURSIVE line AS (
      SELECT id, parent_id, domain_id, false AS above FROM projects WHERE id = ${project}
      UNION ALL
      SELECT p.id, p.parent_id, p.domain_id, true FROM line JOIN projects p ON p.id = line.parent_id
    ), granted AS (
      SELECT role_id, project_id, domain_id, inherited FROM role_assignments WHERE user_id = ${user}
      UNION ALL
      SELECT a.role_id, a.project_id, a.domain_id, a.inherited
        FROM group_members m JOIN role_assignments a ON a.group_id = m.group_id WHERE m.user_id = ${user}
    ), held AS (
      SELECT role_id FROM granted
       WHERE CASE
               WHEN inherited THEN project_id IN (SELECT id FROM line WHERE above) OR domain_id IN (SELECT domain_id FROM line)
               WHEN project_id IS NOT NULL THEN project_id = ${project}
               WHEN domain_id IS NOT NULL THEN domain_id = ${domain}
               ELSE ${system}
             END
      UNION
      SELECT i.implied_role_id FROM held JOIN role_implications i ON i.prior_role_id = held.role_id
    )
    SELECT held.role_id FROM held JOIN roles r ON r.id = held.role_id WHERE r.domain_id IS NULL
  )`;
}

/**
 * Application credentials that hand on a role which their user does not have any more end: they must not come back to life when the
 * role does. Call it in the transaction that takes rights away.
 */
export async function endOverreachingCredentials(db: Kysely<Schema>, users: readonly string[] | 'everyone'): Promise<void> {
  const held = heldRoles({ user: sql`c.user_id`, project: sql`c.project_id`, domain: sql`NULL::text`, system: sql`false` });
  const whose = users === 'everyone' ? sql`true` : sql`c.user_id = ANY(${[...users]}::text[])`;
  await sql`
    DELETE FROM application_credentials c
     WHERE ${whose} AND EXISTS (SELECT 1 FROM unnest(c.role_ids) AS handed_on(id) WHERE handed_on.id NOT IN ${held})
  `.execute(db);
}
