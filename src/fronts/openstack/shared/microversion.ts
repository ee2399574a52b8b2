import type { onRequestAsyncHookHandler } from 'fastify';
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
}

/** An onRequest hook that reads `OpenStack-API-Version: volume 3.27, compute 2.1` and answers with the version it applied. */
export function negotiateMicroversion(range: MicroversionRange): onRequestAsyncHookHandler {
  const lowest = parse(range.lowest);
  const highest = parse(range.highest);
  return async (request, reply) => {
    reply.header('vary', 'OpenStack-API-Version');
    const header = request.headers['openstack-api-version'];
    const asked = header === undefined ? lowest : pick([header].flat().join(','), range.service, highest);
    if (!asked.atLeast(lowest.major, lowest.minor) || !highest.atLeast(asked.major, asked.minor)) {
      const version = `${asked.major}.${asked.minor}`;
      throw notAcceptable(`Version ${version} is not supported by the API. Minimum is ${range.lowest} and maximum is ${range.highest}.`);
    }
    request.microversion = asked;
    reply.header('openstack-api-version', `${range.service} ${asked.major}.${asked.minor}`);
  };
}

function pick(header: string, service: string, highest: Microversion): Microversion {
  for (const item of header.split(',')) {
    const words = item.trim().split(/\s+/);
    if (words[0]?.toLowerCase() !== service) continue;
    const version = words.slice(1).join(' ');
    return version === 'latest' ? highest : parse(version);
  }
  throw notFound('API version  is not supported on this method.');
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
