import { expect, it } from 'vitest';
import { createPasswords } from './passwords.ts';

const passwords = createPasswords();

it('knows a password again, and only that one', async () => {
  const stored = await passwords.hash('correct horse');
  expect(await passwords.verify('correct horse', stored)).toBe(true);
  expect(await passwords.verify('correct hors', stored)).toBe(false);
});

it('stores its parameters and never the same text twice', async () => {
  const [first, second] = await Promise.all([passwords.hash('x'), passwords.hash('x')]);
  expect(first).toMatch(/^scrypt\$16384\$8\$2\$[\w-]{22}\$[\w-]{43}$/);
  expect(first).not.toBe(second);
});

it('knows a password that was stored with other parameters', async () => {
  // Made by Python: hashlib.scrypt(b'pw', salt=b'0123456789abcdef', n=1024, r=8, p=1, dklen=32).
  const stored = 'scrypt$1024$8$1$MDEyMzQ1Njc4OWFiY2RlZg$aMVTuQEI-jkaGyQcKvYHZwvQAIPq1C1TACYLFE9oZeo';
  expect(await passwords.verify('pw', stored)).toBe(true);
});

it('treats the two ways to write an accented letter as one', async () => {
  expect(await passwords.verify('e\u0301', await passwords.hash('\u00e9'))).toBe(true);
});

it('takes as long for a user that is not there as for one that is', async () => {
  const stored = await passwords.hash('x');
  const timed = async (against: string | undefined) => {
    const startedAt = performance.now();
    for (let count = 0; count < 3; count += 1) expect(await passwords.verify('y', against)).toBe(false);
    return performance.now() - startedAt;
  };
  const known = await timed(stored);
  const unknown = await timed(undefined);
  expect(unknown).toBeGreaterThan(known / 3);
});

// Bounds of time: other work on the machine only ever makes this slower.
it('lets the event loop run meanwhile', { retry: 2 }, async () => {
  let longestPauseMs = 0;
  let lastTick = performance.now();
  const timer = setInterval(() => {
    longestPauseMs = Math.max(longestPauseMs, performance.now() - lastTick);
    lastTick = performance.now();
  }, 1);
  await Promise.all(Array.from({ length: 6 }, () => passwords.hash('x')));
  clearInterval(timer);
  // Six in a row would stop it for 300 ms and more.
  expect(longestPauseMs).toBeLessThan(150);
});

it('turns callers away when too many wait', async () => {
  const cheap = `scrypt$1024$8$1$AA$${'A'.repeat(43)}`;
  const results = await Promise.allSettled(Array.from({ length: 103 }, () => passwords.verify('x', cheap)));
  const refused = results.filter((result) => result.status === 'rejected');
  expect(refused).toHaveLength(1);
  expect(await passwords.verify('x', await passwords.hash('x'))).toBe(true);
});
