import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { outageOf } from '../../../cloud/database/service.ts';
import {
  badRequest,
  type ErrorKind,
  methodNotAllowed,
  notFound,
  ProductError,
  tooLarge,
  unsupportedMediaType,
} from '../../../lib/errors.ts';
import { noteRoutes } from './known-routes.ts';

const statuses: Record<ErrorKind, number> = {
  'bad-request': 400,
  unauthorized: 401,
  forbidden: 403,
  'not-found': 404,
  'method-not-allowed': 405,
  'not-acceptable': 406,
  conflict: 409,
  gone: 410,
  'precondition-failed': 412,
  'over-limit': 413,
  'too-large': 413,
  'unsupported-media-type': 415,
  'range-not-satisfiable': 416,
  unavailable: 503,
  'no-space': 503,
};

export interface Refusal {
  readonly status: number;
  readonly kind: ErrorKind | 'internal';
  readonly message: string;
}

/** How one service words what the framework itself refuses, and how it sends any refusal. */
export interface ErrorStyle {
  readonly internalMessage: string;
  readonly tooLargeMessage: string;
  readonly mediaTypeMessage: string;
  readonly unknownRouteMessage: string;
  readonly wrongMethodMessage: string;
  readonly send: (request: FastifyRequest, reply: FastifyReply, refusal: Refusal) => unknown;
}

/** Gives everything below `app` (a prefix of its own) one service's way to say no. Call it before the routes are registered. */
export function answerErrors(app: FastifyInstance, style: ErrorStyle): void {
  const routes = noteRoutes(app);
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = asProductError(error, style);
    if (known === undefined) return sendInternal(error, request, reply, style);
    logRefusal(request.log, known);
    return style.send(request, reply, { status: statuses[known.kind], kind: known.kind, message: known.message });
  });
  const refuseUnknown = (request: FastifyRequest, reply: FastifyReply): never => {
    const path = request.url.split('?', 1)[0] ?? '';
    // A slash at the end stands for an empty id: nothing is there that other methods could be for.
    const methods = path.endsWith('/') ? [] : routes.methodsAt(path);
    if (methods.length === 0) throw notFound(style.unknownRouteMessage);
    reply.header('allow', methods.join(', '));
    throw methodNotAllowed(style.wrongMethodMessage);
  };
  app.setNotFoundHandler(refuseUnknown);
  // Before its body is looked at: what is wrong with that is of no interest where nothing takes it.
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) refuseUnknown(request, reply);
  });
}

function sendInternal(error: Error, request: FastifyRequest, reply: FastifyReply, style: ErrorStyle): unknown {
  request.log.error({ err: error }, 'a request failed unexpectedly');
  return style.send(request, reply, { status: 500, kind: 'internal', message: style.internalMessage });
}

function logRefusal(log: FastifyBaseLogger, error: ProductError): void {
  if (error.cause === undefined) return;
  log.warn({ err: error.cause, kind: error.kind }, error.message);
}

/** Undefined = a defect. The framework marks its own refusals with codes; whatever else it threw is ours to repair. */
function asProductError(error: FastifyError, style: ErrorStyle): ProductError | undefined {
  if (error instanceof ProductError) return error;
  const outage = outageOf(error);
  if (outage !== undefined) return outage;
  if (typeof error.code !== 'string' || !error.code.startsWith('FST_')) return undefined;
  switch (error.statusCode) {
    case 400:
      return badRequest(error.message, error);
    case 404:
      return notFound(style.unknownRouteMessage);
    case 413:
      return tooLarge(style.tooLargeMessage);
    case 415:
      return unsupportedMediaType(style.mediaTypeMessage);
    default:
      return undefined;
  }
}
