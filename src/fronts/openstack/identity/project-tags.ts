import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { publicBase } from '../shared/links.ts';
import { tag, tags } from './attributes.ts';
import type { IdentityFront } from './context.ts';

const replacement = Type.Object({ tags });
const single = Type.Object({ tag });

type OfProject = { Params: { id: string } };
type OfTag = { Params: { id: string; tag: string } };

export function projectTagRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { projects } = front.identity;
  const path = '/projects/:id/tags';
  const view = (found: readonly string[], request: FastifyRequest) => ({
    tags: found,
    links: { next: null, self: publicBase(request, front.publicUrl) + request.url, previous: null },
  });

  app.get<OfProject>(path, async (request) => view(await projects.tags(request.token, request.params.id), request));
  app.put<OfProject>(path, async (request) => {
    const body = parseBody(replacement, request.body, keystoneBodyMessage);
    return view(await projects.setTags(request.token, request.params.id, body.tags), request);
  });
  app.delete<OfProject>(path, async (request, reply) => {
    await projects.removeTags(request.token, request.params.id);
    return reply.code(204).send();
  });
  // Answers HEAD, too.
  app.get<OfTag>(`${path}/:tag`, async (request, reply) => {
    await projects.checkTag(request.token, request.params.id, request.params.tag);
    return reply.code(204).send();
  });
  app.put<OfTag>(`${path}/:tag`, async (request, reply) => {
    const name = parseBody(single, { tag: request.params.tag }, keystoneBodyMessage).tag;
    await projects.addTag(request.token, request.params.id, name);
    return reply
      .code(201)
      .header('location', publicBase(request, front.publicUrl) + request.url)
      .send();
  });
  app.delete<OfTag>(`${path}/:tag`, async (request, reply) => {
    await projects.removeTag(request.token, request.params.id, request.params.tag);
    return reply.code(204).send();
  });
}
