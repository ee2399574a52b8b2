import { STATUS_CODES } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { authenticationRequired, challenge } from './authentication.ts';
import { answerErrors, type ErrorStyle, type Refusal } from './errors.ts';

const unknownRoute = 'The requested URL was not found on the server.';
const wrongMethod = 'The method is not allowed for the requested URL.';

const keystoneError = ({ status, message }: Refusal): object => ({
  error: { code: status, message, title: STATUS_CODES[status] ?? 'Error' },
});

const notFoundPage = `<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>${unknownRoute}</p>\n`;

/** Identity's errors. What its web framework refuses before any of its own code runs looks different: a page, or a bare message. */
function styleFor(publicUrl: string | undefined): ErrorStyle {
  return {
    internalMessage: 'An unexpected error prevented the server from fulfilling your request.',
    tooLargeMessage: 'Request is too large.',
    mediaTypeMessage: expecting('application/json', 'Content-Type header'),
    unknownRouteMessage: unknownRoute,
    wrongMethodMessage: wrongMethod,
    send(request, reply, refusal) {
      reply.code(refusal.status);
      if (refusal.kind === 'not-found' && refusal.message === unknownRoute)
        return reply.type('text/html; charset=utf-8').send(notFoundPage);
      if (refusal.kind === 'method-not-allowed') return reply.send({ message: refusal.message });
      // Identity calls a wrong content type a missing right one.
      if (refusal.status === 415) return reply.code(400).send(keystoneError({ ...refusal, status: 400 }));
      if (refusal.kind !== 'unauthorized') return reply.send(keystoneError(refusal));
      // One text for all reasons: a stranger must not learn whether the name or the password was wrong.
      challenge(request, reply, publicUrl);
      return reply.send(keystoneError({ ...refusal, message: authenticationRequired }));
    },
  };
}

/** The sentence that Identity uses for whatever is missing from a request. */
export function expecting(attribute: string, target: string): string {
  return `Expecting to find ${attribute} in ${target}. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.`;
}

export const answerWithKeystoneErrors = (app: FastifyInstance, options: { publicUrl: string | undefined }): void =>
  answerErrors(app, styleFor(options.publicUrl));
