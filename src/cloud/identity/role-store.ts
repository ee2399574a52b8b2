/** The SQL of roles, and of roles that imply others. */
import type { Kysely, Selectable } from 'kysely';
import type { RolesTable } from '../database/schema.ts';
import type { Schema } from '../database/service.ts';
import type { Implication, Role } from './entities.ts';

type Db = Kysely<Schema>;

export interface RoleFilter {
  readonly name?: string | undefined;
  /** Null: those of no domain. */
  readonly domainId?: string | null | undefined;
}

export const roleOf = (row: Selectable<RolesTable>): Role => ({
  id: row.id,
  name: row.name,
  description: row.description,
  domainId: row.domain_id,
  immutable: row.immutable,
});

const roleValues = ({ name, description, domainId, immutable }: Role) => ({ name, description, domain_id: domainId, immutable });

export async function listRoles(db: Db, filter: RoleFilter): Promise<Role[]> {
  let query = db.selectFrom('roles').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.domainId !== undefined) query = query.where('domain_id', 'is not distinct from', filter.domainId);
  return (await query.execute()).map(roleOf);
}

export async function findRole(db: Db, id: string): Promise<Role | undefined> {
  const row = await db.selectFrom('roles').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : roleOf(row);
}

/** Nobody changes or deletes the role until the transaction ends. */
export async function lockRole(db: Db, id: string): Promise<Role | undefined> {
  const row = await db.selectFrom('roles').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : roleOf(row);
}

export async function insertRole(db: Db, role: Role): Promise<void> {
  await db
    .insertInto('roles')
    .values({ id: role.id, ...roleValues(role) })
    .execute();
}

export async function updateRole(db: Db, role: Role): Promise<void> {
  await db.updateTable('roles').set(roleValues(role)).where('id', '=', role.id).execute();
}

export async function deleteRole(db: Db, id: string): Promise<void> {
  await db.deleteFrom('roles').where('id', '=', id).execute();
}

export async function listImplications(db: Db, priorId?: string): Promise<Implication[]> {
  let query = db.selectFrom('role_implications').selectAll();
  if (priorId !== undefined) query = query.where('prior_role_id', '=', priorId);
  const [roles, pairs] = await Promise.all([listRoles(db, {}), query.execute()]);
  const byId = new Map(roles.map((role) => [role.id, role]));
  return pairs.flatMap((pair) => {
    const prior = byId.get(pair.prior_role_id);
    const implied = byId.get(pair.implied_role_id);
    return prior === undefined || implied === undefined ? [] : [{ prior, implied }];
  });
}

export async function insertImplication(db: Db, priorId: string, impliedId: string): Promise<void> {
  await db
    .insertInto('role_implications')
    .values({ prior_role_id: priorId, implied_role_id: impliedId })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function deleteImplication(db: Db, priorId: string, impliedId: string): Promise<boolean> {
  const query = db.deleteFrom('role_implications').where('prior_role_id', '=', priorId).where('implied_role_id', '=', impliedId);
  return (await query.executeTakeFirst()).numDeletedRows > 0n;
}
