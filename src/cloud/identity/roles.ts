import { forbidden } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isUniqueViolation } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { deleteRole, findRole, insertRole, listRoles, updateRole } from './directory-store.ts';
import { type Implication, isBuiltIn, type Role } from './entities.ts';
import { listImplications } from './grant-store.ts';
import { couldNotFind, duplicate } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface Roles {
  list(asker: ValidToken, filter: { readonly name?: string | undefined }): Promise<Role[]>;
  get(asker: ValidToken, id: string): Promise<Role>;
  create(asker: ValidToken, input: { readonly name: string; readonly description: string | null }): Promise<Role>;
  update(asker: ValidToken, id: string, changes: Partial<Omit<Role, 'id'>>): Promise<Role>;
  delete(asker: ValidToken, id: string): Promise<void>;
  listImplications(asker: ValidToken): Promise<Implication[]>;
}

export function createRoles({ database }: { database: Database }): Roles {
  async function existing(id: string): Promise<Role> {
    const role = await findRole(database.sql, id);
    if (role === undefined) throw couldNotFind('role', id);
    return role;
  }

  async function changeable(id: string, verb: 'update' | 'delete'): Promise<Role> {
    const role = await existing(id);
    if (!isBuiltIn(role)) return role;
    throw forbidden(`Unable to ${verb} immutable role resource: \`${id}\`. Set resource option "immutable" to false first.`);
  }

  return {
    async list(asker, filter) {
      authoriseDirectory(asker, 'list_roles');
      return listRoles(database.sql, filter);
    },
    async get(asker, id) {
      authoriseDirectory(asker, 'get_role');
      return existing(id);
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_role');
      const role = { id: newHexId(), ...input };
      await refuseDuplicate(role.name, () => insertRole(database.sql, role));
      return role;
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_role');
      const role = { ...(await changeable(id, 'update')), ...changes };
      await refuseDuplicate(role.name, () => updateRole(database.sql, role));
      return role;
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_role');
      await changeable(id, 'delete');
      if (!(await deleteRole(database.sql, id))) throw couldNotFind('role', id);
    },
    async listImplications(asker) {
      authoriseDirectory(asker, 'list_implied_roles');
      return listImplications(database.sql);
    },
  };
}

async function refuseDuplicate(name: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('role', name);
    throw error;
  }
}
