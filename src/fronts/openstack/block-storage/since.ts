import type { onRequestAsyncHookHandler } from 'fastify';
import { notFound } from '../../../lib/errors.ts';

/** An onRequest hook: below this minor version of 3 the route does not exist. */
export const since = (minor: number): { onRequest: onRequestAsyncHookHandler } => ({
  async onRequest({ microversion }) {
    if (!microversion.atLeast(3, minor)) throw notFound('The resource could not be found.');
  },
});
