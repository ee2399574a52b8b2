/** Reads `{'key': 'value'}` as clients of Block Storage write dictionaries into URLs: Python literals, or JSON. */
import type { Pairs } from '../../../lib/pairs.ts';

const lengthMax = 20_000;

/** Undefined: the text is no dictionary of texts. */
export function parseDictionary(text: string): Pairs | undefined {
  const inner = /^\s*\{([\s\S]*)\}\s*$/.exec(text)?.[1];
  if (inner === undefined || text.length > lengthMax) return undefined;
  const item = /\s*(?:u?'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*:\s*(?:u?'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(,|$)/gy;
  const pairs: Record<string, string> = {};
  while (item.lastIndex < inner.trimEnd().length) {
    const match = item.exec(inner);
    if (match === null) return undefined;
    pairs[unescaped(match[1] ?? match[2] ?? '')] = unescaped(match[3] ?? match[4] ?? '');
  }
  return pairs;
}

const unescaped = (text: string): string => text.replace(/\\(.)/gs, '$1');
