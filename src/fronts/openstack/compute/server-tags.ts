/** `/servers/{id}/tags`, which versions from 2.26 on know. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody } from '../shared/body.ts';
import type { ComputeFront } from './context.ts';
import { between } from './microversions.ts';
import { tag, tagsBody, tagsMax } from './server-bodies.ts';
import { viewerOf } from './viewer.ts';

type WithId = { Params: { id: string } };
type WithTag = { Params: { id: string; tag: string } };

export function registerServerTags(app: FastifyInstance, { servers, publicUrl }: ComputeFront): void {
  const all = '/servers/:id/tags';
  const one = `${all}/:tag`;
  const known = between(26);
  app.get<WithId>(all, known, async ({ caller, params }) => ({ tags: (await servers.get(caller, params.id)).tags }));
  app.put<WithId>(all, known, async ({ caller, params, body }) => {
    const { tags } = parseBody(tagsBody, body);
    return { tags: await servers.changeTags(caller, params.id, () => [...new Set(tags)]) };
  });
  app.delete<WithId>(all, known, async ({ caller, params }, reply) => {
    await servers.changeTags(caller, params.id, () => []);
    return reply.code(204).send();
  });
  app.get<WithTag>(one, known, async ({ caller, params }, reply) => {
    const { tags } = await servers.get(caller, params.id);
    if (!tags.includes(params.tag)) throw missing(params);
    return reply.code(204).send();
  });
  app.put<WithTag>(one, known, async (request, reply) => {
    const { caller, params } = request;
    const asked = parseBody(tag, params.tag);
    let isNew = false;
    await servers.changeTags(caller, params.id, (tags) => {
      isNew = !tags.includes(asked);
      if (isNew && tags.length >= tagsMax) throw badRequest(`The number of tags exceeded the per-server limit ${tagsMax}`);
      return isNew ? [...tags, asked] : tags;
    });
    if (!isNew) return reply.code(204).send();
    const [self] = viewerOf(request as FastifyRequest, publicUrl).linksTo('servers', params.id);
    return reply
      .code(201)
      .header('location', `${self?.href}/tags/${encodeURIComponent(asked)}`)
      .send();
  });
  app.delete<WithTag>(one, known, async ({ caller, params }, reply) => {
    await servers.changeTags(caller, params.id, (tags) => {
      if (!tags.includes(params.tag)) throw missing(params);
      return tags.filter((name) => name !== params.tag);
    });
    return reply.code(204).send();
  });
}

const missing = ({ id, tag: name }: { id: string; tag: string }) => notFound(`Server ${id} has no tag '${name}'`);
