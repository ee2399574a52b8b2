import { forbidden } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isUniqueViolation, type JsonMap } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { type DomainFilter, deleteDomain, findDomain, insertDomain, listDomains, lockDomain, updateDomain } from './directory-store.ts';
import { type Domain, defaultDomainId } from './entities.ts';
import type { Some } from './records.ts';
import { couldNotFind, duplicate, immutable, notAuthorised } from './refusals.ts';
import { endOverreachingCredentials } from './rights.ts';
import type { ValidToken } from './token.ts';
import { deleteTokensOfDomain } from './token-store.ts';

export interface NewDomain {
  readonly name: string;
  readonly description?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly immutable?: boolean | undefined;
  readonly extra?: JsonMap | undefined;
}

/** `extra` is merged into what is there. */
export type DomainChanges = Some<NewDomain>;

export interface Domains {
  list(asker: ValidToken, filter: DomainFilter): Promise<Domain[]>;
  get(asker: ValidToken, id: string): Promise<Domain>;
  create(asker: ValidToken, input: NewDomain): Promise<Domain>;
  update(asker: ValidToken, id: string, changes: DomainChanges): Promise<Domain>;
  /** With all users, groups and projects in it; refused while the domain is enabled. */
  delete(asker: ValidToken, id: string): Promise<void>;
}

export function createDomains({ database }: { database: Database }): Domains {
  return {
    async list(asker, filter) {
      authoriseDirectory(asker, 'list_domains');
      return listDomains(database.sql, filter);
    },
    async get(asker, id) {
      authoriseDirectory(asker, 'get_domain', { domainId: id });
      const domain = await findDomain(database.sql, id);
      if (domain === undefined) throw couldNotFind('domain', id);
      return domain;
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_domain');
      const domain = {
        id: newHexId(),
        name: input.name,
        description: input.description ?? '',
        enabled: input.enabled ?? true,
        immutable: input.immutable ?? false,
        extra: input.extra ?? {},
      };
      await refuseDuplicate(input.name, () => insertDomain(database.sql, domain));
      return domain;
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_domain');
      return refuseDuplicate(changes.name ?? '', () => update(database, id, changes));
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_domain');
      await database.transact(async (tx) => {
        const domain = await lockDomain(tx.sql, id);
        if (domain === undefined) throw couldNotFind('domain', id);
        if (domain.immutable) throw immutable('delete', 'domain', id);
        if (domain.enabled) throw notAuthorised('Cannot delete a domain that is enabled, please disable it first');
        if (id === defaultDomainId) throw forbidden('The default domain cannot be deleted: the service puts its own users there.');
        await deleteDomain(tx.sql, id);
        // Groups and roles of the domain gave rights elsewhere, too.
        await endOverreachingCredentials(tx.sql, 'everyone');
      });
    },
  };
}

function update(database: Database, id: string, changes: DomainChanges): Promise<Domain> {
  return database.transact(async (tx) => {
    const old = await lockDomain(tx.sql, id);
    if (old === undefined) throw couldNotFind('domain', id);
    if (old.immutable && changes.immutable !== false) throw immutable('update', 'domain', id);
    const domain: Domain = {
      id,
      name: changes.name ?? old.name,
      description: changes.description ?? old.description,
      enabled: changes.enabled ?? old.enabled,
      immutable: changes.immutable ?? old.immutable,
      extra: { ...old.extra, ...changes.extra },
    };
    await updateDomain(tx.sql, domain);
    if (!domain.enabled) await deleteTokensOfDomain(tx.sql, id);
    return domain;
  });
}

async function refuseDuplicate<T>(name: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('domain', name);
    throw error;
  }
}
