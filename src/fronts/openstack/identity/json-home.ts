/** The JSON home document: which resources there are and where, for clients that ask instead of knowing. */
const relations = 'https://docs.openstack.org/api/openstack-identity/3/rel';
const extensionRelations = 'https://docs.openstack.org/api/openstack-identity/3/ext';
const parameters = 'https://docs.openstack.org/api/openstack-identity/3/param';

/** What extensions add, each with relations of its own. */
const extensions: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'OS-EC2': {
    user_credentials: '/users/{user_id}/credentials/OS-EC2',
    user_credential: '/users/{user_id}/credentials/OS-EC2/{credential_id}',
  },
  'OS-EP-FILTER': {
    endpoint_groups: '/OS-EP-FILTER/endpoint_groups',
    endpoint_group: '/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}',
    endpoint_group_endpoints: '/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints',
    endpoint_group_projects: '/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects',
    endpoint_group_to_project_association: '/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}',
    endpoint_projects: '/OS-EP-FILTER/endpoints/{endpoint_id}/projects',
    project_endpoint: '/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}',
    project_endpoint_groups: '/OS-EP-FILTER/projects/{project_id}/endpoint_groups',
    project_endpoints: '/OS-EP-FILTER/projects/{project_id}/endpoints',
  },
  'OS-INHERIT': {
    domain_user_role_inherited_to_projects: '/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects',
    domain_user_roles_inherited_to_projects: '/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects',
    domain_group_role_inherited_to_projects: '/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects',
    domain_group_roles_inherited_to_projects: '/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/inherited_to_projects',
    project_user_role_inherited_to_projects: '/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/{role_id}/inherited_to_projects',
    project_group_role_inherited_to_projects: '/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects',
  },
  'OS-OAUTH1': { consumers: '/OS-OAUTH1/consumers', consumer: '/OS-OAUTH1/consumers/{consumer_id}' },
};

const paths: Readonly<Record<string, string>> = {
  groups: '/groups',
  group: '/groups/{group_id}',
  group_users: '/groups/{group_id}/users',
  group_user: '/groups/{group_id}/users/{user_id}',
  user_groups: '/users/{user_id}/groups',
  project_tags: '/projects/{project_id}/tags',
  project_tag: '/projects/{project_id}/tags/{value}',
  project_group_role: '/projects/{project_id}/groups/{group_id}/roles/{role_id}',
  project_group_roles: '/projects/{project_id}/groups/{group_id}/roles',
  domain_group_role: '/domains/{domain_id}/groups/{group_id}/roles/{role_id}',
  domain_group_roles: '/domains/{domain_id}/groups/{group_id}/roles',
  system_group_role: '/system/groups/{group_id}/roles/{role_id}',
  system_group_roles: '/system/groups/{group_id}/roles',
  domain_config: '/domains/{domain_id}/config',
  domain_config_group: '/domains/{domain_id}/config/{group}',
  domain_config_option: '/domains/{domain_id}/config/{group}/{option}',
  domain_config_default: '/domains/config/default',
  domain_config_default_group: '/domains/config/{group}/default',
  domain_config_default_option: '/domains/config/{group}/{option}/default',
  access_rules: '/users/{user_id}/access_rules',
  access_rule: '/users/{user_id}/access_rules/{access_rule_id}',
  credentials: '/credentials',
  credential: '/credentials/{credential_id}',
  policies: '/policies',
  policy: '/policies/{policy_id}',
  auth_tokens: '/auth/tokens',
  auth_catalog: '/auth/catalog',
  auth_projects: '/auth/projects',
  auth_domains: '/auth/domains',
  auth_system: '/auth/system',
  domains: '/domains',
  domain: '/domains/{domain_id}',
  projects: '/projects',
  project: '/projects/{project_id}',
  users: '/users',
  user: '/users/{user_id}',
  user_projects: '/users/{user_id}/projects',
  user_change_password: '/users/{user_id}/password',
  roles: '/roles',
  role: '/roles/{role_id}',
  role_inferences: '/role_inferences',
  implied_roles: '/roles/{prior_role_id}/implies',
  implied_role: '/roles/{prior_role_id}/implies/{implied_role_id}',
  role_assignments: '/role_assignments',
  project_user_role: '/projects/{project_id}/users/{user_id}/roles/{role_id}',
  project_user_roles: '/projects/{project_id}/users/{user_id}/roles',
  domain_user_role: '/domains/{domain_id}/users/{user_id}/roles/{role_id}',
  domain_user_roles: '/domains/{domain_id}/users/{user_id}/roles',
  system_user_role: '/system/users/{user_id}/roles/{role_id}',
  system_user_roles: '/system/users/{user_id}/roles',
  application_credentials: '/users/{user_id}/application_credentials',
  application_credential: '/users/{user_id}/application_credentials/{application_credential_id}',
  services: '/services',
  service: '/services/{service_id}',
  endpoints: '/endpoints',
  endpoint: '/endpoints/{endpoint_id}',
  regions: '/regions',
  region: '/regions/{region_id}',
  registered_limits: '/registered_limits',
  registered_limit: '/registered_limits/{registered_limit_id}',
  limits: '/limits',
  limit: '/limits/{limit_id}',
  limit_model: '/limits/model',
};

function resource(path: string): object {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
  if (names.length === 0) return { href: path };
  return { 'href-template': path, 'href-vars': Object.fromEntries(names.map((name) => [name, `${parameters}/${name}`])) };
}

const resources = (base: string, described: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(described).map(([name, path]) => [`${base}/${name}`, resource(path)]));

export const jsonHome = {
  resources: Object.assign(
    resources(relations, paths),
    ...Object.entries(extensions).map(([name, described]) => resources(`${extensionRelations}/${name}/1.0/rel`, described)),
  ),
};
