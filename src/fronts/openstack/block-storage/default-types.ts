/** `/default-types` (3.62): which type the volumes of a project are of when a request names none. Only below `/v3`, for it names projects itself. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { parseBody, text } from '../shared/body.ts';
import type { BlockStorageFront } from './context.ts';
import { since } from './since.ts';

type OfProject = { Params: { project: string } };

const strict = { additionalProperties: false };
const set = Type.Object({ default_type: Type.Object({ volume_type: text(255, 1) }, strict) }, strict);
const newEnough = since(62);

export function registerDefaultTypeRoutes(app: FastifyInstance, { volumeTypes: { defaults } }: BlockStorageFront): void {
  const view = (type: { projectId: string; volumeTypeId: string }) => ({ project_id: type.projectId, volume_type_id: type.volumeTypeId });

  app.get('/default-types', newEnough, async (request) => {
    return { default_types: (await defaults.list(request.caller)).map(view) };
  });
  app.get<OfProject>('/default-types/:project', newEnough, async (request) => {
    return { default_type: view(await defaults.get(request.caller, request.params.project)) };
  });
  app.put<OfProject>('/default-types/:project', newEnough, async (request) => {
    const { volume_type: wanted } = parseBody(set, request.body).default_type;
    return { default_type: view(await defaults.set(request.caller, request.params.project, wanted)) };
  });
  app.delete<OfProject>('/default-types/:project', newEnough, async (request, reply) => {
    await defaults.unset(request.caller, request.params.project);
    return reply.code(204).send();
  });
}
