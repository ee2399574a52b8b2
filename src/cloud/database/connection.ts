/**
 * How this program talks to PostgreSQL: the settings of every connection, and how values are read.
 *
 * Moments are read as text because a JavaScript `Date` would cut microseconds off. That needs sessions in UTC and in ISO style, which is
 * asked for in the start-up packet, so that it costs no round trip and cannot be forgotten.
 */
import pg from 'pg';
import type { Timestamp } from '../../lib/clock.ts';

/** A connection URL, or the separate fields where a URL cannot say it well (a socket directory). */
export type ConnectionTarget =
  | string
  | { readonly host: string; readonly port?: number; readonly user: string; readonly password?: string; readonly database: string };

const sessionOptions = '-c TimeZone=UTC -c DateStyle=ISO';

const int8 = 20;
const timestamptz = 1184;

/** `2026-11-21 03:00:00.12+00` → `2026-11-21T03:00:00.120000`. */
export function parseTimestamp(text: string): Timestamp {
  const match = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00$/.exec(text);
  if (match === null) throw new Error(`PostgreSQL sent a time that is not in UTC and ISO form: ${text}`);
  return `${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(6, '0')}`;
}

function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new Error(`PostgreSQL sent a bigint beyond 2^53: ${text}`);
  return value;
}

const types = {
  getTypeParser(oid: number, format?: string) {
    if (oid === int8) return parseInt8;
    if (oid === timestamptz) return parseTimestamp;
    // The driver's own signature is overloaded per format; both halves are passed through.
    return pg.types.getTypeParser(oid, format as 'text');
  },
} as pg.CustomTypesConfig;

/** The driver's settings for one connection. */
export function clientConfig(target: ConnectionTarget, applicationName: string): pg.ClientConfig {
  const common = { application_name: applicationName, types, keepAlive: true, connectionTimeoutMillis: 10_000 };
  if (typeof target !== 'string') return { ...common, ...target, options: sessionOptions };
  // Fields of a URL win over fields beside it, so options that the operator put there are kept and ours come last.
  const url = new URL(target);
  const given = url.searchParams.get('options');
  url.searchParams.set('options', given === null ? sessionOptions : `${given} ${sessionOptions}`);
  return { ...common, connectionString: url.href };
}
