/** Options of a domain's own identity driver. They are kept for those who manage domains; this service has one driver for all of them. */
import { forbidden, notFound } from '../../lib/errors.ts';
import { type Database, type Json, type JsonMap, json, type Tx } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { couldNotFind } from './refusals.ts';
import type { ValidToken } from './token.ts';

/** By group and option. */
export type DomainConfig = { readonly [group: string]: JsonMap };

/** A part of a configuration: all of it, one group, or one option. */
export interface ConfigPart {
  readonly group?: string | undefined;
  readonly option?: string | undefined;
}

export interface DomainConfigs {
  get(asker: ValidToken, domainId: string, part: ConfigPart): Promise<DomainConfig>;
  /** What counts for domains without one. */
  defaults(asker: ValidToken, part: ConfigPart): DomainConfig;
  /** Instead of what is there; tells whether there was none. */
  replace(asker: ValidToken, domainId: string, config: DomainConfig): Promise<{ readonly config: DomainConfig; readonly isNew: boolean }>;
  /** Into what is there. With a part, nothing else may be in `config`. */
  update(asker: ValidToken, domainId: string, part: ConfigPart, config: DomainConfig): Promise<DomainConfig>;
  delete(asker: ValidToken, domainId: string, part: ConfigPart): Promise<void>;
}

/** The options there are, with what counts by default. */
const known: { readonly [group: string]: { readonly [option: string]: Json } } = {
  identity: { driver: 'sql', list_limit: null },
  ldap: {
    url: 'ldap://localhost',
    user: null,
    suffix: 'cn=example,cn=com',
    query_scope: 'one',
    page_size: 0,
    user_tree_dn: null,
    user_filter: null,
    user_objectclass: 'inetOrgPerson',
    user_id_attribute: 'cn',
    user_name_attribute: 'sn',
    user_mail_attribute: 'mail',
    user_enabled_attribute: 'enabled',
    group_tree_dn: null,
    group_filter: null,
    group_objectclass: 'groupOfNames',
    group_id_attribute: 'cn',
    group_name_attribute: 'ou',
    group_member_attribute: 'member',
    group_desc_attribute: 'description',
    tls_cacertfile: null,
    tls_cacertdir: null,
    tls_req_cert: 'demand',
    use_tls: false,
    use_pool: true,
    pool_size: 10,
  },
};

const invalid = (reason: string) => forbidden(`Invalid domain specific configuration: ${reason}.`);

export function createDomainConfigs({ database }: { database: Database }): DomainConfigs {
  const change = (domainId: string, work: (old: DomainConfig | null) => DomainConfig | null) =>
    database.transact(async (tx) => {
      const old = await lockConfig(tx, domainId);
      const config = work(old);
      const empty = config === null || Object.keys(config).length === 0;
      await tx.sql
        .updateTable('domains')
        .set({ config: empty ? null : json(config) })
        .where('id', '=', domainId)
        .execute();
      return { old, config: config ?? {} };
    });

  return {
    async get(asker, domainId, part) {
      authoriseDirectory(asker, 'get_domain_config', { domainId });
      checkPart(part);
      const row = await database.sql.selectFrom('domains').select('config').where('id', '=', domainId).executeTakeFirst();
      if (row === undefined) throw couldNotFind('domain', domainId);
      return partOf((row.config ?? {}) as DomainConfig, part, domainId);
    },
    defaults(asker, part) {
      authoriseDirectory(asker, 'get_domain_config_default');
      checkPart(part);
      return partOf(known, part, 'default');
    },
    async replace(asker, domainId, config) {
      authoriseDirectory(asker, 'create_domain_config');
      checkConfig(config);
      const { old } = await change(domainId, () => config);
      return { config, isNew: old === null };
    },
    async update(asker, domainId, part, changes) {
      authoriseDirectory(asker, 'update_domain_config');
      checkPart(part);
      checkConfig(changes);
      checkWithin(changes, part);
      const { config } = await change(domainId, (old) => {
        partOf(old ?? {}, part, domainId);
        const groups = Object.entries(changes).map(([group, options]) => [group, { ...old?.[group], ...options }]);
        return { ...old, ...Object.fromEntries(groups) };
      });
      return config;
    },
    async delete(asker, domainId, part) {
      authoriseDirectory(asker, 'delete_domain_config');
      checkPart(part);
      await change(domainId, (old) => {
        partOf(old ?? {}, part, domainId);
        return without(old ?? {}, part);
      });
    },
  };
}

async function lockConfig(tx: Tx, domainId: string): Promise<DomainConfig | null> {
  const row = await tx.sql.selectFrom('domains').select('config').where('id', '=', domainId).forUpdate().executeTakeFirst();
  if (row === undefined) throw couldNotFind('domain', domainId);
  // Only `change` writes it.
  return row.config as DomainConfig | null;
}

function checkPart({ group, option }: ConfigPart): void {
  if (group === undefined) return;
  if (!Object.hasOwn(known, group)) throw invalid(`Group ${group} is not supported for domain specific configurations`);
  if (option !== undefined && !Object.hasOwn(known[group] ?? {}, option)) {
    throw invalid(`Option ${option} in group ${group} is not supported for domain specific configurations`);
  }
}

function checkConfig(config: DomainConfig): void {
  if (Object.keys(config).length === 0) throw invalid('No options specified');
  for (const [group, options] of Object.entries(config)) {
    checkPart({ group });
    if (Object.keys(options).length === 0) {
      throw invalid(`The value of group ${group} specified in the config should be a dictionary of options`);
    }
    for (const option of Object.keys(options)) checkPart({ group, option });
  }
}

function checkWithin(config: DomainConfig, { group, option }: ConfigPart): void {
  if (group === undefined) return;
  const groups = Object.keys(config);
  if (groups.length !== 1 || groups[0] !== group) {
    throw invalid(`The group specified in the body should be the one in the path, ${group}, and nothing else`);
  }
  const options = Object.keys(config[group] ?? {});
  if (option !== undefined && (options.length !== 1 || options[0] !== option)) {
    throw invalid(`The option specified in the body should be the one in the path, ${option}, and nothing else`);
  }
}

/** Refuses with 404 when it is not there. */
function partOf(config: DomainConfig, { group, option }: ConfigPart, domainId: string): DomainConfig {
  const options = group === undefined ? undefined : config[group];
  const there =
    group === undefined
      ? Object.keys(config).length > 0
      : options !== undefined && (option === undefined || Object.hasOwn(options, option));
  if (!there) {
    const what = option !== undefined ? `option ${option} in group ${group}` : group !== undefined ? `group ${group}` : 'any options';
    throw notFound(`Could not find ${what} in domain configuration for domain ${domainId}.`);
  }
  if (group === undefined || options === undefined) return config;
  return { [group]: option === undefined ? options : { [option]: options[option] } };
}

function without(config: DomainConfig, { group, option }: ConfigPart): DomainConfig {
  if (group === undefined) return {};
  const { [group]: options = {}, ...others } = config;
  if (option === undefined) return others;
  const { [option]: _, ...left } = options;
  return Object.keys(left).length === 0 ? others : { ...others, [group]: left };
}
