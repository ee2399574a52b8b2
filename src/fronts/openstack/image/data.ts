/**
 * The bytes of an image. They go past the framework: the body of an upload is read straight from the socket, with no limit but the
 * image's own, and never lies in memory as a whole.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ImagesService } from '../../../cloud/images/service.ts';
import { badRequest, unsupportedMediaType } from '../../../lib/errors.ts';
import { parseRange } from './range.ts';

type WithId = { Params: { id: string } };

const mediaType = 'application/octet-stream';

export function imageDataRoutes(app: FastifyInstance, images: ImagesService): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(mediaType, (_request, _body, done) => done(null, undefined));

  for (const [part, take] of [
    ['file', images.upload],
    ['stage', images.stage],
  ] as const) {
    app.put<WithId>(`/v2/images/:id/${part}`, { onRequest: requireBytes }, async (request, reply) => {
      // A refusal in the middle must not cut the connection: the sender could not read it. What still comes is read and dropped.
      const stream = request.raw.iterator({ destroyOnReturn: false });
      try {
        await take(request.caller, request.params.id, { stream: freedAfterUse(stream), expectedBytes: announcedBytes(request) });
      } catch (error) {
        // Whoever read before waits for more: its listener would keep the rest, and the next request, in the socket.
        request.raw.removeAllListeners('readable').resume();
        throw error;
      }
      return reply.code(204).send();
    });
  }

  app.get<WithId>('/v2/images/:id/file', { exposeHeadRoute: false }, async (request, reply) => {
    const download = await images.download(request.caller, request.params.id);
    if (download === undefined) return reply.code(204).send();
    const { sizeBytes, checksum } = download;
    const range = parseRange(request.headers.range, sizeBytes);
    const { start, end } = range ?? { start: 0, end: sizeBytes - 1 };
    reply.type(mediaType).header('content-length', end - start + 1);
    if (checksum !== null) reply.header('content-md5', checksum);
    if (range !== undefined) reply.code(206).header('content-range', `bytes ${start}-${end}/${sizeBytes}`);
    return sizeBytes === 0 ? reply.send('') : reply.send(await download.read({ start, end }));
  });
}

/**
 * The same pieces, each of which is gone when the next is asked for: whoever reads an upload copies it at once. Left to the garbage
 * collector, which sees only that a few small objects were made, tens of megabytes of them would wait.
 */
async function* freedAfterUse(stream: AsyncIterable<Buffer<ArrayBuffer>>): AsyncGenerator<Uint8Array> {
  for await (const piece of stream) {
    const { length } = piece;
    yield piece;
    // A smaller one may share its memory with others.
    if (piece.buffer.byteLength === length) piece.buffer.transfer(0);
  }
}

/** Before anything else is done with the request. An empty image is bytes too, so the type counts even without a body. */
async function requireBytes(request: FastifyRequest, _reply: FastifyReply): Promise<void> {
  const given = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
  if (given !== mediaType) throw unsupportedMediaType(`Invalid content type ${given ?? 'None'}`);
}

function announcedBytes(request: FastifyRequest): number | undefined {
  const text = request.headers['content-length'];
  if (text === undefined) return request.headers['transfer-encoding'] === undefined ? 0 : undefined;
  const length = Number(text);
  if (!Number.isSafeInteger(length) || length < 0) throw badRequest('Invalid Content-Length header.');
  return length;
}
