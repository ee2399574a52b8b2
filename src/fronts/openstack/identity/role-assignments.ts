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
      roleId: queryValue(query, 'role.id'),
      projectId: queryValue(query, 'scope.project.id'),
      includeSubtree: flag(query, 'include_subtree'),
      domainId: queryValue(query, 'scope.domain.id'),
      system: queryValue(query, 'scope.system') === undefined ? undefined : true,
      effective: flag(query, 'effective'),
    };
    const found = await front.identity.grants.assignments(request.token, filter);
    // There are no groups and no inherited grants, so nothing matches who asks for those.
    const none = queryValue(query, 'group.id') !== undefined || queryValue(query, 'scope.OS-INHERIT:inherited_to') !== undefined;
    const withNames = flag(query, 'include_names') ?? false;
    return collection(
      request,
      front,
      'role_assignments',
      none ? [] : found.map((assignment) => assignmentView(assignment, withNames, v3Of(request, front))),
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
  const { user, role, project, domain, priorRoleId } = assignment;
  const place = project !== null ? `projects/${project.id}` : domain !== null ? `domains/${domain.id}` : 'system';
  const links = {
    assignment: `${v3}/${place}/users/${user.id}/roles/${priorRoleId ?? role.id}`,
    ...(priorRoleId === null ? {} : { prior_role: `${v3}/prior_role/${priorRoleId}/implies/${role.id}` }),
  };
  const scope = project !== null ? { project } : domain !== null ? { domain } : { system: { all: true } };
  if (withNames) return { scope, user, role, links };
  const bareScope = project !== null ? { project: { id: project.id } } : domain !== null ? { domain: { id: domain.id } } : scope;
  return { scope: bareScope, user: { id: user.id }, role: { id: role.id }, links };
}
