import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { DescribedCredential } from '../../../cloud/identity/application-credentials.ts';
import type { AccessRule } from '../../../cloud/identity/token.ts';
import { type Timestamp, timestampOf } from '../../../lib/clock.ts';
import { badRequest } from '../../../lib/errors.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { expecting } from '../shared/keystone-error.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import { collection, type IdentityFront, v3Of } from './context.ts';
import { roleView } from './roles.ts';

const credentialView = (credential: DescribedCredential, request: FastifyRequest, front: IdentityFront) => ({
  id: credential.id,
  name: credential.name,
  description: credential.description,
  project_id: credential.projectId,
  user_id: credential.userId,
  roles: credential.roles.map((role) => roleView(role, request, front)),
  // Without a zone, unlike in tokens.
  expires_at: credential.expiresAt,
  unrestricted: credential.unrestricted,
  ...(credential.accessRules.length === 0 ? {} : { access_rules: credential.accessRules }),
  links: { self: `${v3Of(request, front)}/users/${credential.userId}/application_credentials/${credential.id}` },
});

const roleReference = Type.Object({ id: Type.Optional(Type.String()), name: Type.Optional(Type.String()) });

const accessRule = Type.Union([
  Type.Object({ id: Type.String() }, { additionalProperties: false }),
  Type.Object(
    {
      service: text(64, 1),
      method: Type.Enum(['DELETE', 'GET', 'HEAD', 'PATCH', 'POST', 'PUT']),
      path: Type.Refine(
        text(225, 1),
        (path) => path.startsWith('/'),
        () => "{value} does not match '^/\\.*'",
      ),
    },
    { additionalProperties: false },
  ),
]);

/** Closed: what limits a credential must never be taken and then not be kept to. */
const creation = Type.Object({
  application_credential: Type.Object(
    {
      name: text(255, 1),
      description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
      secret: Type.Optional(Type.Union([text(255, 1), Type.Null()])),
      roles: Type.Optional(Type.Array(roleReference)),
      expires_at: Type.Optional(Type.Union([Type.String(), Type.Null()])),
      unrestricted: Type.Optional(Type.Boolean()),
      project_id: Type.Optional(Type.String()),
      access_rules: Type.Optional(Type.Array(accessRule, { maxItems: 100 })),
    },
    { additionalProperties: false },
  ),
});

interface Params {
  readonly user: string;
  readonly id: string;
}

export function applicationCredentialRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { applicationCredentials } = front.identity;
  const path = '/users/:user/application_credentials';

  app.get<{ Params: Params }>(path, async (request) => {
    const name = queryValue(queryOf(request), 'name');
    const found = await applicationCredentials.list(request.token, request.params.user, name);
    return collection(
      request,
      front,
      'application_credentials',
      found.map((credential) => credentialView(credential, request, front)),
    );
  });
  app.get<{ Params: Params }>(`${path}/:id`, async (request) => {
    const { user, id } = request.params;
    const credential = await applicationCredentials.get(request.token, user, id);
    return { application_credential: credentialView(credential, request, front) };
  });
  app.post<{ Params: Params }>(path, async (request, reply) => {
    const { application_credential: body } = parseBody(creation, request.body, keystoneBodyMessage);
    const { scope } = request.token;
    if (body.project_id !== undefined && scope.kind === 'project' && body.project_id !== scope.project.id) {
      throw badRequest('The project_id of an application credential has to be that of the token.');
    }
    const credential = await applicationCredentials.create(request.token, request.params.user, {
      name: body.name,
      description: body.description,
      secret: body.secret,
      unrestricted: body.unrestricted,
      expiresAt: parseTime(body.expires_at),
      roles: body.roles?.map(roleKey),
      accessRules: body.access_rules,
    });
    reply.code(201);
    return { application_credential: { ...credentialView(credential, request, front), secret: credential.secret } };
  });
  app.delete<{ Params: Params }>(`${path}/:id`, async (request, reply) => {
    await applicationCredentials.delete(request.token, request.params.user, request.params.id);
    return reply.code(204).send();
  });
}

export function accessRuleRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { accessRules } = front.identity.applicationCredentials;
  const path = '/users/:user/access_rules';
  const view = (rule: AccessRule, { user }: Params, request: FastifyRequest) => ({
    ...rule,
    links: { self: `${v3Of(request, front)}/users/${user}/access_rules/${rule.id}` },
  });

  app.get<{ Params: Params }>(path, async (request) => {
    const query = queryOf(request);
    const matches = (rule: AccessRule) =>
      (['service', 'method', 'path'] as const).every((key) => [undefined, rule[key]].includes(queryValue(query, key)));
    const found = await accessRules.list(request.token, request.params.user);
    return collection(
      request,
      front,
      'access_rules',
      found.filter(matches).map((rule) => view(rule, request.params, request)),
    );
  });
  app.get<{ Params: Params }>(`${path}/:id`, async (request) => {
    const { user, id } = request.params;
    return { access_rule: view(await accessRules.get(request.token, user, id), request.params, request) };
  });
  app.delete<{ Params: Params }>(`${path}/:id`, async (request, reply) => {
    await accessRules.delete(request.token, request.params.user, request.params.id);
    return reply.code(204).send();
  });
}

function roleKey(role: Static<typeof roleReference>): { id: string } | { name: string } {
  if (role.id !== undefined) return { id: role.id };
  if (role.name !== undefined) return { name: role.name };
  throw badRequest(expecting('id or name', 'role'));
}

/** ISO 8601; without a zone it means UTC. */
function parseTime(given: string | null | undefined): Timestamp | null {
  if (given === null || given === undefined) return null;
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/i.test(given) ? given : `${given}Z`;
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?/.test(given) ? new Date(zoned) : undefined;
  if (time === undefined || Number.isNaN(time.getTime())) {
    throw badRequest(`Invalid input for field 'expires_at': '${given}' is not a time in the form 2026-01-31T12:00:00`);
  }
  const fraction = /:\d\d\.(\d{1,6})/.exec(given)?.[1] ?? '';
  // A Date would cut microseconds off.
  return `${timestampOf(time).slice(0, 20)}${fraction.padEnd(6, '0')}`;
}
