/**
 * What the agent in a guest answers, made into values that can be trusted to have a shape. Whoever owns the guest owns the agent: an answer may be
 * anything. So its length and depth are bounded before it is parsed, and each command takes from it, field by field, what it needs.
 */
import { GuestAgentError, guestWords } from './guest-agent-error.ts';

const depthMax = 16;
const listMax = 1024;
const textMax = 4096;

/** The `return` of a reply line. Throws `refused` with the agent's words, or `garbled`. */
export function answerIn(line: Buffer): unknown {
  const message = parse(line);
  if (!isRecord(message)) throw garbled('an answer that is not an object');
  if (message.error !== undefined) {
    const { desc } = isRecord(message.error) ? message.error : {};
    const words = typeof desc === 'string' ? guestWords(desc) : '';
    throw new GuestAgentError('refused', words === '' ? 'the guest agent refused without a reason' : words);
  }
  if (!Object.hasOwn(message, 'return')) throw garbled('an answer without a result');
  return message.return;
}

/** Damaged UTF-8 becomes replacement characters. */
function parse(line: Buffer): unknown {
  if (depthOf(line) > depthMax) throw garbled('an answer that is nested too deeply');
  try {
    return JSON.parse(line.toString('utf8'));
  } catch (cause) {
    throw garbled('something that is not JSON', cause);
  }
}

/** How deep brackets go, those in strings left out. */
function depthOf(line: Buffer): number {
  let [depth, deepest] = [0, 0];
  let isText = false;
  for (let i = 0; i < line.length; i += 1) {
    const byte = line[i];
    if (isText) {
      if (byte === 0x5c) i += 1;
      else if (byte === 0x22) isText = false;
    } else if (byte === 0x22) isText = true;
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x7d || byte === 0x5d) depth -= 1;
  }
  return deepest;
}

export function garbled(what: string, cause?: unknown): GuestAgentError {
  return new GuestAgentError('garbled', `the guest agent sent ${what}`, { cause });
}

// Shapes

type Fields = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function recordIn(value: unknown): Fields {
  if (!isRecord(value)) throw garbled('something else than an object');
  return value;
}

/** A number that counts something. */
export function countIn(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw garbled('something else than a number');
  return value as number;
}

export function flagIn(value: unknown): boolean {
  if (typeof value !== 'boolean') throw garbled('something else than true or false');
  return value;
}

/** At most 4096 characters, cleaned as in `guestWords` but for the length. */
export function nameIn(value: unknown): string {
  if (typeof value !== 'string' || value.length > textMax) throw garbled('something else than a name');
  return value.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '�');
}

/** Lists of more than 1024 are nothing that a machine has. */
export function listIn<T>(value: unknown, each: (entry: unknown) => T): T[] {
  if (!Array.isArray(value) || value.length > listMax) throw garbled('something else than a list, or a longer one than there can be');
  return value.map(each);
}

/** Base64, at most as long as a reply may be. */
export function bytesIn(value: unknown): Buffer {
  if (value === undefined) return Buffer.alloc(0);
  if (typeof value !== 'string') throw garbled('output that is not base64');
  return Buffer.from(value, 'base64');
}

export function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined || value === null ? undefined : read(value);
}
