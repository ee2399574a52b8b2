/** Roles of users and groups on projects, on domains and on the system; and those that projects below inherit. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Grant, Grantee, GrantTarget } from '../../../cloud/identity/entities.ts';
import { collection, type IdentityFront } from './context.ts';
import { roleView } from './roles.ts';

interface Params {
  readonly target: string;
  readonly grantee: string;
  readonly role: string;
}

interface Place {
  readonly path: string;
  readonly targetOf: (id: string) => GrantTarget;
  /** Of the extension for inherited roles: all its paths end alike. */
  readonly inherited: boolean;
}

const targets = [
  { path: '/projects/:target', targetOf: (id: string): GrantTarget => ({ kind: 'project', id }) },
  { path: '/domains/:target', targetOf: (id: string): GrantTarget => ({ kind: 'domain', id }) },
];
const places: readonly Place[] = [
  ...targets.map((target) => ({ ...target, inherited: false })),
  ...targets.map((target) => ({ ...target, path: `/OS-INHERIT${target.path}`, inherited: true })),
  { path: '/system', targetOf: () => ({ kind: 'system' }), inherited: false },
];

const grantees = [
  { path: 'users', granteeOf: (id: string): Grantee => ({ userId: id }) },
  { path: 'groups', granteeOf: (id: string): Grantee => ({ groupId: id }) },
];

export function grantRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { grants } = front.identity;
  for (const place of places) {
    for (const { path: kind, granteeOf } of grantees) {
      const { inherited } = place;
      const suffix = inherited ? '/inherited_to_projects' : '';
      const path = `${place.path}/${kind}/:grantee/roles`;
      const grantOf = (request: FastifyRequest): Grant => {
        const { target, grantee, role } = request.params as Params;
        return { ...granteeOf(grantee), roleId: role, target: place.targetOf(target), inherited };
      };
      app.get(`${path}${suffix}`, async (request) => {
        const grant = grantOf(request);
        const roles = await grants.rolesOf(request.token, grant, grant.target, inherited);
        return collection(
          request,
          front,
          'roles',
          roles.map((role) => roleView(role, request, front)),
        );
      });
      app.put(`${path}/:role${suffix}`, async (request, reply) => {
        await grants.add(request.token, grantOf(request));
        return reply.code(204).send();
      });
      // Answers HEAD, too.
      app.get(`${path}/:role${suffix}`, async (request, reply) => {
        await grants.check(request.token, grantOf(request));
        return reply.code(204).send();
      });
      app.delete(`${path}/:role${suffix}`, async (request, reply) => {
        await grants.remove(request.token, grantOf(request));
        return reply.code(204).send();
      });
    }
  }
}
