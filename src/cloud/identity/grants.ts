/** Who has which role where. A change counts from the next request on: roles are read with each token. */
import { badRequest, forbidden } from '../../lib/errors.ts';
import { type Database, isForeignKeyViolation } from '../database/service.ts';
import { listAssignments } from './assignment-store.ts';
import { authoriseDirectory, type DirectoryAction, domainOfList, isAllowedInDirectory } from './directory-policy.ts';
import { findDomain, findProject, findUser } from './directory-store.ts';
import type { Assignment, AssignmentFilter, Domain, Grant, Grantee, GrantTarget, Project, Role } from './entities.ts';
import { deleteGrant, insertGrant, isOfSystem, listDomainsOfUser, listGrantedRoles, listProjectsOfUser } from './grant-store.ts';
import { findGroup, listMembers } from './group-store.ts';
import { couldNotFind, couldNotFindGrant } from './refusals.ts';
import { endOverreachingCredentials } from './rights.ts';
import { findRole } from './role-store.ts';
import type { ValidToken } from './token.ts';

export interface Grants {
  add(asker: ValidToken, grant: Grant): Promise<void>;
  /** Refuses with 404 when there is no such grant. */
  check(asker: ValidToken, grant: Grant): Promise<void>;
  remove(asker: ValidToken, grant: Grant): Promise<void>;
  rolesOf(asker: ValidToken, grantee: Grantee, target: GrantTarget, inherited?: boolean): Promise<Role[]>;
  assignments(asker: ValidToken, filter: AssignmentFilter): Promise<Assignment[]>;
  /** What the asker could get a token for. */
  ownScopes(asker: ValidToken): Promise<{ projects: Project[]; domains: Domain[]; system: boolean }>;
}

const idOf = (target: GrantTarget): string => (target.kind === 'system' ? 'system' : target.id);
const granteeIdOf = (grantee: Grantee): string => ('userId' in grantee ? grantee.userId : grantee.groupId);

export function createGrants({ database }: { database: Database }): Grants {
  const missing = (grant: Grant) => couldNotFindGrant(grant.roleId, granteeIdOf(grant), idOf(grant.target));

  /** The domain of the target, for those that have one. */
  async function checkPlace(grantee: Grantee, target: GrantTarget): Promise<string | undefined> {
    if ('userId' in grantee && (await findUser(database.sql, grantee.userId)) === undefined) throw couldNotFind('user', grantee.userId);
    if ('groupId' in grantee && (await findGroup(database.sql, grantee.groupId)) === undefined) {
      throw couldNotFind('group', grantee.groupId);
    }
    if (target.kind === 'system') return undefined;
    if (target.kind === 'project') {
      const project = await findProject(database.sql, target.id);
      if (project === undefined) throw couldNotFind('project', target.id);
      return project.domainId;
    }
    if ((await findDomain(database.sql, target.id)) === undefined) throw couldNotFind('domain', target.id);
    return target.id;
  }

  async function checkGrant(grant: Grant): Promise<void> {
    const role = await findRole(database.sql, grant.roleId);
    if (role === undefined) throw couldNotFind('role', grant.roleId);
    const domainId = await checkPlace(grant, grant.target);
    if (role.domainId === null || role.domainId === domainId) return;
    if (domainId === undefined) {
      throw badRequest(`Role ${role.id} is a domain-specific role. Unable to use a domain-specific role in a system assignment.`);
    }
    throw forbidden(`Project ${idOf(grant.target)} must be in the same domain as the role ${role.id} being assigned.`);
  }

  const authorise = (asker: ValidToken, action: DirectoryAction, target: GrantTarget): void =>
    authoriseDirectory(asker, action, { domainId: target.kind === 'domain' ? target.id : undefined });

  return {
    async add(asker, grant) {
      authorise(asker, 'create_grant', grant.target);
      await checkGrant(grant);
      try {
        await insertGrant(database.sql, grant);
      } catch (error) {
        // One of the three went away meanwhile.
        if (isForeignKeyViolation(error)) throw missing(grant);
        throw error;
      }
    },
    async check(asker, grant) {
      authorise(asker, 'check_grant', grant.target);
      await checkGrant(grant);
      const roles = await listGrantedRoles(database.sql, grant, grant.target, grant.inherited ?? false);
      if (!roles.some((role) => role.id === grant.roleId)) throw missing(grant);
    },
    async remove(asker, grant) {
      authorise(asker, 'revoke_grant', grant.target);
      await checkGrant(grant);
      await database.transact(async (tx) => {
        if (!(await deleteGrant(tx.sql, grant))) throw missing(grant);
        const members = 'userId' in grant ? [] : await listMembers(tx.sql, grant.groupId);
        await endOverreachingCredentials(tx.sql, 'userId' in grant ? [grant.userId] : members.map(({ id }) => id));
      });
    },
    async rolesOf(asker, grantee, target, inherited = false) {
      authorise(asker, 'list_grants', target);
      await checkPlace(grantee, target);
      return listGrantedRoles(database.sql, grantee, target, inherited);
    },
    async assignments(asker, filter) {
      const domainId = domainOfList(asker, filter.domainId);
      authoriseDirectory(asker, 'list_role_assignments', { domainId });
      // Who reads one domain only sees the grants on that domain.
      const onlyDomain = isAllowedInDirectory(asker, 'list_role_assignments') ? filter.domainId : domainId;
      return listAssignments(database.sql, { ...filter, domainId: onlyDomain });
    },
    async ownScopes({ user }) {
      const [projects, domains, system] = await Promise.all([
        listProjectsOfUser(database.sql, user.id),
        listDomainsOfUser(database.sql, user.id),
        isOfSystem(database.sql, user.id),
      ]);
      return { projects, domains, system };
    },
  };
}
