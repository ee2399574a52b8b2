/** Image, version 2: what `/image` answers. */
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { ImagesService } from '../../../cloud/images/service.ts';
import { badRequest, notFound, unsupportedMediaType } from '../../../lib/errors.ts';
import { authenticate, type TokenValidator } from '../shared/authentication.ts';
import { answerWithGlanceErrors } from '../shared/glance-error.ts';
import { acceptJson } from '../shared/json-parser.ts';
import { publicBase } from '../shared/links.ts';
import { queryOf } from '../shared/paging.ts';
import { nameRequests } from '../shared/request-id.ts';
import { serveDiscovery } from '../shared/service-root.ts';
import { parseNewImage } from './create.ts';
import { imageDataRoutes } from './data.ts';
import { importRoutes, taskRoutes } from './imports.ts';
import { memberDeleteRoutes, memberRoutes } from './members.ts';
import { itemBodilessRoutes, itemRoutes } from './metadefs/items.ts';
import { namespaceDeleteRoutes, namespaceRoutes, resourceTypeRoutes } from './metadefs/namespaces.ts';
import { draftOf, parsePatch, patchMediaTypes } from './patch.ts';
import { parseImageQuery } from './query.ts';
import { schemaRoutes } from './schemas.ts';
import { versionsDocument } from './versions.ts';
import { imageListView, imageView } from './view.ts';

export interface ImageFrontOptions {
  readonly images: ImagesService;
  readonly identity: TokenValidator;
  readonly publicUrl: string | undefined;
}

type WithId = { Params: { id: string } };
type WithTag = { Params: { id: string; tag: string } };

const servicePath = '/image';
const tagLengthMax = 255;
/** 128 properties of some length, and room to spare. */
const bodyBytesMax = 1024 * 1024;

/** Register it below the prefix `/image`. */
export function imageFront(app: FastifyInstance, options: ImageFrontOptions, done: () => void): void {
  nameRequests(app);
  app.addHook('onRequest', async (request) => {
    // The SDK announces nothing at all with its uploads, and then shows the reason of a refusal only if it comes as a page.
    if (request.headers.accept === '') request.headers.accept = '*/*';
  });
  app.addHook('onRequest', async (request) => {
    if (endsInEmptyId(request.url)) throw notFound('The resource could not be found.');
  });
  answerWithGlanceErrors(app);
  serveDiscovery(app, options.publicUrl, [
    { path: '/', code: 300, document: versionsOf },
    { path: '/versions', code: 200, document: versionsOf },
    { path: '/v2', code: 300, document: versionsOf },
    { path: '/healthcheck', code: 200, document: () => 'OK' },
  ]);
  app.register(guardedRoutes(options));
  done();
}

/** An empty id is one that nothing has. The router would take the path for that of the list. */
function endsInEmptyId(url: string): boolean {
  const path = url.split('?', 1)[0] ?? '';
  const version = '/v2/';
  const at = path.indexOf(version);
  return at >= 0 && path.endsWith('/') && path.length > at + version.length + 1;
}

const guardedRoutes =
  (options: ImageFrontOptions): FastifyPluginCallback =>
  (app, _options, done) => {
    app.addHook('onRequest', authenticate(options.identity, options));
    acceptJson(app, {
      contentTypes: ['application/json', ...patchMediaTypes],
      limitBytes: bodyBytesMax,
      brokenMessage: 'Malformed JSON in request body.',
    });
    imageRoutes(app, options);
    memberRoutes(app, options.images.members);
    importRoutes(app, options.images.imports);
    app.get('/v2/info/usage', async (request) => ({ usage: await options.images.usage(request.caller) }));
    taskRoutes(app, options.images.imports);
    namespaceRoutes(app, options.images.metadefs);
    resourceTypeRoutes(app, options.images.metadefs);
    itemRoutes(app, options.images.metadefs);
    schemaRoutes(app);
    // Two scopes of their own, because they treat bodies differently.
    app.register((scope, _scopeOptions, scopeDone) => {
      takeNoBodies(scope);
      bodilessRoutes(scope, options.images);
      memberDeleteRoutes(scope, options.images.members);
      namespaceDeleteRoutes(scope, options.images.metadefs);
      itemBodilessRoutes(scope, options.images.metadefs);
      scopeDone();
    });
    app.register((scope, _scopeOptions, scopeDone) => {
      imageDataRoutes(scope, options.images);
      scopeDone();
    });
    done();
  };

const versionsOf = (base: string): unknown => versionsDocument(`${base}${servicePath}`);

function imageRoutes(app: FastifyInstance, { images, publicUrl }: ImageFrontOptions): void {
  app.post('/v2/images', async (request, reply) => {
    const image = await images.create(request.caller, parseNewImage(request.body));
    reply.code(201).header('location', `${publicBase(request, publicUrl)}${servicePath}/v2/images/${image.id}`);
    reply.header('openstack-image-import-methods', images.imports.methods.join(','));
    return imageView(image);
  });

  app.get('/v2/images', async (request) => {
    const query = parseImageQuery(queryOf(request));
    return imageListView(await images.list(request.caller, query), query, request.url);
  });

  app.get<WithId>('/v2/images/:id', async (request) => imageView(await images.show(request.caller, request.params.id)));

  app.patch<WithId>('/v2/images/:id', { onRequest: requirePatch }, async (request) => {
    const draft = draftOf(request.headers['content-type']);
    const changes = parsePatch(request.body, draft ?? 'v2.1');
    return imageView(await images.update(request.caller, request.params.id, changes));
  });
}

async function requirePatch(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (draftOf(request.headers['content-type']) !== undefined) return;
  const allowed = patchMediaTypes.join(', ');
  reply.header('accept-patch', allowed);
  throw unsupportedMediaType(`Image PATCH expects Content-Type one of: ${allowed}`);
}

/** Clients announce all sorts of types for the bodies that they do not send. */
function takeNoBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, body, done) => {
    body.resume();
    done(null, undefined);
  });
}

function bodilessRoutes(app: FastifyInstance, images: ImagesService): void {
  app.delete<WithId>('/v2/images/:id', async (request, reply) => {
    await images.delete(request.caller, request.params.id);
    return reply.code(204).send();
  });
  app.put<WithTag>('/v2/images/:id/tags/:tag', async (request, reply) => {
    const { id, tag } = request.params;
    if ([...tag].length > tagLengthMax) throw badRequest(`Provided object does not match schema 'image': '${tag}' is too long`);
    await images.addTag(request.caller, id, tag);
    return reply.code(204).send();
  });
  app.delete<WithTag>('/v2/images/:id/tags/:tag', async (request, reply) => {
    await images.removeTag(request.caller, request.params.id, request.params.tag);
    return reply.code(204).send();
  });
  for (const action of ['deactivate', 'reactivate'] as const) {
    app.post<WithId>(`/v2/images/:id/actions/${action}`, async (request, reply) => {
      await images[action](request.caller, request.params.id);
      return reply.code(204).send();
    });
  }
}
