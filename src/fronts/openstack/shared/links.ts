import type { FastifyRequest } from 'fastify';

export interface Link {
  readonly rel: string;
  readonly href: string;
}

/** What a Host header may look like; anything else never gets into a link. */
const plainHost = /^[A-Za-z0-9._-]+(:\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](:\d{1,5})?$/;

/**
 * Where clients find the service: the configured public URL, else the host they asked for (forwarded headers count only
 * when the server was told to trust a proxy). Without a slash at the end.
 */
export function publicBase(request: FastifyRequest, publicUrl: string | undefined): string {
  if (publicUrl !== undefined) return publicUrl.replace(/\/+$/, '');
  const host = plainHost.test(request.host) ? request.host : `127.0.0.1:${request.socket.localPort ?? 80}`;
  return `${request.protocol}://${host}`;
}

/**
 * The two links of a Block Storage or Compute resource. `serviceBase` ends before the version: `http://host/volume`; the project's id may be
 * empty, as it may be missing in the paths that clients call.
 */
export function selfAndBookmark(serviceBase: string, version: string, projectId: string, collection: string, id: string): Link[] {
  const path = [projectId, collection, id].filter((part) => part !== '').join('/');
  return [
    { rel: 'self', href: `${serviceBase}/${version}/${path}` },
    { rel: 'bookmark', href: `${serviceBase}/${path}` },
  ];
}
