import { forbidden, notFound, type ProductError } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type Tx } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { findDomain } from './directory-store.ts';
import { builtInRoleNames, type Implication, isBuiltIn, type Role } from './entities.ts';
import type { Some } from './records.ts';
import { couldNotFind, duplicate, immutable } from './refusals.ts';
import { endOverreachingCredentials } from './rights.ts';
import {
  deleteImplication,
  deleteRole,
  findRole,
  insertImplication,
  insertRole,
  listImplications,
  listRoles,
  lockRole,
  updateRole,
} from './role-store.ts';
import type { ValidToken } from './token.ts';

export interface NewRole {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly domainId?: string | null | undefined;
  readonly immutable?: boolean | undefined;
}

export interface Roles {
  /** Those of one domain, or those of none. */
  list(asker: ValidToken, filter: { readonly name?: string | undefined; readonly domainId: string | null }): Promise<Role[]>;
  get(asker: ValidToken, id: string): Promise<Role>;
  create(asker: ValidToken, input: NewRole): Promise<Role>;
  update(asker: ValidToken, id: string, changes: Some<Omit<NewRole, 'domainId'>>): Promise<Role>;
  delete(asker: ValidToken, id: string): Promise<void>;
  /** All of them, or those of one role. Only direct ones. */
  listImplications(asker: ValidToken, priorId?: string): Promise<Implication[]>;
  /** Refuses with 404 when there is none. */
  getImplication(asker: ValidToken, priorId: string, impliedId: string): Promise<Implication>;
  addImplication(asker: ValidToken, priorId: string, impliedId: string): Promise<Implication>;
  removeImplication(asker: ValidToken, priorId: string, impliedId: string): Promise<void>;
}

export function createRoles({ database }: { database: Database }): Roles {
  async function existing(id: string): Promise<Role> {
    const role = await findRole(database.sql, id);
    if (role === undefined) throw couldNotFind('role', id);
    return role;
  }

  return {
    async list(asker, filter) {
      const { domainId } = filter;
      authoriseDirectory(asker, domainId === null ? 'list_roles' : 'list_domain_roles', { domainId: domainId ?? undefined });
      return listRoles(database.sql, filter);
    },
    async get(asker, id) {
      authoriseDirectory(asker, 'get_role');
      return existing(id);
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_role');
      const domainId = input.domainId ?? null;
      if (domainId !== null && (await findDomain(database.sql, domainId)) === undefined) throw couldNotFind('domain', domainId);
      const role = {
        id: newHexId(),
        name: input.name,
        description: input.description ?? null,
        domainId,
        immutable: input.immutable ?? false,
      };
      await refuseDuplicate(role.name, domainId, () => insertRole(database.sql, role));
      return role;
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_role');
      const { domainId } = await existing(id);
      return refuseDuplicate(changes.name ?? '', domainId, () => database.transact((tx) => update(tx, id, changes)));
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_role');
      await database.transact(async (tx) => {
        const role = await lockRole(tx.sql, id);
        if (role === undefined) throw couldNotFind('role', id);
        if (isBuiltIn(role) || role.immutable) throw immutable('delete', 'role', id);
        await deleteRole(tx.sql, id);
        await endOverreachingCredentials(tx.sql, 'everyone');
      });
    },
    async listImplications(asker, priorId) {
      authoriseDirectory(asker, priorId === undefined ? 'list_role_inference_rules' : 'list_implied_roles');
      if (priorId !== undefined) await existing(priorId);
      return listImplications(database.sql, priorId);
    },
    async getImplication(asker, priorId, impliedId) {
      authoriseDirectory(asker, 'get_implied_role');
      const found = await listImplications(database.sql, priorId);
      const implication = found.find(({ implied }) => implied.id === impliedId);
      if (implication === undefined) throw noImplication(priorId, impliedId);
      return implication;
    },
    async addImplication(asker, priorId, impliedId) {
      authoriseDirectory(asker, 'create_implied_role');
      const implication = { prior: await existing(priorId), implied: await existing(impliedId) };
      refuseImplication(implication);
      try {
        await insertImplication(database.sql, priorId, impliedId);
      } catch (error) {
        // One of both went away meanwhile.
        if (isForeignKeyViolation(error)) throw couldNotFind('role', impliedId);
        throw error;
      }
      return implication;
    },
    async removeImplication(asker, priorId, impliedId) {
      authoriseDirectory(asker, 'delete_implied_role');
      const [prior, implied] = [await existing(priorId), await existing(impliedId)];
      if (isOfService({ prior, implied })) throw forbidden(`${prior.name} always implies ${implied.name}: the service counts on it.`);
      await database.transact(async (tx) => {
        if (!(await deleteImplication(tx.sql, priorId, impliedId))) throw noImplication(priorId, impliedId);
        await endOverreachingCredentials(tx.sql, 'everyone');
      });
    },
  };
}

const noImplication = (priorId: string, impliedId: string): ProductError => notFound(`${priorId} does not imply ${impliedId}.`);

/** Those that are there from the start: each built-in role implies the next. */
function isOfService({ prior, implied }: Implication): boolean {
  const names: readonly string[] = builtInRoleNames;
  const placeOf = (role: Role): number => (isBuiltIn(role) ? names.indexOf(role.name) : -1);
  return placeOf(prior) >= 0 && placeOf(implied) === placeOf(prior) + 1;
}

/** Nobody comes to the role admin by way of a lesser one, and a role of a domain means something in that domain only. */
function refuseImplication({ prior, implied }: Implication): void {
  const isAdmin = isBuiltIn(implied) && implied.name === builtInRoleNames[0];
  const leavesDomain = prior.domainId === null && implied.domainId !== null;
  if (isAdmin || leavesDomain) throw forbidden(`${implied.id} cannot be an implied roles.`);
  // Whoever has a built-in role could do more at once than the policy table says.
  if (isBuiltIn(prior) && !isOfService({ prior, implied })) throw immutable('update', 'role', prior.id);
}

async function update({ sql }: Tx, id: string, changes: Some<NewRole>): Promise<Role> {
  const old = await lockRole(sql, id);
  if (old === undefined) throw couldNotFind('role', id);
  if (isBuiltIn(old) || (old.immutable && changes.immutable !== false)) throw immutable('update', 'role', id);
  const role: Role = {
    ...old,
    name: changes.name ?? old.name,
    description: changes.description === undefined ? old.description : changes.description,
    immutable: changes.immutable ?? old.immutable,
  };
  await updateRole(sql, role);
  return role;
}

async function refuseDuplicate<T>(name: string, domainId: string | null, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('role', name, domainId ?? undefined);
    if (isForeignKeyViolation(error)) throw couldNotFind('domain', domainId ?? '');
    throw error;
  }
}
