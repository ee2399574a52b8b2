import type { FastifyRequest } from 'fastify';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { type Link, publicBase, selfAndBookmark } from '../shared/links.ts';
import { isSince } from './microversions.ts';

/** For whom, and by which version, a resource is shown. */
export interface Viewer {
  readonly caller: Caller;
  /** The request asks for this minor version of 2 or a later one. */
  readonly since: (minor: number) => boolean;
  readonly linksTo: (collection: string, id: string) => Link[];
}

/** Links repeat the project's id where the request has it in its path. */
export function viewerOf(request: FastifyRequest, publicUrl: string | undefined): Viewer {
  const { caller, microversion } = request;
  const { projectId = '' } = request.params as { projectId?: string };
  const base = `${publicBase(request, publicUrl)}/compute`;
  return {
    caller,
    since: (minor) => isSince(microversion, minor),
    linksTo: (collection, id) => selfAndBookmark(base, 'v2.1', projectId, collection, id),
  };
}
