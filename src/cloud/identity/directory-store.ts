/** The SQL of domains, projects and users. */
import { type Kysely, type Selectable, sql } from 'kysely';
import type { DomainsTable, ProjectsTable, UsersTable } from '../database/schema.ts';
import { json, type Schema, type Timestamp } from '../database/service.ts';
import type { Domain, Project, User, UserOptions } from './entities.ts';

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

export const domainOf = (row: Selectable<DomainsTable>): Domain => ({
  id: row.id,
  name: row.name,
  description: row.description,
  enabled: row.enabled,
  immutable: row.immutable,
  extra: row.extra,
});

const domainValues = ({ id: _, ...domain }: Domain) => ({ ...domain, extra: json(domain.extra) });

export async function listDomains(db: Db, filter: DomainFilter): Promise<Domain[]> {
  let query = db.selectFrom('domains').selectAll().orderBy('name');
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.enabled !== undefined) query = query.where('enabled', '=', filter.enabled);
  return (await query.execute()).map(domainOf);
}

export async function findDomain(db: Db, id: string): Promise<Domain | undefined> {
  const row = await db.selectFrom('domains').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : domainOf(row);
}

/** Nobody changes or deletes the domain until the transaction ends. */
export async function lockDomain(db: Db, id: string): Promise<Domain | undefined> {
  const row = await db.selectFrom('domains').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : domainOf(row);
}

export async function insertDomain(db: Db, domain: Domain): Promise<void> {
  await db
    .insertInto('domains')
    .values({ id: domain.id, ...domainValues(domain) })
    .execute();
}

export async function updateDomain(db: Db, domain: Domain): Promise<void> {
  await db.updateTable('domains').set(domainValues(domain)).where('id', '=', domain.id).execute();
}

/** With everything in it. */
export async function deleteDomain(db: Db, id: string): Promise<void> {
  await db.deleteFrom('users').where('domain_id', '=', id).execute();
  await db.deleteFrom('projects').where('domain_id', '=', id).execute();
  await db.deleteFrom('domains').where('id', '=', id).execute();
}

// projects

export const projectOf = (row: Selectable<ProjectsTable>): Project => ({
  id: row.id,
  domainId: row.domain_id,
  parentId: row.parent_id,
  name: row.name,
  description: row.description,
  enabled: row.enabled,
  immutable: row.immutable,
  extra: row.extra,
});

const projectValues = (project: Project) => ({
  domain_id: project.domainId,
  parent_id: project.parentId,
  name: project.name,
  description: project.description,
  enabled: project.enabled,
  immutable: project.immutable,
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

/** From the project's parent up to the top of its domain, the nearest first. */
export async function listProjectsAbove(db: Db, project: Project): Promise<Project[]> {
  const { rows } = await sql<Selectable<ProjectsTable>>`
    WITH RECURSIVE line AS (
      SELECT p.*, 1 AS height FROM projects p WHERE p.id = ${project.parentId}
      UNION ALL
      SELECT p.*, line.height + 1 FROM line JOIN projects p ON p.id = line.parent_id
    )
    SELECT * FROM line ORDER BY height
  `.execute(db);
  return rows.map(projectOf);
}

/** All projects below it, parents before their children. */
export async function listProjectsBelow(db: Db, id: string): Promise<Project[]> {
  const { rows } = await sql<Selectable<ProjectsTable>>`
    WITH RECURSIVE tree AS (
      SELECT p.*, 1 AS depth FROM projects p WHERE p.parent_id = ${id}
      UNION ALL
      SELECT p.*, tree.depth + 1 FROM tree JOIN projects p ON p.parent_id = tree.id
    )
    SELECT * FROM tree ORDER BY depth, name
  `.execute(db);
  return rows.map(projectOf);
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
  // Only `userValues` writes it.
  options: row.options as UserOptions,
  extra: row.extra,
});

const userValues = (user: User) => ({
  domain_id: user.domainId,
  name: user.name,
  enabled: user.enabled,
  default_project_id: user.defaultProjectId,
  options: json(user.options),
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
  readonly options: UserOptions;
  readonly failedLogins: number;
  readonly failedLoginAt: Timestamp | null;
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
    .select([
      'users.id',
      'users.enabled',
      'users.password_hash as passwordHash',
      'users.default_project_id as defaultProjectId',
      sql<UserOptions>`users.options`.as('options'),
      'users.failed_logins as failedLogins',
      'users.failed_login_at as failedLoginAt',
    ]);
  if ('id' in key) return query.where('users.id', '=', key.id).executeTakeFirst();
  const named = query.where('users.name', '=', key.name);
  const { domain } = key;
  return 'id' in domain
    ? named.where('domains.id', '=', domain.id).executeTakeFirst()
    : named.where('domains.name', '=', domain.name).executeTakeFirst();
}

/** Counts from one again when the last failure was longer ago than `since`. */
export async function noteFailedLogin(db: Db, userId: string, now: Timestamp, since: Timestamp): Promise<void> {
  const counted = sql<number>`CASE WHEN failed_login_at > ${since}::timestamptz THEN failed_logins + 1 ELSE 1 END`;
  await db.updateTable('users').set({ failed_logins: counted, failed_login_at: now }).where('id', '=', userId).execute();
}

export async function forgetFailedLogins(db: Db, userId: string): Promise<void> {
  await db.updateTable('users').set({ failed_logins: 0, failed_login_at: null }).where('id', '=', userId).execute();
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
