import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import { badRequest, notAcceptable, notFound } from '../../../lib/errors.ts';

export interface Microversion {
  readonly major: number;
  readonly minor: number;
  atLeast(major: number, minor: number): boolean;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What the client asked for, else the lowest one; set by `negotiateMicroversion`. */
    microversion: Microversion;
  }
}

export interface MicroversionRange {
  /** The service type in the header: `volume`. */
  readonly service: string;
  readonly lowest: string;
  readonly highest: string;
  /**
   * A header of the service's own, from before there was a common one: the version is in it alone. It counts when the common header does not
   * speak of this service, which is an error where there is no older one; answers carry both.
   */
  readonly olderHeader?: string;
}

const commonHeader = 'OpenStack-API-Version';

type Negotiate = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

/** An onRequest hook that reads `OpenStack-API-Version: volume 3.27, compute 2.1` and answers with the version it applied. */
export function negotiateMicroversion(range: MicroversionRange): Negotiate {
  const lowest = parse(range.lowest);
  const highest = parse(range.highest);
  const headers = range.olderHeader === undefined ? [commonHeader] : [commonHeader, range.olderHeader];
  return async (request, reply) => {
    reply.header('vary', headers.join(', '));
    const text = askedVersion(request, range);
    const asked = text === undefined ? lowest : text === 'latest' ? highest : parse(text);
    if (!asked.atLeast(lowest.major, lowest.minor) || !highest.atLeast(asked.major, asked.minor)) {
      const version = `${asked.major}.${asked.minor}`;
      throw notAcceptable(`Version ${version} is not supported by the API. Minimum is ${range.lowest} and maximum is ${range.highest}.`);
    }
    request.microversion = asked;
    const applied = `${asked.major}.${asked.minor}`;
    reply.header(commonHeader, `${range.service} ${applied}`);
    if (range.olderHeader !== undefined) reply.header(range.olderHeader, applied);
  };
}

/** Undefined: the client asks for no version. */
function askedVersion({ headers }: FastifyRequest, { service, olderHeader }: MicroversionRange): string | undefined {
  const common = textOf(headers[commonHeader.toLowerCase()]);
  const named = common === undefined ? undefined : versionFor(common, service);
  if (named !== undefined) return named;
  if (olderHeader !== undefined) return textOf(headers[olderHeader.toLowerCase()])?.trim();
  if (common === undefined) return undefined;
  throw notFound('API version  is not supported on this method.');
}

const textOf = (header: string | string[] | undefined): string | undefined =>
  header === undefined ? undefined : [header].flat().join(',');

function versionFor(header: string, service: string): string | undefined {
  const items = header.split(',').map((item) => item.trim().split(/\s+/));
  const own = items.find(([name]) => name?.toLowerCase() === service);
  return own?.slice(1).join(' ');
}

function parse(text: string): Microversion {
  const match = /^([1-9]\d{0,8})\.([1-9]\d{0,8}|0)$/.exec(text);
  if (match === null) throw badRequest(`API Version String ${text} is of invalid format. Must be of format MajorNum.MinorNum.`);
  return microversion(Number(match[1]), Number(match[2]));
}

export function microversion(major: number, minor: number): Microversion {
  return {
    major,
    minor,
    atLeast: (wantedMajor, wantedMinor) => major > wantedMajor || (major === wantedMajor && minor >= wantedMinor),
  };
}

/** Options of a route that is there from the first to the last of these minor versions, and at others is not. */
export const withinMinors = (major: number, from: number, to = Number.POSITIVE_INFINITY): { onRequest: onRequestAsyncHookHandler } => ({
  async onRequest({ microversion: asked }) {
    if (!asked.atLeast(major, from) || asked.atLeast(major, to + 1)) throw notFound('The resource could not be found.');
  },
});
