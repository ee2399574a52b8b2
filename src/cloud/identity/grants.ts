/** Who has which role where. A change counts from the next request on: roles are read with each token. */
import { type Database, isForeignKeyViolation } from '../database/service.ts';
import { deleteCredentialsBeyond } from './application-credential-store.ts';
import { authoriseDirectory, type DirectoryAction, domainOfList } from './directory-policy.ts';
import { findDomain, findProject, findRole, findUser } from './directory-store.ts';
import type { Assignment, AssignmentFilter, Domain, Grant, GrantTarget, Project, Role } from './entities.ts';
import {
  deleteGrant,
  effectiveRoleIds,
  insertGrant,
  listAssignments,
  listDomainsOfUser,
  listGrantedRoles,
  listProjectsOfUser,
} from './grant-store.ts';
import { couldNotFind, couldNotFindGrant } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface Grants {
  add(asker: ValidToken, grant: Grant): Promise<void>;
  /** Refuses with 404 when there is no such grant. */
  check(asker: ValidToken, grant: Grant): Promise<void>;
  remove(asker: ValidToken, grant: Grant): Promise<void>;
  rolesOf(asker: ValidToken, userId: string, target: GrantTarget): Promise<Role[]>;
  assignments(asker: ValidToken, filter: AssignmentFilter): Promise<Assignment[]>;
  /** What the asker could get a token for. */
  ownScopes(asker: ValidToken): Promise<{ projects: Project[]; domains: Domain[]; system: boolean }>;
}

const idOf = (target: GrantTarget): string => (target.kind === 'system' ? 'system' : target.id);

export function createGrants({ database }: { database: Database }): Grants {
  async function mustExist(userId: string, target: GrantTarget, roleId?: string): Promise<void> {
    if (roleId !== undefined && (await findRole(database.sql, roleId)) === undefined) throw couldNotFind('role', roleId);
    if ((await findUser(database.sql, userId)) === undefined) throw couldNotFind('user', userId);
    if (target.kind === 'project' && (await findProject(database.sql, target.id)) === undefined) throw couldNotFind('project', target.id);
    if (target.kind === 'domain' && (await findDomain(database.sql, target.id)) === undefined) throw couldNotFind('domain', target.id);
  }

  const authorise = (asker: ValidToken, action: DirectoryAction, target: GrantTarget): void =>
    authoriseDirectory(asker, action, { domainId: target.kind === 'domain' ? target.id : undefined });

  return {
    async add(asker, grant) {
      authorise(asker, 'create_grant', grant.target);
      await mustExist(grant.userId, grant.target, grant.roleId);
      try {
        await insertGrant(database.sql, grant);
      } catch (error) {
        // One of the three went away meanwhile.
        if (isForeignKeyViolation(error)) throw couldNotFindGrant(grant.roleId, grant.userId, idOf(grant.target));
        throw error;
      }
    },
    async check(asker, { userId, roleId, target }) {
      authorise(asker, 'check_grant', target);
      await mustExist(userId, target, roleId);
      const roles = await listGrantedRoles(database.sql, userId, target);
      if (!roles.some((role) => role.id === roleId)) throw couldNotFindGrant(roleId, userId, idOf(target));
    },
    async remove(asker, grant) {
      authorise(asker, 'revoke_grant', grant.target);
      await mustExist(grant.userId, grant.target, grant.roleId);
      await database.transact(async (tx) => {
        if (!(await deleteGrant(tx.sql, grant))) throw couldNotFindGrant(grant.roleId, grant.userId, idOf(grant.target));
        if (grant.target.kind !== 'project') return;
        // A credential must not come back to life with a role that was taken away in between.
        const left = await effectiveRoleIds(tx.sql, grant.userId, grant.target);
        await deleteCredentialsBeyond(tx.sql, grant.userId, grant.target.id, left);
      });
    },
    async rolesOf(asker, userId, target) {
      authorise(asker, 'list_grants', target);
      await mustExist(userId, target);
      return listGrantedRoles(database.sql, userId, target);
    },
    async assignments(asker, filter) {
      const domainId = domainOfList(asker, filter.domainId);
      authoriseDirectory(asker, 'list_role_assignments', { domainId });
      // Who reads one domain only sees the grants on that domain.
      const onlyDomain = asker.roles.some((role) => role.name === 'admin') ? filter.domainId : domainId;
      return listAssignments(database.sql, { ...filter, domainId: onlyDomain });
    },
    async ownScopes({ user }) {
      const [projects, domains, systemRoles] = await Promise.all([
        listProjectsOfUser(database.sql, user.id),
        listDomainsOfUser(database.sql, user.id),
        listGrantedRoles(database.sql, user.id, { kind: 'system' }),
      ]);
      return { projects, domains, system: systemRoles.length > 0 };
    },
  };
}
