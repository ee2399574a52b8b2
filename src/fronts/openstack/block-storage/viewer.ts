import type { FastifyRequest } from 'fastify';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { type Link, publicBase, selfAndBookmark } from '../shared/links.ts';
import type { Microversion } from '../shared/microversion.ts';

/** For whom, and by which version, a resource is shown. */
export interface Viewer {
  readonly caller: Caller;
  readonly microversion: Microversion;
  readonly linksTo: (collection: string, id: string) => Link[];
}

export function viewerOf(request: FastifyRequest, publicUrl: string | undefined): Viewer {
  const { caller, microversion } = request;
  const base = `${publicBase(request, publicUrl)}/volume`;
  return { caller, microversion, linksTo: (collection, id) => selfAndBookmark(base, 'v3', caller.projectId ?? '', collection, id) };
}
