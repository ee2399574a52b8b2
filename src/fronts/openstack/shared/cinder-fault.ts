import type { FastifyInstance } from 'fastify';
import { answerErrors, type ErrorStyle, type Refusal } from './errors.ts';

const faultNames: Record<number, string> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
};

/** `{"itemNotFound": {"code": 404, "message": "…"}}`: the envelope that Block Storage and Compute share. */
export function cinderFault({ status, message }: Refusal): Record<string, unknown> {
  const name = faultNames[status] ?? 'computeFault';
  const retry = status === 413 ? { retryAfter: '0' } : {};
  return { [name]: { code: status, message, ...retry } };
}

const style: ErrorStyle = {
  internalMessage: 'The server has either erred or is incapable of performing the requested operation.',
  tooLargeMessage: 'Request is too large.',
  mediaTypeMessage: 'Unsupported Content-Type',
  unknownRouteMessage: 'The resource could not be found.',
  wrongMethodMessage: 'The method is not allowed for this resource.',
  send(_request, reply, refusal) {
    if (refusal.status === 413) reply.header('retry-after', '0');
    // Tokens are checked in front of the real service, by a layer with identity's envelope.
    const body =
      refusal.kind === 'unauthorized' ? { error: { code: 401, title: 'Unauthorized', message: refusal.message } } : cinderFault(refusal);
    return reply.code(refusal.status).send(body);
  },
};

export const answerWithCinderFaults = (app: FastifyInstance): void => answerErrors(app, style);
