/** Roles of users on projects, on domains and on the system. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { GrantTarget } from '../../../cloud/identity/entities.ts';
import { collection, type IdentityFront } from './context.ts';
import { roleView } from './roles.ts';

interface Params {
  readonly target: string;
  readonly user: string;
  readonly role: string;
}

const places: readonly { readonly path: string; readonly targetOf: (id: string) => GrantTarget }[] = [
  { path: '/projects/:target/users/:user/roles', targetOf: (id) => ({ kind: 'project', id }) },
  { path: '/domains/:target/users/:user/roles', targetOf: (id) => ({ kind: 'domain', id }) },
  { path: '/system/users/:user/roles', targetOf: () => ({ kind: 'system' }) },
];

export function grantRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { grants } = front.identity;
  for (const { path, targetOf } of places) {
    const grantOf = (request: FastifyRequest) => {
      const { target, user, role } = request.params as Params;
      return { userId: user, roleId: role, target: targetOf(target) };
    };
    app.get(path, async (request) => {
      const { userId, target } = grantOf(request);
      const roles = await grants.rolesOf(request.token, userId, target);
      return collection(
        request,
        front,
        'roles',
        roles.map((role) => roleView(role, request, front)),
      );
    });
    app.put(`${path}/:role`, async (request, reply) => {
      await grants.add(request.token, grantOf(request));
      return reply.code(204).send();
    });
    // Answers HEAD, too.
    app.get(`${path}/:role`, async (request, reply) => {
      await grants.check(request.token, grantOf(request));
      return reply.code(204).send();
    });
    app.delete(`${path}/:role`, async (request, reply) => {
      await grants.remove(request.token, grantOf(request));
      return reply.code(204).send();
    });
  }
}
