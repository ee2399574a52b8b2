/** Who sends requests to a front in this process, with tokens that they logged in for. */
import type { FastifyInstance } from 'fastify';
import { expect } from 'vitest';

export interface Person {
  readonly token: string;
  readonly userId: string;
  readonly projectId: string;
}

const domain = { id: 'default' };

export async function signIn(app: FastifyInstance, name: string, password: string, project: string): Promise<Person> {
  const identity = { methods: ['password'], password: { user: { name, password, domain } } };
  const payload = { auth: { identity, scope: { project: { name: project, domain } } } };
  const answer = await app.inject({ method: 'POST', url: '/identity/v3/auth/tokens', payload });
  expect(answer.statusCode, answer.body).toBe(201);
  const { token } = answer.json();
  return { token: String(answer.headers['x-subject-token']), userId: token.user.id, projectId: token.project.id };
}

/** With this role in a project of their own, both of this name. */
export async function memberOf(app: FastifyInstance, admin: Person, name: string, role = 'member'): Promise<Person> {
  const call = async (method: 'GET' | 'POST' | 'PUT', path: string, payload?: object) => {
    const headers = { 'x-auth-token': admin.token };
    const answer = await app.inject({ method, url: `/identity/v3${path}`, headers, ...(payload && { payload }) });
    expect(answer.statusCode, answer.body).toBeLessThan(300);
    return answer.body === '' ? undefined : answer.json();
  };
  const { project } = await call('POST', '/projects', { project: { name, domain_id: 'default' } });
  const { user } = await call('POST', '/users', { user: { name, password: name, domain_id: 'default' } });
  const { roles } = await call('GET', `/roles?name=${role}`);
  await call('PUT', `/projects/${project.id}/users/${user.id}/roles/${roles[0].id}`);
  return await signIn(app, name, name, name);
}
