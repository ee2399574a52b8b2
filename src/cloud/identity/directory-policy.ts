/**
 * Who may do what in Identity itself. An admin may do everything. `reader`: also a reader of the whole system, and a reader of a domain
 * for what is in it. `own`: also the user (or for a project, whoever has a token for it). `self`: nobody but the user.
 */
import { notAuthorised } from './refusals.ts';
import type { ValidToken } from './token.ts';

type Rule = 'admin' | 'reader' | 'own' | 'self';

const rules = {
  list_domains: 'reader',
  get_domain: 'reader',
  create_domain: 'admin',
  update_domain: 'admin',
  delete_domain: 'admin',
  list_projects: 'reader',
  list_user_projects: 'own',
  get_project: 'own',
  create_project: 'admin',
  update_project: 'admin',
  delete_project: 'admin',
  list_users: 'reader',
  get_user: 'own',
  create_user: 'admin',
  update_user: 'admin',
  delete_user: 'admin',
  list_roles: 'reader',
  get_role: 'reader',
  create_role: 'admin',
  update_role: 'admin',
  delete_role: 'admin',
  list_implied_roles: 'reader',
  list_grants: 'reader',
  check_grant: 'reader',
  create_grant: 'admin',
  revoke_grant: 'admin',
  list_role_assignments: 'reader',
  list_application_credentials: 'own',
  get_application_credential: 'own',
  create_application_credential: 'self',
  delete_application_credential: 'own',
  validate_token: 'own',
  revoke_token: 'own',
  list_services: 'reader',
  get_service: 'reader',
  list_endpoints: 'reader',
  get_endpoint: 'reader',
} as const satisfies Record<string, Rule>;

export type DirectoryAction = keyof typeof rules;

export interface DirectoryTarget {
  readonly userId?: string | undefined;
  readonly projectId?: string | undefined;
  readonly domainId?: string | undefined;
}

export function authoriseDirectory(asker: ValidToken, action: DirectoryAction, target: DirectoryTarget = {}): void {
  if (!isAllowed(asker, rules[action], target)) throw notAuthorised(`identity:${action}`);
}

function isAllowed(asker: ValidToken, rule: Rule, target: DirectoryTarget): boolean {
  const isUser = target.userId === asker.user.id;
  if (rule === 'self') return isUser;
  const roles = asker.roles.map((role) => role.name);
  if (roles.includes('admin')) return true;
  if (rule === 'admin') return false;
  if (roles.includes('reader') && readsBeyondProjects(asker, target)) return true;
  if (rule === 'reader') return false;
  return isUser || (asker.scope.kind === 'project' && asker.scope.project.id === target.projectId);
}

function readsBeyondProjects({ scope }: ValidToken, target: DirectoryTarget): boolean {
  return scope.kind === 'system' || (scope.kind === 'domain' && scope.domain.id === target.domainId);
}

/** The domain that a list is about when the request names none: a domain's reader sees that domain only. */
export function domainOfList(asker: ValidToken, asked: string | undefined): string | undefined {
  return asked ?? (asker.scope.kind === 'domain' ? asker.scope.domain.id : undefined);
}
