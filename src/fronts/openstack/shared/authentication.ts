import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { callerOf, type ValidToken } from '../../../cloud/identity/token.ts';
import { unauthorized } from '../../../lib/errors.ts';
import { serviceAt } from '../identity/catalog.ts';
import { isWithinRules } from './access-rules.ts';
import { publicBase } from './links.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; set by `authenticate`. */
    caller: Caller;
    /** The token behind the caller, with its scope; set by `authenticate`. */
    token: ValidToken;
  }
}

export interface TokenValidator {
  validateToken(token: string): Promise<ValidToken | undefined>;
}

export const authenticationRequired = 'The request you have made requires authentication.';

/** Tells clients where to get a token; every 401 carries it. */
export function challenge(request: FastifyRequest, reply: FastifyReply, publicUrl: string | undefined): void {
  reply.header('www-authenticate', `Keystone uri="${publicBase(request, publicUrl)}/identity/v3"`);
}

/** An onRequest hook: before the body is read, so that strangers cannot make the service buffer anything. */
export function authenticate(identity: TokenValidator, options: { publicUrl: string | undefined }): onRequestAsyncHookHandler {
  return async (request, reply) => {
    const presented = request.headers['x-auth-token'];
    const token = typeof presented === 'string' && presented !== '' ? await identity.validateToken(presented) : undefined;
    if (token === undefined || !mayBeUsedFor(token, request)) {
      challenge(request, reply, options.publicUrl);
      throw unauthorized(authenticationRequired);
    }
    request.token = token;
    request.caller = callerOf(token, request.id);
  };
}

/** The rules of its application credential let the token do this. What lies outside of every service they know nothing of. */
function mayBeUsedFor({ applicationCredential }: ValidToken, request: FastifyRequest): boolean {
  const rules = applicationCredential?.accessRules ?? [];
  if (rules.length === 0) return true;
  const asked = serviceAt(request.url.split('?', 1)[0] ?? '');
  return asked !== undefined && isWithinRules(rules, { ...asked, method: request.method });
}
