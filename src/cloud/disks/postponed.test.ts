import { expect, it } from 'vitest';
import { createPostponed } from './postponed.ts';

it('lets work wait longer after each interruption, up to a bound, and begins anew once it was done', () => {
  let nowMs = 1000;
  const postponed = createPostponed(() => nowMs);
  expect(postponed.mayRun('a')).toBe(true);
  expect(postponed.dueInMs()).toBeUndefined();
  const delays = Array.from({ length: 12 }, () => {
    postponed.postpone('a');
    expect(postponed.mayRun('a')).toBe(false);
    expect(postponed.mayRun('b')).toBe(true);
    const delayMs = postponed.dueInMs() ?? Number.NaN;
    nowMs += delayMs - 1;
    expect(postponed.mayRun('a')).toBe(false);
    nowMs += 1;
    expect(postponed.mayRun('a')).toBe(true);
    expect(postponed.dueInMs()).toBeUndefined();
    return delayMs;
  });
  expect(delays.slice(0, 3)).toEqual([5_000, 20_000, 80_000]);
  expect(delays.at(-1)).toBe(6 * 60 * 60 * 1000);
  postponed.forget('a');
  postponed.postpone('a');
  expect(postponed.dueInMs()).toBe(5_000);
});

it('tells when the next one is due, and forgets what is no more', () => {
  const postponed = createPostponed(() => 0);
  postponed.postpone('a');
  postponed.postpone('b');
  postponed.postpone('b');
  expect(postponed.dueInMs()).toBe(5_000);
  postponed.keep(['b', 'c']);
  expect(postponed.dueInMs()).toBe(20_000);
  postponed.keep([]);
  expect(postponed.dueInMs()).toBeUndefined();
  expect(postponed.mayRun('b')).toBe(true);
});
