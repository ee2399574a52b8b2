/** Hooks for services whose routes exist with the project's id in their path and without. */
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import { badRequest, notFound } from '../../../lib/errors.ts';

/** An id that is empty leaves a slash at the end: then a thing was asked for, not the list, and there is none of that id. */
export const exactPathsOnly: onRequestAsyncHookHandler = async ({ url }) => {
  if (url.split('?', 1)[0]?.endsWith('/')) throw notFound('The resource could not be found.');
};

/** The project in a path is a repetition of the token's; another one is refused, also to administrators. */
export const ownProjectOnly =
  (refusal: (asked: string, own: string | null) => string): ((request: FastifyRequest) => Promise<void>) =>
  async ({ params, caller }) => {
    const { projectId } = params as { projectId?: string };
    if (projectId !== undefined && projectId !== caller.projectId) throw badRequest(refusal(projectId, caller.projectId));
  };
