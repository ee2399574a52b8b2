/** Credentials that users keep here, in general and as those of EC2. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Credential, Ec2Credential } from '../../../cloud/identity/credentials.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { queryValue } from '../shared/paging.ts';
import { textOrNull } from './attributes.ts';
import { collection, type IdentityFront, v3Of } from './context.ts';
import { resourceRoutes } from './resources.ts';

const blob = text(65_535);
const creation = Type.Object({
  credential: Type.Object({ user_id: Type.String(), project_id: Type.Optional(textOrNull), type: text(255, 1), blob }),
});
const change = Type.Object({
  credential: Type.Object({
    user_id: Type.Optional(Type.String()),
    project_id: Type.Optional(textOrNull),
    type: Type.Optional(text(255, 1)),
    blob: Type.Optional(blob),
  }),
});

export function credentialRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { credentials } = front.identity;
  resourceRoutes<Credential>(app, front, {
    path: '/credentials',
    singular: 'credential',
    plural: 'credentials',
    view: (credential, request) => ({
      id: credential.id,
      user_id: credential.userId,
      project_id: credential.projectId,
      type: credential.type,
      blob: credential.blob,
      links: { self: `${v3Of(request, front)}/credentials/${credential.id}` },
    }),
    list: (token, query) => credentials.list(token, { userId: queryValue(query, 'user_id'), type: queryValue(query, 'type') }),
    get: (token, id) => credentials.get(token, id),
    create: (token, body) => {
      const { credential } = parseBody(creation, body, keystoneBodyMessage);
      const { user_id: userId, project_id: projectId = null, type } = credential;
      return credentials.create(token, { userId, projectId, type, blob: credential.blob });
    },
    update: (token, id, body) => {
      const { credential } = parseBody(change, body, keystoneBodyMessage);
      const { user_id: userId, project_id: projectId, type } = credential;
      return credentials.update(token, id, { userId, projectId, type, blob: credential.blob });
    },
    delete: (token, id) => credentials.delete(token, id),
  });
  ec2Routes(app, front);
}

const ec2Creation = Type.Object({ tenant_id: text(64, 1) });

interface Params {
  readonly user: string;
  readonly access: string;
}

function ec2Routes(app: FastifyInstance, front: IdentityFront): void {
  const { ec2 } = front.identity.credentials;
  const path = '/users/:user/credentials/OS-EC2';
  const view = ({ access, secret, userId, projectId }: Ec2Credential, request: FastifyRequest) => ({
    access,
    secret,
    user_id: userId,
    tenant_id: projectId,
    trust_id: null,
    links: { self: `${v3Of(request, front)}/users/${userId}/credentials/OS-EC2/${access}` },
  });

  app.get<{ Params: Params }>(path, async (request) => {
    const found = await ec2.list(request.token, request.params.user);
    return collection(
      request,
      front,
      'credentials',
      found.map((credential) => view(credential, request)),
    );
  });
  app.post<{ Params: Params }>(path, async (request, reply) => {
    const { tenant_id } = parseBody(ec2Creation, request.body, keystoneBodyMessage);
    const credential = await ec2.create(request.token, request.params.user, tenant_id);
    reply.code(201);
    return { credential: view(credential, request) };
  });
  app.get<{ Params: Params }>(`${path}/:access`, async (request) => ({
    credential: view(await ec2.get(request.token, request.params.user, request.params.access), request),
  }));
  app.delete<{ Params: Params }>(`${path}/:access`, async (request, reply) => {
    await ec2.delete(request.token, request.params.user, request.params.access);
    return reply.code(204).send();
  });
}
