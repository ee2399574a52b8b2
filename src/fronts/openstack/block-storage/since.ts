import type { FastifyRequest } from 'fastify';
import { notFound } from '../../../lib/errors.ts';

/** Before its version a method is not there. */
export function requireMicroversion({ microversion }: FastifyRequest, minor: number): void {
  if (!microversion.atLeast(3, minor)) throw notFound('The resource could not be found.');
}
