/** Secrets that act for a user in one project, with roles that the user had when they were made. */
import { randomBytes } from 'node:crypto';
import type { Clock, Timestamp } from '../../lib/clock.ts';
import { badRequest } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation } from '../database/service.ts';
import { type AccessRules, createAccessRules, keepAccessRules, type NewAccessRule } from './access-rules.ts';
import {
  deleteApplicationCredential,
  findApplicationCredential,
  insertApplicationCredential,
  listApplicationCredentials,
} from './application-credential-store.ts';
import { authoriseDirectory, type DirectoryAction } from './directory-policy.ts';
import type { ApplicationCredential, Role } from './entities.ts';
import type { Passwords } from './passwords.ts';
import { couldNotFind, duplicate, notAuthorised } from './refusals.ts';
import { listRoles } from './role-store.ts';
import type { Reference, ValidToken } from './token.ts';

export interface NewApplicationCredential {
  readonly name: string;
  readonly description?: string | null | undefined;
  /** Made up when absent. */
  readonly secret?: string | null | undefined;
  /** All roles of the token when absent. */
  readonly roles?: readonly ({ readonly id: string } | { readonly name: string })[] | undefined;
  readonly expiresAt?: Timestamp | null | undefined;
  readonly unrestricted?: boolean | undefined;
  /** It may be used for nothing else. None: for everything. */
  readonly accessRules?: readonly NewAccessRule[] | undefined;
}

export interface DescribedCredential extends ApplicationCredential {
  readonly roles: readonly Role[];
}

export interface ApplicationCredentials {
  list(asker: ValidToken, userId: string, name: string | undefined): Promise<DescribedCredential[]>;
  get(asker: ValidToken, userId: string, id: string): Promise<DescribedCredential>;
  /** The secret is shown this once. */
  create(asker: ValidToken, userId: string, input: NewApplicationCredential): Promise<DescribedCredential & { readonly secret: string }>;
  delete(asker: ValidToken, userId: string, id: string): Promise<void>;
  readonly accessRules: AccessRules;
}

export interface ApplicationCredentialDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly passwords: Passwords;
}

export function createApplicationCredentials({ database, clock, passwords }: ApplicationCredentialDeps): ApplicationCredentials {
  async function described(credential: ApplicationCredential): Promise<DescribedCredential> {
    const roles = await listRoles(database.sql, {});
    return { ...credential, roles: roles.filter((role) => credential.roleIds.includes(role.id)) };
  }

  return {
    accessRules: createAccessRules({ database }),
    async list(asker, userId, name) {
      authoriseDirectory(asker, 'list_application_credentials', { userId });
      return Promise.all((await listApplicationCredentials(database.sql, userId, name)).map(described));
    },
    async get(asker, userId, id) {
      authoriseDirectory(asker, 'get_application_credential', { userId });
      const credential = await findApplicationCredential(database.sql, userId, id);
      if (credential === undefined) throw couldNotFind('application_credential', id);
      return described(credential);
    },
    async create(asker, userId, input) {
      authoriseDirectory(asker, 'create_application_credential', { userId });
      refuseRestricted(asker, 'create_application_credential');
      const credential = newCredential(asker, input, clock.nowText());
      const rules = input.accessRules ?? [];
      const secret = input.secret ?? randomBytes(64).toString('base64url');
      const secretHash = await passwords.hash(secret);
      try {
        const kept = await database.transact(async (tx) => {
          const accessRules = await keepAccessRules(tx.sql, userId, rules);
          await insertApplicationCredential(tx.sql, { ...credential, accessRules }, secretHash);
          return { ...credential, accessRules };
        });
        return { ...(await described(kept)), secret };
      } catch (error) {
        if (isUniqueViolation(error)) throw duplicate('application_credential', input.name);
        // The user or the project went away meanwhile.
        if (isForeignKeyViolation(error)) throw couldNotFind('user', userId);
        throw error;
      }
    },
    async delete(asker, userId, id) {
      authoriseDirectory(asker, 'delete_application_credential', { userId });
      refuseRestricted(asker, 'delete_application_credential');
      if (!(await deleteApplicationCredential(database.sql, userId, id))) throw couldNotFind('application_credential', id);
    },
  };
}

/** A leaked credential must not be able to make itself others. */
export function refuseRestricted(asker: ValidToken, action: DirectoryAction): void {
  if (asker.applicationCredential?.restricted === true) throw notAuthorised(`identity:${action}`);
}

function newCredential(asker: ValidToken, input: NewApplicationCredential, now: Timestamp): ApplicationCredential {
  if (asker.scope.kind !== 'project') throw badRequest('An application credential needs a token that is scoped to a project.');
  const expiresAt = input.expiresAt ?? null;
  if (expiresAt !== null && expiresAt <= now) throw badRequest('The expires_at of an application credential must be in the future.');
  return {
    id: newHexId(),
    userId: asker.user.id,
    projectId: asker.scope.project.id,
    name: input.name,
    description: input.description ?? null,
    roleIds: delegatedRoles(asker, input.roles).map((role) => role.id),
    accessRules: [],
    unrestricted: input.unrestricted ?? false,
    expiresAt,
  };
}

function delegatedRoles(asker: ValidToken, wanted: NewApplicationCredential['roles']): readonly Reference[] {
  if (wanted === undefined || wanted.length === 0) return asker.roles;
  return wanted.map((role) => {
    const held = asker.roles.find((own) => ('id' in role ? own.id === role.id : own.name === role.name));
    if (held !== undefined) return held;
    const asked = 'id' in role ? role.id : role.name;
    throw badRequest(
      `Invalid application credential: Could not find role assignment with role: ${asked}, user or group: ${asker.user.id}, project, domain, or system: ${asker.scope.kind === 'project' ? asker.scope.project.id : ''}.`,
    );
  });
}
