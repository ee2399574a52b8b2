import { badRequest, rangeNotSatisfiable } from '../../../lib/errors.ts';

export interface RequestedRange {
  /** Both ends included. */
  readonly start: number;
  readonly end: number;
}

/** `bytes=a-b`, `bytes=a-` or `bytes=-n` of something that has `sizeBytes`. Undefined: no range was asked for. */
export function parseRange(header: string | undefined, sizeBytes: number): RequestedRange | undefined {
  if (header === undefined) return undefined;
  if (header.includes(',')) {
    throw badRequest('Requests with multiple ranges are not supported. You may make multiple single-range requests instead.');
  }
  const [, first = '', last = ''] = /^\s*bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*$/i.exec(header) ?? [];
  if (first === '' && last === '') throw rangeNotSatisfiable('Invalid Range header.');
  const start = first === '' ? Math.max(0, sizeBytes - Number(last)) : Number(first);
  if (start >= sizeBytes || (first === '' && Number(last) === 0)) {
    throw rangeNotSatisfiable(
      `Invalid start position in Range header. Start position MUST be in the inclusive range [0, ${sizeBytes - 1}].`,
    );
  }
  const end = first === '' || last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (end < start) throw rangeNotSatisfiable('Invalid Range header.');
  return { start, end };
}
