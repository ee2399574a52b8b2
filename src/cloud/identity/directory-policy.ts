/**
 * Who may do what in Identity itself. An admin may do everything. `reader`: also a reader of the whole system, and a reader of a domain
 * for what is in it. `own`: also the user (or for a project, whoever has a token for it). `self`: nobody but the user. `inside`: also
 * whoever has a token for the domain or for a project in it. `anyone`: whoever has a token.
 */
import { notAuthorised } from './refusals.ts';
import type { ValidToken } from './token.ts';

type Rule = 'admin' | 'reader' | 'own' | 'self' | 'inside' | 'anyone';

export const directoryRules = {
  list_domains: 'reader',
  get_domain: 'inside',
  create_domain: 'admin',
  update_domain: 'admin',
  delete_domain: 'admin',
  get_domain_config: 'reader',
  get_domain_config_default: 'reader',
  create_domain_config: 'admin',
  update_domain_config: 'admin',
  delete_domain_config: 'admin',
  list_projects: 'reader',
  list_user_projects: 'own',
  get_project: 'own',
  create_project: 'admin',
  update_project: 'admin',
  delete_project: 'admin',
  list_project_tags: 'own',
  get_project_tag: 'own',
  create_project_tag: 'admin',
  update_project_tags: 'admin',
  delete_project_tag: 'admin',
  delete_project_tags: 'admin',
  list_users: 'reader',
  get_user: 'own',
  create_user: 'admin',
  update_user: 'admin',
  delete_user: 'admin',
  list_groups: 'reader',
  list_groups_for_user: 'own',
  get_group: 'reader',
  create_group: 'admin',
  update_group: 'admin',
  delete_group: 'admin',
  list_users_in_group: 'reader',
  check_user_in_group: 'own',
  add_user_to_group: 'admin',
  remove_user_from_group: 'admin',
  list_roles: 'reader',
  get_role: 'reader',
  create_role: 'admin',
  update_role: 'admin',
  delete_role: 'admin',
  list_domain_roles: 'reader',
  list_role_inference_rules: 'reader',
  list_implied_roles: 'reader',
  get_implied_role: 'reader',
  create_implied_role: 'admin',
  delete_implied_role: 'admin',
  list_grants: 'reader',
  check_grant: 'reader',
  create_grant: 'admin',
  revoke_grant: 'admin',
  list_role_assignments: 'reader',
  list_application_credentials: 'own',
  get_application_credential: 'own',
  create_application_credential: 'self',
  delete_application_credential: 'own',
  list_access_rules: 'own',
  get_access_rule: 'own',
  delete_access_rule: 'own',
  list_credentials: 'own',
  get_credential: 'own',
  create_credential: 'own',
  update_credential: 'own',
  delete_credential: 'own',
  ec2_list_credentials: 'own',
  ec2_get_credential: 'own',
  ec2_create_credential: 'own',
  ec2_delete_credential: 'own',
  validate_token: 'own',
  revoke_token: 'own',
  list_services: 'reader',
  get_service: 'reader',
  create_service: 'admin',
  update_service: 'admin',
  delete_service: 'admin',
  list_endpoints: 'reader',
  get_endpoint: 'reader',
  create_endpoint: 'admin',
  update_endpoint: 'admin',
  delete_endpoint: 'admin',
  list_regions: 'anyone',
  get_region: 'anyone',
  create_region: 'admin',
  update_region: 'admin',
  delete_region: 'admin',
  list_endpoint_groups: 'reader',
  get_endpoint_group: 'reader',
  create_endpoint_group: 'admin',
  update_endpoint_group: 'admin',
  delete_endpoint_group: 'admin',
  list_projects_associated_with_endpoint_group: 'reader',
  list_endpoints_associated_with_endpoint_group: 'reader',
  get_endpoint_group_in_project: 'reader',
  list_endpoint_groups_for_project: 'reader',
  add_endpoint_group_to_project: 'admin',
  remove_endpoint_group_from_project: 'admin',
  list_projects_for_endpoint: 'reader',
  list_endpoints_for_project: 'reader',
  check_endpoint_in_project: 'reader',
  add_endpoint_to_project: 'admin',
  remove_endpoint_from_project: 'admin',
  list_policies: 'reader',
  get_policy: 'reader',
  create_policy: 'admin',
  update_policy: 'admin',
  delete_policy: 'admin',
  list_consumers: 'reader',
  get_consumer: 'reader',
  create_consumer: 'admin',
  update_consumer: 'admin',
  delete_consumer: 'admin',
  list_registered_limits: 'anyone',
  get_registered_limit: 'anyone',
  create_registered_limits: 'admin',
  update_registered_limit: 'admin',
  delete_registered_limit: 'admin',
  list_limits: 'anyone',
  get_limit: 'own',
  create_limits: 'admin',
  update_limit: 'admin',
  delete_limit: 'admin',
} as const satisfies Record<string, Rule>;

export type DirectoryAction = keyof typeof directoryRules;

export interface DirectoryTarget {
  readonly userId?: string | undefined;
  readonly projectId?: string | undefined;
  readonly domainId?: string | undefined;
}

export function authoriseDirectory(asker: ValidToken, action: DirectoryAction, target: DirectoryTarget = {}): void {
  if (!isAllowedInDirectory(asker, action, target)) throw notAuthorised(`identity:${action}`);
}

/** Without a target: to everything there is. */
export function isAllowedInDirectory(asker: ValidToken, action: DirectoryAction, target: DirectoryTarget = {}): boolean {
  const rule: Rule = directoryRules[action];
  const isUser = target.userId === asker.user.id;
  if (rule === 'self') return isUser;
  if (rule === 'anyone') return true;
  const roles = asker.roles.map((role) => role.name);
  if (roles.includes('admin')) return true;
  if (rule === 'admin') return false;
  if (roles.includes('reader') && readsBeyondProjects(asker, target)) return true;
  if (rule === 'reader') return false;
  if (rule === 'inside') return target.domainId !== undefined && domainOfScope(asker) === target.domainId;
  return isUser || (asker.scope.kind === 'project' && asker.scope.project.id === target.projectId);
}

function readsBeyondProjects({ scope }: ValidToken, target: DirectoryTarget): boolean {
  return scope.kind === 'system' || (scope.kind === 'domain' && scope.domain.id === target.domainId);
}

function domainOfScope({ scope }: ValidToken): string | undefined {
  if (scope.kind === 'project') return scope.project.domain.id;
  return scope.kind === 'domain' ? scope.domain.id : undefined;
}

/** The domain that a list is about when the request names none: a domain's reader sees that domain only. */
export function domainOfList(asker: ValidToken, asked: string | undefined): string | undefined {
  return asked ?? (asker.scope.kind === 'domain' ? asker.scope.domain.id : undefined);
}
