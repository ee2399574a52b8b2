import type { FastifyInstance } from 'fastify';
import { answerErrors, type ErrorStyle } from '../openstack/shared/errors.ts';

/** `{"error": {"code": "not-found", "message": "…"}}`; the codes are the kinds of `src/lib/errors.ts`, and `internal`. */
const style: ErrorStyle = {
  internalMessage: 'The service failed unexpectedly; its log says why.',
  tooLargeMessage: 'The request is too large.',
  mediaTypeMessage: 'Send application/json.',
  unknownRouteMessage: 'There is nothing at this address.',
  wrongMethodMessage: 'This address does not know that method.',
  send: (_request, reply, { status, kind, message }) => reply.code(status).send({ error: { code: kind, message } }),
};

export const answerWithNativeErrors = (app: FastifyInstance): void => answerErrors(app, style);
