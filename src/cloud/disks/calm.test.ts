import { expect, it } from 'vitest';
import { createCalm } from './calm.ts';

it('a disk that is left alone is calm after a second, and one that never is after ten', () => {
  let atMs = 0;
  const calm = createCalm(() => atMs);
  expect(calm.waitMs('a')).toBe(0);
  calm.disturb('a');
  expect([calm.waitMs('a'), calm.waitMs('b')]).toEqual([1_000, 0]);
  atMs = 700;
  calm.disturb('b');
  expect([calm.waitMs('a'), calm.waitMs('b')]).toEqual([300, 1_000]);
  atMs = 1_000;
  expect([calm.waitMs('a'), calm.waitMs('b')]).toEqual([0, 700]);

  // From 1,000 on without a pause.
  for (; atMs <= 10_000; atMs += 500) calm.disturb('a');
  expect([atMs, calm.waitMs('a')]).toEqual([10_500, 500]);
  atMs = 11_000;
  expect(calm.waitMs('a')).toBe(0);
  // After which the next burst may last as long again.
  calm.disturb('a');
  expect(calm.waitMs('a')).toBe(1_000);
});
