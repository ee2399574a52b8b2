import type { onRequestAsyncHookHandler } from 'fastify';
import { notFound } from '../../../lib/errors.ts';
import type { Microversion } from '../shared/microversion.ts';

/** An onRequest hook: below this minor version of 3 the route does not exist. */
export const since = (minor: number): { onRequest: onRequestAsyncHookHandler } => ({
  async onRequest({ microversion }) {
    if (!microversion.atLeast(3, minor)) throw notFound('The resource could not be found.');
  },
});

/** For an action, whose route is there at every version. */
export function requireSince(microversion: Microversion, minor: number): void {
  if (microversion.atLeast(3, minor)) return;
  throw notFound(`API version ${microversion.major}.${microversion.minor} is not supported on this method.`);
}
