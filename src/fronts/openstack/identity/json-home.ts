/** The JSON home document: which resources there are and where, for clients that ask instead of knowing. */
const relations = 'https://docs.openstack.org/api/openstack-identity/3/rel';
const parameters = 'https://docs.openstack.org/api/openstack-identity/3/param';

const paths: Readonly<Record<string, string>> = {
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
};

function resource(path: string): object {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
  if (names.length === 0) return { href: path };
  return { 'href-template': path, 'href-vars': Object.fromEntries(names.map((name) => [name, `${parameters}/${name}`])) };
}

export const jsonHome = {
  resources: Object.fromEntries(Object.entries(paths).map(([name, path]) => [`${relations}/${name}`, resource(path)])),
};
