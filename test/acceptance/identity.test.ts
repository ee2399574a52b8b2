import { afterAll, beforeAll, expect, it } from 'vitest';
import { type CommandResult, openstack, openstackJson, run } from '../support/clients.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/** An administrator gives somebody access with Debian's client, and that person uses it. */
let stateDir: string;
let service: ServiceUnderTest;

beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
});
afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
});

/** The client with what somebody else knows, and nothing from this test's surroundings. */
function asSomeone(credentials: Record<string, string>, ...args: string[]): Promise<CommandResult> {
  return run('/usr/bin/openstack', args, { OS_AUTH_URL: `${service.url}/identity/v3`, OS_IDENTITY_API_VERSION: '3', ...credentials });
}

const userAda = (password: string): Record<string, string> => ({
  OS_USERNAME: 'ada',
  OS_PASSWORD: password,
  OS_PROJECT_NAME: 'demo',
  OS_USER_DOMAIN_NAME: 'Default',
  OS_PROJECT_DOMAIN_NAME: 'Default',
});

it('gives a new user a project, a role and a password that works', async () => {
  const project = await openstackJson(service, 'project', 'create', 'demo', '--description', 'for ada');
  expect(project).toMatchObject({ name: 'demo', description: 'for ada', enabled: true, domain_id: 'default' });
  await openstackJson(service, 'user', 'create', 'ada', '--password', 'first', '--project', 'demo');
  expect((await asSomeone(userAda('first'), 'token', 'issue')).stderr).toContain(
    'The request you have made requires authentication. (HTTP 401)',
  );

  expect((await openstack(service, 'role', 'add', '--user', 'ada', '--project', 'demo', 'member')).code).toBe(0);
  const assignments = await openstackJson(service, 'role', 'assignment', 'list', '--names', '--user', 'ada');
  expect(assignments).toMatchObject([{ Role: 'member', User: 'ada@Default', Project: 'demo@Default' }]);
  const issued = await asSomeone(userAda('first'), 'token', 'issue', '-f', 'value', '-c', 'project_id');
  expect(issued.stdout.trim()).toBe(project.id);
});

it('shows a user only what is theirs', async () => {
  const refused = await asSomeone(userAda('first'), 'user', 'list');
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain('You are not authorized to perform the requested action: identity:list_users. (HTTP 403)');
  const projects = await asSomeone(userAda('first'), 'project', 'list', '-f', 'value', '-c', 'Name');
  expect(projects.stdout.trim()).toBe('demo');
});

it('lets an application credential stand in for the password', async () => {
  const made = await asSomeone(userAda('first'), 'application', 'credential', 'create', 'ci', '--role', 'member', '-f', 'json');
  const { id, secret } = JSON.parse(made.stdout) as { id: string; secret: string };
  const credentials = {
    OS_AUTH_TYPE: 'v3applicationcredential',
    OS_APPLICATION_CREDENTIAL_ID: id,
    OS_APPLICATION_CREDENTIAL_SECRET: secret,
  };
  const catalog = await asSomeone(credentials, 'catalog', 'list', '-f', 'value', '-c', 'Type');
  expect(catalog.stdout.trim().split('\n').sort()).toEqual(['block-storage', 'compute', 'identity', 'image', 'stillpoint', 'volumev3']);

  expect((await asSomeone(userAda('first'), 'application', 'credential', 'delete', 'ci')).code).toBe(0);
  expect((await asSomeone(credentials, 'catalog', 'list')).stderr).toContain('HTTP 401');
});

it('locks out an old password and a revoked token at once', async () => {
  const token = (await asSomeone(userAda('first'), 'token', 'issue', '-f', 'value', '-c', 'id')).stdout.trim();
  const withToken = { OS_AUTH_TYPE: 'v3token', OS_TOKEN: token, OS_PROJECT_NAME: 'demo', OS_PROJECT_DOMAIN_NAME: 'Default' };
  expect((await asSomeone(withToken, 'project', 'list')).code).toBe(0);
  expect((await openstack(service, 'user', 'set', 'ada', '--password', 'second')).code).toBe(0);
  expect((await asSomeone(withToken, 'project', 'list')).stderr).toContain('HTTP 401');
  expect((await asSomeone(userAda('first'), 'token', 'issue')).stderr).toContain('HTTP 401');

  const next = (await asSomeone(userAda('second'), 'token', 'issue', '-f', 'value', '-c', 'id')).stdout.trim();
  expect((await openstack(service, 'token', 'revoke', next)).code).toBe(0);
  expect((await asSomeone({ ...withToken, OS_TOKEN: next }, 'project', 'list')).stderr).toContain('HTTP 401');
});

it('takes everything away again', async () => {
  expect((await openstack(service, 'user', 'delete', 'ada')).code).toBe(0);
  expect((await openstack(service, 'project', 'delete', 'demo')).code).toBe(0);
  expect(await openstackJson(service, 'project', 'list')).toMatchObject([{ Name: 'admin' }]);
});
