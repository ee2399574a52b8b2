/**
 * What has to be there before anybody can log in. Runs at every start, changes only what is missing, and may run twice at once: every
 * insert gives way to what is there already.
 *
 * The admin's password lies in a file of the operator. It counts again only when the file's content changes, not at each start:
 * otherwise a password changed through the API would fall back to the old one with the next restart.
 */
import { newHexId } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import { json } from '../database/service.ts';
import type { BuiltInCatalog } from './catalog-entities.ts';
import { writeBuiltIn } from './catalog-store.ts';
import { builtInRoleNames, defaultDomainId } from './entities.ts';
import type { Passwords } from './passwords.ts';
import { deleteTokensOfUser } from './token-store.ts';

export interface BootstrapDeps {
  readonly database: Database;
  readonly passwords: Passwords;
}

const implications = [
  ['admin', 'member'],
  ['member', 'reader'],
] as const;

export interface BootstrapOptions {
  readonly adminPassword: string;
  /** What this server offers. None: the catalog stays as it is. */
  readonly catalog?: BuiltInCatalog;
}

export async function bootstrap({ database, passwords }: BootstrapDeps, { adminPassword, catalog }: BootstrapOptions): Promise<void> {
  await database.transact(async (tx) => {
    const { sql } = tx;
    if (catalog !== undefined) await writeBuiltIn(tx, catalog);
    await sql
      .insertInto('domains')
      .values({ id: defaultDomainId, name: 'Default', description: 'The default domain' })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    for (const name of builtInRoleNames) {
      await sql
        .insertInto('roles')
        .values({ id: newHexId(), name })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
    for (const [prior, implied] of implications) {
      await sql
        .insertInto('role_implications')
        .values((values) => ({
          prior_role_id: values.selectFrom('roles').select('id').where('name', '=', prior).where('domain_id', 'is', null),
          implied_role_id: values.selectFrom('roles').select('id').where('name', '=', implied).where('domain_id', 'is', null),
        }))
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
    await sql
      .insertInto('projects')
      .values({
        id: newHexId(),
        domain_id: defaultDomainId,
        parent_id: defaultDomainId,
        name: 'admin',
        description: 'For the administrator of the cloud',
        extra: json({}),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  });
  await bootstrapAdmin({ database, passwords }, adminPassword);
}

async function bootstrapAdmin({ database, passwords }: BootstrapDeps, adminPassword: string): Promise<void> {
  const known = await database.sql
    .selectFrom('users')
    .select(['id', 'bootstrap_password_hash'])
    .where('domain_id', '=', defaultDomainId)
    .where('name', '=', 'admin')
    .executeTakeFirst();
  const unchanged = known !== undefined && (await passwords.verify(adminPassword, known.bootstrap_password_hash));
  const hash = unchanged ? undefined : await passwords.hash(adminPassword);
  await database.transact(async (tx) => {
    if (hash !== undefined) await setAdminPassword(tx, hash);
    await grantAdmin(tx);
  });
}

async function setAdminPassword({ sql }: Tx, hash: string): Promise<void> {
  const hashes = { password_hash: hash, bootstrap_password_hash: hash };
  const { id } = await sql
    .insertInto('users')
    .values({ id: newHexId(), domain_id: defaultDomainId, name: 'admin', extra: json({}), ...hashes })
    .onConflict((conflict) => conflict.columns(['domain_id', 'name']).doUpdateSet({ ...hashes, enabled: true }))
    .returning('id')
    .executeTakeFirstOrThrow();
  await deleteTokensOfUser(sql, id);
}

/** Role admin on the project admin, and on the system. */
async function grantAdmin({ sql }: Tx): Promise<void> {
  const named = { user: 'admin', project: 'admin' };
  for (const target of ['project', 'system'] as const) {
    await sql
      .insertInto('role_assignments')
      .columns(['user_id', 'role_id', 'project_id'])
      .expression((expression) =>
        expression
          .selectFrom(['users', 'roles', 'projects'])
          .select(({ ref, lit }) => [
            ref('users.id').as('user_id'),
            ref('roles.id').as('role_id'),
            target === 'project' ? ref('projects.id').as('project_id') : lit(null).as('project_id'),
          ])
          .where('users.domain_id', '=', defaultDomainId)
          .where('users.name', '=', named.user)
          .where('roles.name', '=', 'admin')
          .where('roles.domain_id', 'is', null)
          .where('projects.domain_id', '=', defaultDomainId)
          .where('projects.name', '=', named.project),
      )
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}
