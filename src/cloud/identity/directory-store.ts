/** The SQL of domains, projects, users and roles. */
import type { Kysely, Selectable } from 'kysely';
import type { ProjectsTable, UsersTable } from '../database/schema.ts';
import { json, type Schema } from '../database/service.ts';
import type { Domain, Project, Role, User } from './entities.ts';

type Db = Kysely<Schema>;

export interface DomainFilter {
  readonly name?: string | undefined;
  readonly enabled?: boolean | undefined;
}

export interface OwnedFilter extends DomainFilter {
  readonly domainId?: string | undefined;
}

export interface ProjectFilter extends OwnedFilter {
  readonly parentId?: string | undefined;
}

// domains

export async function listDomains(db: Db, filter: DomainFilter): Promise<Domain[]> {
  let query = db.selectFrom('domains').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.enabled !== undefined) query = query.where('enabled', '=', filter.enabled);
  return query.execute();
}

export async function findDomain(db: Db, id: string): Promise<Domain | undefined> {
  return db.selectFrom('domains').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function insertDomain(db: Db, domain: Domain): Promise<void> {
  await db.insertInto('domains').values(domain).execute();
}

export async function updateDomain(db: Db, domain: Domain): Promise<void> {
  const { id, ...values } = domain;
  await db.updateTable('domains').set(values).where('id', '=', id).execute();
}

/** With everything in it. False = it is enabled (again). */
export async function deleteDisabledDomain(db: Db, id: string): Promise<boolean> {
  const domain = await db.selectFrom('domains').select('enabled').where('id', '=', id).forUpdate().executeTakeFirst();
  if (domain?.enabled !== false) return false;
  await db.deleteFrom('users').where('domain_id', '=', id).execute();
  await db.deleteFrom('projects').where('domain_id', '=', id).execute();
  await db.deleteFrom('domains').where('id', '=', id).execute();
  return true;
}

// projects

export const projectOf = (row: Selectable<ProjectsTable>): Project => ({
  id: row.id,
  domainId: row.domain_id,
  parentId: row.parent_id,
  name: row.name,
  description: row.description,
  enabled: row.enabled,
  extra: row.extra,
});

const projectValues = (project: Project) => ({
  domain_id: project.domainId,
  parent_id: project.parentId,
  name: project.name,
  description: project.description,
  enabled: project.enabled,
  extra: json(project.extra),
});

export async function listProjects(db: Db, filter: ProjectFilter): Promise<Project[]> {
  let query = db.selectFrom('projects').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.enabled !== undefined) query = query.where('enabled', '=', filter.enabled);
  if (filter.domainId !== undefined) query = query.where('domain_id', '=', filter.domainId);
  if (filter.parentId !== undefined) query = query.where('parent_id', '=', filter.parentId);
  return (await query.execute()).map(projectOf);
}

export async function findProject(db: Db, id: string): Promise<Project | undefined> {
  const row = await db.selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : projectOf(row);
}

export async function insertProject(db: Db, project: Project): Promise<void> {
  await db
    .insertInto('projects')
    .values({ id: project.id, ...projectValues(project) })
    .execute();
}

export async function updateProject(db: Db, project: Project): Promise<void> {
  await db.updateTable('projects').set(projectValues(project)).where('id', '=', project.id).execute();
}

/** Keeps the project from being deleted until the transaction ends. */
export async function holdProject(db: Db, id: string): Promise<Project | undefined> {
  const row = await db.selectFrom('projects').selectAll().where('id', '=', id).forShare().executeTakeFirst();
  return row === undefined ? undefined : projectOf(row);
}

/** Waits for those who hold it, so that children in the making are seen. */
export async function lockProject(db: Db, id: string): Promise<Project | undefined> {
  const row = await db.selectFrom('projects').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : projectOf(row);
}

export async function hasChildProjects(db: Db, id: string): Promise<boolean> {
  return (await db.selectFrom('projects').select('id').where('parent_id', '=', id).limit(1).executeTakeFirst()) !== undefined;
}

export async function deleteProject(db: Db, id: string): Promise<boolean> {
  await db.updateTable('users').set({ default_project_id: null }).where('default_project_id', '=', id).execute();
  return (await db.deleteFrom('projects').where('id', '=', id).executeTakeFirst()).numDeletedRows > 0n;
}

// users

export const userOf = (row: Selectable<UsersTable>): User => ({
  id: row.id,
  domainId: row.domain_id,
  name: row.name,
  enabled: row.enabled,
  defaultProjectId: row.default_project_id,
  extra: row.extra,
});

const userValues = (user: User) => ({
  domain_id: user.domainId,
  name: user.name,
  enabled: user.enabled,
  default_project_id: user.defaultProjectId,
  extra: json(user.extra),
});

export async function listUsers(db: Db, filter: OwnedFilter): Promise<User[]> {
  let query = db.selectFrom('users').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.enabled !== undefined) query = query.where('enabled', '=', filter.enabled);
  if (filter.domainId !== undefined) query = query.where('domain_id', '=', filter.domainId);
  return (await query.execute()).map(userOf);
}

export async function findUser(db: Db, id: string): Promise<User | undefined> {
  const row = await db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : userOf(row);
}

export interface UserLogin {
  readonly id: string;
  readonly enabled: boolean;
  readonly passwordHash: string | null;
  readonly defaultProjectId: string | null;
}

export type UserKey = { readonly id: string } | { readonly name: string; readonly domain: DomainKey };
export type DomainKey = { readonly id: string } | { readonly name: string };

export async function findLogin(db: Db, key: UserKey): Promise<UserLogin | undefined> {
  const query = db
    .selectFrom('users')
    .innerJoin('domains', 'domains.id', 'users.domain_id')
    .select(['users.id', 'users.enabled', 'users.password_hash as passwordHash', 'users.default_project_id as defaultProjectId']);
  if ('id' in key) return query.where('users.id', '=', key.id).executeTakeFirst();
  const named = query.where('users.name', '=', key.name);
  const { domain } = key;
  return 'id' in domain
    ? named.where('domains.id', '=', domain.id).executeTakeFirst()
    : named.where('domains.name', '=', domain.name).executeTakeFirst();
}

/** The hash that counts now, held still until the transaction ends. */
export async function lockPasswordHash(db: Db, userId: string): Promise<string | null | undefined> {
  const row = await db.selectFrom('users').select('password_hash').where('id', '=', userId).forShare().executeTakeFirst();
  return row?.password_hash;
}

export async function insertUser(db: Db, user: User, passwordHash: string | null): Promise<void> {
  await db
    .insertInto('users')
    .values({ id: user.id, ...userValues(user), password_hash: passwordHash })
    .execute();
}

export async function updateUser(db: Db, user: User): Promise<void> {
  await db.updateTable('users').set(userValues(user)).where('id', '=', user.id).execute();
}

/** Nobody logs in with a password, or changes the user, until the transaction ends. */
export async function lockUser(db: Db, id: string): Promise<User | undefined> {
  const row = await db.selectFrom('users').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst();
  return row === undefined ? undefined : userOf(row);
}

export async function setPasswordHash(db: Db, userId: string, passwordHash: string | null): Promise<void> {
  await db.updateTable('users').set({ password_hash: passwordHash }).where('id', '=', userId).execute();
}

export async function deleteUser(db: Db, id: string): Promise<boolean> {
  return (await db.deleteFrom('users').where('id', '=', id).executeTakeFirst()).numDeletedRows > 0n;
}

// roles

export async function listRoles(db: Db, filter: { readonly name?: string | undefined }): Promise<Role[]> {
  let query = db.selectFrom('roles').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  return query.execute();
}

export async function findRole(db: Db, id: string): Promise<Role | undefined> {
  return db.selectFrom('roles').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function insertRole(db: Db, role: Role): Promise<void> {
  await db.insertInto('roles').values(role).execute();
}

export async function updateRole(db: Db, role: Role): Promise<void> {
  await db.updateTable('roles').set({ name: role.name, description: role.description }).where('id', '=', role.id).execute();
}

export async function deleteRole(db: Db, id: string): Promise<boolean> {
  return (await db.deleteFrom('roles').where('id', '=', id).executeTakeFirst()).numDeletedRows > 0n;
}
