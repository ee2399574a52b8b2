import { expect, test } from 'vitest';
import { createRestless, restMs } from './restless.ts';

test('layers of a volume are merged when there has been no snapshot for a while', () => {
  let nowMs = 0;
  const restless = createRestless(() => nowMs);
  expect(restless.mayMerge('busy', 1)).toBe(true);
  restless.frozen('busy');
  nowMs = restMs - 1;
  expect(restless.mayMerge('busy', 1)).toBe(false);
  expect(restless.mayMerge('other', 1)).toBe(true);
  restless.frozen('busy');
  nowMs += restMs - 1;
  expect(restless.mayMerge('busy', 1)).toBe(false);
  nowMs += 1;
  expect(restless.mayMerge('busy', 1)).toBe(true);
});

test('layers of a volume whose snapshots never pause are merged when hundreds wait', () => {
  const restless = createRestless(() => 0);
  restless.frozen('busy');
  expect([512, 513].map((waiting) => restless.mayMerge('busy', waiting))).toEqual([false, true]);
});

test('tells when the first of some volumes is at rest', () => {
  let nowMs = 0;
  const restless = createRestless(() => nowMs);
  restless.frozen('first');
  nowMs = 500;
  restless.frozen('second');
  restless.frozen('third');
  expect(restless.restInMs(['third', 'unknown'])).toBe(restMs);
  expect(restless.restInMs(['first', 'second'])).toBe(restMs - 500);
  nowMs = restMs;
  expect(restless.restInMs(['first', 'second'])).toBe(500);
  expect(restless.restInMs(['first'])).toBeUndefined();
});
