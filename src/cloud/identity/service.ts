import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../database/service.ts';
import { type ApplicationCredentials, createApplicationCredentials } from './application-credentials.ts';
import { type AskedScope, createAuthenticate, type IssuedToken, type Proof } from './authentication.ts';
import { bootstrap } from './bootstrap.ts';
import { createDomains, type Domains } from './domains.ts';
import { createGrants, type Grants } from './grants.ts';
import { createPasswords } from './passwords.ts';
import { createProjects, type Projects } from './projects.ts';
import { createRoles, type Roles } from './roles.ts';
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
  bootstrapIdentity(options: { adminPassword: string }): Promise<void>;
  readonly tokens: Tokens;
  readonly domains: Domains;
  readonly projects: Projects;
  readonly users: Users;
  readonly roles: Roles;
  readonly grants: Grants;
  readonly applicationCredentials: ApplicationCredentials;
}

export interface IdentityDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly tokenLifetimeMs?: number;
}

const hourMs = 3_600_000;

export function createIdentityService({ database, clock, tokenLifetimeMs = hourMs }: IdentityDeps): IdentityService {
  const passwords = createPasswords();
  const tokens = createTokens({ database, clock });
  const authenticate = createAuthenticate({ database, clock, passwords, lifetimeMs: tokenLifetimeMs });
  return {
    validateToken: tokens.validate,
    async authenticate(proofs, scope) {
      await tokens.sweep();
      return authenticate(proofs, scope);
    },
    bootstrapIdentity: ({ adminPassword }) => bootstrap({ database, passwords }, adminPassword),
    tokens,
    domains: createDomains({ database }),
    projects: createProjects({ database }),
    users: createUsers({ database, passwords }),
    roles: createRoles({ database }),
    grants: createGrants({ database }),
    applicationCredentials: createApplicationCredentials({ database, clock, passwords }),
  };
}
