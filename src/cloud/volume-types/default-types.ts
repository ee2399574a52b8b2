/** Which type the volumes of a project are of when a request names none: the use cases, for administrators. */
import { badRequest } from '../../lib/errors.ts';
import type { Database } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import { projectExists } from '../identity/project-exists.ts';
import { findByIdOrName } from './choice.ts';
import type { DefaultType } from './contract.ts';
import { lockedType } from './lookup.ts';
import { noDefault } from './refusals.ts';
import { deleteDefault, findDefault, listDefaults, writeDefault } from './store.ts';

export interface DefaultTypesService {
  list(caller: Caller): Promise<DefaultType[]>;
  get(caller: Caller, projectId: string): Promise<DefaultType>;
  /** By id or name. It has to be one that the project may use. */
  set(caller: Caller, projectId: string, idOrName: string): Promise<DefaultType>;
  unset(caller: Caller, projectId: string): Promise<void>;
}

export function createDefaultTypes({ database }: { readonly database: Database }): DefaultTypesService {
  const mayUse = (caller: Caller): void => authorise(caller, 'default_type:change', { projectId: null });
  return {
    async list(caller) {
      mayUse(caller);
      return await listDefaults(database.sql);
    },
    async get(caller, projectId) {
      mayUse(caller);
      const volumeTypeId = await findDefault(database.sql, projectId);
      if (volumeTypeId === undefined) throw noDefault(projectId);
      return { projectId, volumeTypeId };
    },
    async set(caller, projectId, idOrName) {
      mayUse(caller);
      return await database.transact(async (tx) => {
        if (!(await projectExists(tx.sql, projectId))) throw badRequest(`Project with id ${projectId} not found.`);
        const { id } = await lockedType(tx, (await findByIdOrName(tx.sql, projectId, idOrName)).id);
        const order = { projectId, volumeTypeId: id };
        await writeDefault(tx.sql, order);
        return order;
      });
    },
    async unset(caller, projectId) {
      mayUse(caller);
      if (!(await deleteDefault(database.sql, projectId))) throw noDefault(projectId);
    },
  };
}
