import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { JsonMap } from '../../../cloud/database/service.ts';
import type { User } from '../../../cloud/identity/entities.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { name, textOrNull } from './attributes.ts';
import { collection, flag, type IdentityFront, unknownAttributes, v3Of } from './context.ts';

export const userView = (user: User, request: FastifyRequest, front: IdentityFront) => ({
  ...user.extra,
  id: user.id,
  name: user.name,
  domain_id: user.domainId,
  enabled: user.enabled,
  password_expires_at: null,
  ...(user.defaultProjectId === null ? {} : { default_project_id: user.defaultProjectId }),
  options: user.options,
  links: { self: `${v3Of(request, front)}/users/${user.id}` },
});

const option = Type.Optional(Type.Union([Type.Boolean(), Type.Null()]));
const options = Type.Object(
  {
    ignore_lockout_failure_attempts: option,
    lock_password: option,
    ignore_password_expiry: option,
    ignore_change_password_upon_first_use: option,
    ignore_user_inactivity: option,
  },
  { additionalProperties: false },
);
const attributes = {
  domain_id: Type.Optional(textOrNull),
  default_project_id: Type.Optional(textOrNull),
  password: Type.Optional(textOrNull),
  enabled: Type.Optional(Type.Boolean()),
  description: Type.Optional(textOrNull),
  email: Type.Optional(textOrNull),
  options: Type.Optional(options),
};
const creation = Type.Object({ user: Type.Object({ name, ...attributes }) });
const change = Type.Object({ user: Type.Object({ name: Type.Optional(name), ...attributes }) });
const passwordChange = Type.Object({ user: Type.Object({ original_password: Type.String(), password: Type.String() }) });

const known = ['id', 'name', 'domain_id', 'default_project_id', 'password', 'enabled', 'password_expires_at', 'options', 'links'];

export function userRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { users } = front.identity;
  const view = (user: User, request: FastifyRequest) => ({ user: userView(user, request, front) });

  app.get('/users', async (request) => {
    const query = queryOf(request);
    const filter = { name: queryValue(query, 'name'), domainId: queryValue(query, 'domain_id'), enabled: flag(query, 'enabled') };
    const found = await users.list(request.token, filter);
    return collection(
      request,
      front,
      'users',
      found.map((user) => userView(user, request, front)),
    );
  });
  app.get<{ Params: { id: string } }>('/users/:id', async (request) => view(await users.get(request.token, request.params.id), request));
  app.post('/users', async (request, reply) => {
    const { user } = parseBody(creation, request.body, keystoneBodyMessage);
    reply.code(201);
    return view(await users.create(request.token, { name: user.name, ...inputOf(user) }), request);
  });
  app.patch<{ Params: { id: string } }>('/users/:id', async (request) => {
    const { user } = parseBody(change, request.body, keystoneBodyMessage);
    return view(await users.update(request.token, request.params.id, { name: user.name, ...inputOf(user) }), request);
  });
  app.delete<{ Params: { id: string } }>('/users/:id', async (request, reply) => {
    await users.delete(request.token, request.params.id);
    return reply.code(204).send();
  });
}

/** Asks for no token: the old password proves as much as one. */
export function passwordRoute(app: FastifyInstance, front: IdentityFront): void {
  app.post<{ Params: { id: string } }>('/users/:id/password', async (request, reply) => {
    const { user } = parseBody(passwordChange, request.body, keystoneBodyMessage);
    await front.identity.users.changePassword(request.params.id, user.original_password, user.password);
    return reply.code(204).send();
  });
}

interface Attributes {
  readonly domain_id?: string | null;
  readonly default_project_id?: string | null;
  readonly password?: string | null;
  readonly enabled?: boolean;
  readonly options?: Static<typeof options>;
}

const inputOf = (user: Attributes) => ({
  domainId: user.domain_id ?? undefined,
  defaultProjectId: user.default_project_id,
  password: user.password,
  enabled: user.enabled,
  options: user.options,
  // The body came from JSON, so its values are.
  extra: unknownAttributes(user, known) as JsonMap,
});
