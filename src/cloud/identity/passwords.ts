/**
 * Stored passwords: scrypt with its parameters beside the hash, so that they can grow later. Written as
 * `scrypt$N$r$p$salt$hash`, the last two in base64url.
 *
 * The work runs on the thread pool that file access uses too, hence at most a few at once; who asks beyond a long queue is told to
 * come back. A check against nothing (unknown user, user without a password) takes as long as a real one, so that
 * the time of an answer does not tell which names exist.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { unavailable } from '../../lib/errors.ts';

export interface Passwords {
  hash(password: string): Promise<string>;
  verify(password: string, stored: string | null | undefined): Promise<boolean>;
}

interface Parameters {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** 16 MiB and about 65 ms of one core (measured on 2 GHz server cores): a login stays below 100 ms. */
const current: Parameters = { N: 2 ** 14, r: 8, p: 2 };
const hashBytes = 32;
const saltBytes = 16;
const concurrencyMax = 2;
const queueLengthMax = 100;

export function createPasswords(): Passwords {
  const limited = limitConcurrency(concurrencyMax, queueLengthMax);
  const derive = (password: string, salt: Buffer, parameters: Parameters): Promise<Buffer> =>
    limited(() => scryptOf(password, salt, parameters));
  return {
    async hash(password) {
      const salt = randomBytes(saltBytes);
      return format(current, salt, await derive(password, salt, current));
    },
    async verify(password, stored) {
      const known = stored === null || stored === undefined ? undefined : parse(stored);
      const { parameters, salt, hash } = known ?? { parameters: current, salt: randomBytes(saltBytes), hash: randomBytes(hashBytes) };
      const matches = timingSafeEqual(await derive(password, salt, parameters), hash);
      return matches && known !== undefined;
    },
  };
}

function scryptOf(password: string, salt: Buffer, { N, r, p }: Parameters): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, hashBytes, { N, r, p, maxmem: 256 * N * r }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

function format({ N, r, p }: Parameters, salt: Buffer, hash: Buffer): string {
  return ['scrypt', N, r, p, salt.toString('base64url'), hash.toString('base64url')].join('$');
}

function parse(stored: string): { parameters: Parameters; salt: Buffer; hash: Buffer } {
  const [name, N, r, p, salt, hash] = stored.split('$');
  if (name !== 'scrypt' || salt === undefined || hash === undefined) throw new Error('a stored password has an unknown form');
  return {
    parameters: { N: Number(N), r: Number(r), p: Number(p) },
    salt: Buffer.from(salt, 'base64url'),
    hash: Buffer.from(hash, 'base64url'),
  };
}

/** Runs at most `runningMax` pieces of work at once and lets `waitingMax` more wait. */
function limitConcurrency(runningMax: number, waitingMax: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= runningMax) {
      if (waiting.length >= waitingMax) throw unavailable('Too many passwords are being checked. Try again.');
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running += 1;
    }
    try {
      return await work();
    } finally {
      // The slot goes to the next in line without becoming free in between.
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
