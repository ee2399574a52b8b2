import type { FastifyInstance } from 'fastify';
import { badRequest } from '../../../lib/errors.ts';

export interface JsonBodies {
  readonly contentTypes: readonly string[];
  /** 112 KiB, as the real services have it, unless told otherwise. */
  readonly limitBytes?: number;
  readonly brokenMessage: string;
}

const defaultLimitBytes = 112 * 1024;
const depthMax = 64;

/**
 * Takes JSON of the given content types and nothing else. An empty body is `undefined` (clients send a content type with nothing
 * after it). Text that PostgreSQL cannot store (NUL, half surrogates) is refused here once, not found out by each query.
 */
export function acceptJson(app: FastifyInstance, options: JsonBodies): void {
  app.removeAllContentTypeParsers();
  const settings = { parseAs: 'string', bodyLimit: options.limitBytes ?? defaultLimitBytes } as const;
  app.addContentTypeParser([...options.contentTypes], settings, (_request, body, done) => {
    try {
      done(null, parseJson(body.toString(), options.brokenMessage));
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
  app.addHook('onRequest', async (request) => {
    if (request.url.includes('%00')) throw badRequest('Malformed request url');
  });
}

function parseJson(text: string, brokenMessage: string): unknown {
  if (text.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badRequest(brokenMessage, cause);
  }
  if (!isStorable(value, 0)) throw badRequest(brokenMessage);
  return value;
}

function isStorable(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return isStorableText(value);
  if (typeof value !== 'object' || value === null) return true;
  if (depth >= depthMax) return false;
  if (Array.isArray(value)) return value.every((item) => isStorable(item, depth + 1));
  return Object.entries(value).every(([key, item]) => key !== '__proto__' && isStorableText(key) && isStorable(item, depth + 1));
}

const isStorableText = (text: string): boolean => text.isWellFormed() && !text.includes('\0');
