import { newHexId } from '../../lib/ids.ts';
import type { Database } from '../database/service.ts';
import { isUniqueViolation } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { type DomainFilter, deleteDisabledDomain, findDomain, insertDomain, listDomains, updateDomain } from './directory-store.ts';
import type { Domain } from './entities.ts';
import { couldNotFind, duplicate, notAuthorised } from './refusals.ts';
import type { ValidToken } from './token.ts';
import { deleteTokensOfDomain } from './token-store.ts';

export type NewDomain = Pick<Domain, 'name'> & Partial<Pick<Domain, 'description' | 'enabled'>>;
export type DomainChanges = Partial<Omit<Domain, 'id'>>;

export interface Domains {
  list(asker: ValidToken, filter: DomainFilter): Promise<Domain[]>;
  get(asker: ValidToken, id: string): Promise<Domain>;
  create(asker: ValidToken, input: NewDomain): Promise<Domain>;
  update(asker: ValidToken, id: string, changes: DomainChanges): Promise<Domain>;
  /** With all users and projects in it; refused while the domain is enabled. */
  delete(asker: ValidToken, id: string): Promise<void>;
}

export function createDomains({ database }: { database: Database }): Domains {
  async function existing(id: string): Promise<Domain> {
    const domain = await findDomain(database.sql, id);
    if (domain === undefined) throw couldNotFind('domain', id);
    return domain;
  }

  return {
    async list(asker, filter) {
      authoriseDirectory(asker, 'list_domains');
      return listDomains(database.sql, filter);
    },
    async get(asker, id) {
      authoriseDirectory(asker, 'get_domain', { domainId: id });
      return existing(id);
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_domain');
      const domain = { id: newHexId(), name: input.name, description: input.description ?? '', enabled: input.enabled ?? true };
      await refuseDuplicate(input.name, () => insertDomain(database.sql, domain));
      return domain;
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_domain');
      const domain = { ...(await existing(id)), ...changes };
      await refuseDuplicate(domain.name, () =>
        database.transact(async (tx) => {
          await updateDomain(tx.sql, domain);
          if (!domain.enabled) await deleteTokensOfDomain(tx.sql, id);
        }),
      );
      return domain;
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_domain');
      await existing(id);
      const deleted = await database.transact((tx) => deleteDisabledDomain(tx.sql, id));
      if (!deleted) throw notAuthorised('Cannot delete a domain that is enabled, please disable it first');
    },
  };
}

async function refuseDuplicate(name: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('domain', name);
    throw error;
  }
}
