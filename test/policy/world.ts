/** Two projects of a running service and those who work in them, each with a token: the askers of the matrix. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Answer } from '../support/api.ts';
import type { ServiceUnderTest } from '../support/service.ts';
import type { Asker } from './matrix.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface Session {
  readonly userId: string;
  readonly projectId: string;
  readonly token: string;
}

export interface World {
  /** `reader` and `member` work in one project, `other` is a member of another one, `admin` works in a third. */
  readonly sessions: Readonly<Record<Exclude<Asker, 'nobody'>, Session>>;
  readonly roleIds: Readonly<Record<string, string>>;
  send(token: string | undefined, method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Reply>;
  /** As somebody who may. Throws on 400 and more; returns what the body holds. */
  must(session: Session, method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  logIn(userId: string, projectId: string): Promise<Session>;
}

/** Of everybody here but the admin. */
export const password = 'A password of the matrix';
export const newName = (what: string): string => `${what}-${Math.random().toString(36).slice(2)}`;

export async function makeWorld(service: ServiceUnderTest): Promise<World> {
  const send: World['send'] = async (token, method, path, body, headers) => {
    const given = {
      'openstack-api-version': 'volume 3.70, compute 2.93',
      ...(token === undefined ? {} : { 'x-auth-token': token }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    };
    const init: RequestInit = { method, headers: given, redirect: 'manual', signal: AbortSignal.timeout(60_000) };
    if (body !== undefined) init.body = typeof body === 'string' ? body : JSON.stringify(body);
    const reply = await fetch(`${service.url}${path}`, init);
    return { status: reply.status, headers: reply.headers, text: await reply.text() };
  };
  const must: World['must'] = async ({ token }, method, path, body, headers) => {
    const reply = await send(token, method, path, body, headers);
    if (reply.status >= 400) throw new Error(`${method} ${path}: ${reply.status} ${reply.text}`);
    return reply.text === '' ? undefined : JSON.parse(reply.text);
  };
  const logInAs = async (user: object, project: object): Promise<Session> => {
    const auth = { identity: { methods: ['password'], password: { user } }, scope: { project } };
    const reply = await send(undefined, 'POST', '/identity/v3/auth/tokens', { auth });
    if (reply.status !== 201) throw new Error(`login: ${reply.status} ${reply.text}`);
    const { token } = JSON.parse(reply.text) as Answer;
    return { userId: token.user.id, projectId: token.project.id, token: reply.headers.get('x-subject-token') ?? '' };
  };
  const logIn: World['logIn'] = (id, projectId) => logInAs({ id, password }, { id: projectId });

  const { auth } = parse(await readFile(join(service.stateDir, 'clouds.yaml'), 'utf8')).clouds.stillpoint;
  const domain = { id: 'default' };
  const admin = await logInAs({ name: auth.username, domain, password: auth.password }, { name: auth.project_name, domain });
  const { roles } = await must(admin, 'GET', '/identity/v3/roles');
  const roleIds = Object.fromEntries(roles.map(({ id, name }: Answer) => [name, id]));

  const makeProject = async (): Promise<string> =>
    (await must(admin, 'POST', '/identity/v3/projects', { project: { name: newName('project'), tags: ['here'] } })).project.id;
  const makeUser = async (projectId: string, role: string): Promise<Session> => {
    const { user } = await must(admin, 'POST', '/identity/v3/users', { user: { name: newName(role), password } });
    await must(admin, 'PUT', `/identity/v3/projects/${projectId}/users/${user.id}/roles/${roleIds[role]}`);
    return await logIn(user.id, projectId);
  };
  const [first, second] = [await makeProject(), await makeProject()];
  const [reader, member, other] = [await makeUser(first, 'reader'), await makeUser(first, 'member'), await makeUser(second, 'member')];
  return { sessions: { other, reader, member, admin }, roleIds, send, must, logIn };
}
