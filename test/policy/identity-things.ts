import type { Answer } from '../support/api.ts';
import type { Maker } from './things.ts';
import { newName, password, type World } from './world.ts';

const v3 = '/identity/v3';

/** What an admin makes by one request, and how the answer calls it. */
const created =
  (collection: string, noun: string, attributes: (named: string) => object): Maker =>
  async ({ must, sessions }) =>
    (await must(sessions.admin, 'POST', `${v3}/${collection}`, { [noun]: attributes(newName(noun)) }))[noun].id;

const named = (name: string): object => ({ name });

/** Roles that somebody has somewhere: `{project-user-role}` is the one of `{user}` on `{project}`, `{inherited-…}` the one that projects below inherit. */
const grants: Record<string, Maker> = {};
for (const target of ['project', 'domain', 'system']) {
  for (const grantee of ['user', 'group']) {
    for (const inherited of target === 'system' ? [false] : [false, true]) {
      grants[`${inherited ? 'inherited-' : ''}${target}-${grantee}-role`] = async ({ must, sessions }, need) => {
        const place = target === 'system' ? 'system' : `${target}s/${await need(target)}`;
        const role = await need('role');
        const grant = `${place}/${grantee}s/${await need(grantee)}/roles/${role}`;
        await must(sessions.admin, 'PUT', `${v3}/${inherited ? `OS-INHERIT/${grant}/inherited_to_projects` : grant}`);
        return role;
      };
    }
  }
}

/** Of the member. */
const applicationCredential = async ({ must, sessions: { member } }: World, extra: object = {}): Promise<Answer> => {
  const body = { application_credential: { name: newName('credential'), ...extra } };
  return (await must(member, 'POST', `${v3}/users/${member.userId}/application_credentials`, body)).application_credential;
};

export const identityThings: Readonly<Record<string, Maker>> = {
  password: () => password,
  'new-name': () => newName('new'),
  'own-project': ({ sessions }) => sessions.member.projectId,
  'other-project': ({ sessions }) => sessions.other.projectId,
  'reader-user': ({ sessions }) => sessions.reader.userId,
  'member-user': ({ sessions }) => sessions.member.userId,
  'admin-user': ({ sessions }) => sessions.admin.userId,
  'admin-project': ({ sessions }) => sessions.admin.projectId,
  'member-role': ({ roleIds }) => roleIds.member ?? '',
  'member-token': async ({ sessions, logIn }) => (await logIn(sessions.member.userId, sessions.member.projectId)).token,

  domain: created('domains', 'domain', named),
  'disabled-domain': created('domains', 'domain', (name) => ({ name, enabled: false })),
  'configured-domain': async ({ must, sessions }, need) => {
    const domain = await need('domain');
    await must(sessions.admin, 'PUT', `${v3}/domains/${domain}/config`, { config: { ldap: { url: 'ldap://a', suffix: 'b' } } });
    return domain;
  },
  project: created('projects', 'project', (name) => ({ name, tags: ['here'] })),
  user: created('users', 'user', (name) => ({ name, password })),
  group: created('groups', 'group', named),
  'user-in-group': async ({ must, sessions }, need) => {
    const user = await need('user');
    await must(sessions.admin, 'PUT', `${v3}/groups/${await need('group')}/users/${user}`);
    return user;
  },
  /** The group that the member is in. */
  'member-group': async ({ must, sessions }, need) => {
    const group = await need('group');
    await must(sessions.admin, 'PUT', `${v3}/groups/${group}/users/${sessions.member.userId}`);
    return group;
  },
  role: created('roles', 'role', named),
  'role-below': created('roles', 'role', named),
  'implied-role': async ({ must, sessions }, need) => {
    const implied = await need('role-below');
    await must(sessions.admin, 'PUT', `${v3}/roles/${await need('role')}/implies/${implied}`);
    return implied;
  },
  ...grants,

  'application-credential': async (world) => (await applicationCredential(world)).id,
  'access-rule': async (world) => {
    const rules = [{ service: 'image', method: 'GET', path: `/v2/${newName('path')}` }];
    const { id, access_rules: kept } = await applicationCredential(world, { access_rules: rules });
    // A rule goes when no credential has it.
    const { must, sessions } = world;
    await must(sessions.member, 'DELETE', `${v3}/users/${sessions.member.userId}/application_credentials/${id}`);
    return kept[0].id;
  },
  credential: async ({ must, sessions }) => {
    const credential = { user_id: sessions.member.userId, type: 'cert', blob: 'text' };
    return (await must(sessions.member, 'POST', `${v3}/credentials`, { credential })).credential.id;
  },
  'ec2-access': async ({ must, sessions: { member } }) =>
    (await must(member, 'POST', `${v3}/users/${member.userId}/credentials/OS-EC2`, { tenant_id: member.projectId })).credential.access,

  region: created('regions', 'region', (id) => ({ id })),
  service: created('services', 'service', (name) => ({ type: 'test', name })),
  endpoint: async ({ must, sessions }, need) => {
    const endpoint = { service_id: await need('service'), interface: 'public', url: 'http://127.0.0.1:1/' };
    return (await must(sessions.admin, 'POST', `${v3}/endpoints`, { endpoint })).endpoint.id;
  },
  'endpoint-of-project': async ({ must, sessions }, need) => {
    const endpoint = await need('endpoint');
    await must(sessions.admin, 'PUT', `${v3}/OS-EP-FILTER/projects/${await need('project')}/endpoints/${endpoint}`);
    return endpoint;
  },
  'endpoint-group': created('OS-EP-FILTER/endpoint_groups', 'endpoint_group', (name) => ({ name, filters: { interface: 'public' } })),
  'endpoint-group-of-project': async ({ must, sessions }, need) => {
    const group = await need('endpoint-group');
    await must(sessions.admin, 'PUT', `${v3}/OS-EP-FILTER/endpoint_groups/${group}/projects/${await need('project')}`);
    return group;
  },
  policy: created('policies', 'policy', () => ({ type: 'text/plain', blob: 'text' })),
  'registered-limit': async ({ must, sessions }, need) => {
    const limit = { service_id: await need('service'), resource_name: newName('resource'), default_limit: 5 };
    return (await must(sessions.admin, 'POST', `${v3}/registered_limits`, { registered_limits: [limit] })).registered_limits[0].id;
  },
  limit: async ({ must, sessions }, need) => {
    const { registered_limit: registered } = await must(sessions.admin, 'GET', `${v3}/registered_limits/${await need('registered-limit')}`);
    const { service_id, resource_name } = registered;
    const limit = { project_id: sessions.member.projectId, service_id, resource_name, resource_limit: 7 };
    return (await must(sessions.admin, 'POST', `${v3}/limits`, { limits: [limit] })).limits[0].id;
  },
  /** Of a project that has no such limit yet. */
  'limited-resource': async ({ must, sessions }, need) => {
    const service = await need('service');
    const limit = { service_id: service, resource_name: service, default_limit: 5 };
    await must(sessions.admin, 'POST', `${v3}/registered_limits`, { registered_limits: [limit] });
    return service;
  },
  consumer: created('OS-OAUTH1/consumers', 'consumer', (description) => ({ description })),
};
