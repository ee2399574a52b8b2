import type { FastifyInstance } from 'fastify';
import type { Assignment } from '../../../cloud/identity/entities.ts';
import { badRequest } from '../../../lib/errors.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import { collection, flag, type IdentityFront, v3Of } from './context.ts';

export function roleAssignmentRoutes(app: FastifyInstance, front: IdentityFront): void {
  app.get('/role_assignments', async (request) => {
    const query = queryOf(request);
    refuseContradictions(query);
    const filter = {
      userId: queryValue(query, 'user.id'),
      groupId: queryValue(query, 'group.id'),
      roleId: queryValue(query, 'role.id'),
      projectId: queryValue(query, 'scope.project.id'),
      includeSubtree: flag(query, 'include_subtree'),
      domainId: queryValue(query, 'scope.domain.id'),
      system: queryValue(query, 'scope.system') === undefined ? undefined : true,
      inherited: queryValue(query, 'scope.OS-INHERIT:inherited_to') === undefined ? undefined : true,
      effective: flag(query, 'effective'),
    };
    const found = await front.identity.grants.assignments(request.token, filter);
    const withNames = flag(query, 'include_names') ?? false;
    return collection(
      request,
      front,
      'role_assignments',
      found.map((assignment) => assignmentView(assignment, withNames, v3Of(request, front))),
    );
  });
}

function refuseContradictions(query: Query): void {
  const given = (name: string): boolean => queryValue(query, name) !== undefined;
  if (given('user.id') && given('group.id')) throw badRequest('Specify a user or group, not both');
  if (flag(query, 'effective') === true && given('group.id')) {
    throw badRequest('Combining effective and group filter will always result in an empty list.');
  }
  if (['scope.project.id', 'scope.domain.id', 'scope.system'].filter(given).length > 1) {
    throw badRequest('Specify a domain or project, not both');
  }
  if (flag(query, 'include_subtree') === true && !given('scope.project.id')) {
    throw badRequest('scope.project.id must be specified if include_subtree is also specified');
  }
}

function assignmentView(assignment: Assignment, withNames: boolean, v3: string): object {
  const { user, group, role, project, domain, source, inherited } = assignment;
  const place = project !== null ? { project } : domain !== null ? { domain } : { system: { all: true } };
  const scope = { ...(withNames ? place : bare(place)), ...(inherited ? { 'OS-INHERIT:inherited_to': 'projects' } : {}) };
  const holder = withNames
    ? { ...(user === null ? { group } : { user }), role: named(role) }
    : bare({ ...(user === null ? { group } : { user }), role });
  return { scope, ...holder, links: linksOf(assignment, source, v3) };
}

const named = ({ id, name, domain }: Assignment['role']) => ({ id, name, ...(domain === null ? {} : { domain }) });

/** Ids without the names. */
function bare(things: object): object {
  return Object.fromEntries(
    Object.entries(things).map(([key, thing]) => [
      key,
      typeof thing === 'object' && thing !== null && 'id' in thing ? { id: thing.id } : thing,
    ]),
  );
}

/** Where what counts was really assigned, and what stands between both. */
function linksOf({ user, group, role, project, domain, inherited }: Assignment, source: Assignment['source'], v3: string): object {
  const isInherited = inherited || source.projectId !== null || source.domainId !== null;
  const place =
    source.domainId !== null
      ? `domains/${source.domainId}`
      : project !== null
        ? `projects/${source.projectId ?? project.id}`
        : domain !== null
          ? `domains/${domain.id}`
          : 'system';
  const groupId = group?.id ?? source.groupId;
  const holder = groupId === null ? `users/${user?.id}` : `groups/${groupId}`;
  const path = `${place}/${holder}/roles/${source.roleId}`;
  return {
    assignment: isInherited ? `${v3}/OS-INHERIT/${path}/inherited_to_projects` : `${v3}/${path}`,
    ...(source.groupId === null ? {} : { membership: `${v3}/groups/${source.groupId}/users/${user?.id}` }),
    ...(source.roleId === role.id ? {} : { prior_role: `${v3}/prior_role/${source.roleId}/implies/${role.id}` }),
  };
}
