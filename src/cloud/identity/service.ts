import type { Clock } from '../../lib/clock.ts';
import { type Log, silentLog } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import { type ApplicationCredentials, createApplicationCredentials } from './application-credentials.ts';
import { type AskedScope, createAuthenticate, type IssuedToken, type Proof } from './authentication.ts';
import { type BootstrapOptions, bootstrap } from './bootstrap.ts';
import { type Catalog, createCatalog } from './catalog.ts';
import { type Credentials, createCredentials } from './credentials.ts';
import { createDomainConfigs, type DomainConfigs } from './domain-config.ts';
import { createDomains, type Domains } from './domains.ts';
import { createGrants, type Grants } from './grants.ts';
import { createGroups, type Groups } from './groups.ts';
import { createLimits, type Limits } from './limits.ts';
import { createCheckPassword, type LockoutPolicy, noLockout } from './lockout.ts';
import { createPasswords } from './passwords.ts';
import { type Consumers, createConsumers, createPolicies, type Policy } from './policies-and-consumers.ts';
import { createProjects, type Projects } from './projects.ts';
import type { Records } from './records.ts';
import { createRoles, type Roles } from './roles.ts';
import { createSealing } from './sealing.ts';
import type { ValidToken } from './token.ts';
import { createTokens, type Tokens } from './tokens.ts';
import { createUsers, type Users } from './users.ts';

/** Users, projects, roles and tokens: what Identity offers to the fronts and to the rest of the cloud. */
export interface IdentityService {
  /** Who presents this token? Undefined when it is good for nothing (any more). One statement. */
  validateToken(secret: string): Promise<ValidToken | undefined>;
  /** Proves who somebody is and issues a token; 401 whatever was wrong. */
  authenticate(proofs: readonly Proof[], scope: AskedScope): Promise<IssuedToken>;
  /** Makes sure that the first domain, the roles and the admin exist. Safe at every start. */
  bootstrapIdentity(options: BootstrapOptions): Promise<void>;
  readonly tokens: Tokens;
  readonly domains: Domains;
  readonly projects: Projects;
  readonly users: Users;
  readonly groups: Groups;
  readonly roles: Roles;
  readonly grants: Grants;
  readonly applicationCredentials: ApplicationCredentials;
  readonly catalog: Catalog;
  readonly credentials: Credentials;
  readonly domainConfigs: DomainConfigs;
  readonly policies: Records<Policy>;
  readonly consumers: Consumers;
  readonly limits: Limits;
}

export interface IdentityDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly tokenLifetimeMs?: number;
  readonly lockout?: LockoutPolicy;
  /** For secrets that users get back. Without one there are none. */
  readonly sealingKey?: Buffer;
  readonly log?: Log;
}

const hourMs = 3_600_000;

export function createIdentityService(deps: IdentityDeps): IdentityService {
  const { database, clock, tokenLifetimeMs = hourMs, lockout = noLockout, log = silentLog } = deps;
  const passwords = createPasswords();
  const checkPassword = createCheckPassword({ database, clock, passwords, lockout });
  const sealing = createSealing(deps.sealingKey);
  const domains = createDomains({ database });
  const tokens = createTokens({ database, clock });
  const authenticate = createAuthenticate({ database, clock, passwords, checkPassword, lifetimeMs: tokenLifetimeMs });
  return {
    validateToken: tokens.validate,
    async authenticate(proofs, scope) {
      await tokens.sweep();
      return authenticate(proofs, scope);
    },
    bootstrapIdentity: (options) => bootstrap({ database, passwords }, options),
    tokens,
    domains,
    projects: createProjects({ database, domains }),
    users: createUsers({ database, passwords, checkPassword }),
    groups: createGroups({ database }),
    roles: createRoles({ database }),
    grants: createGrants({ database }),
    applicationCredentials: createApplicationCredentials({ database, clock, passwords }),
    catalog: createCatalog({ database }),
    credentials: createCredentials({ database, sealing, log }),
    domainConfigs: createDomainConfigs({ database }),
    policies: createPolicies({ database }),
    consumers: createConsumers({ database, sealing }),
    limits: createLimits({ database }),
  };
}
