import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSpaceAccount } from '../../engine/space/space-account.ts';
import { withSpaceFor } from './upload-space.ts';

const mib = 2 ** 20;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'upload-space-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);
const takenBytes = (): number => readdirSync(folder).reduce((sum, name) => sum + statSync(at(name)).blocks * 512, 0);
const accountOf = (capacityBytes: number) =>
  createSpaceAccount({ keptBytes: 0, ask: async () => ({ capacityBytes, freeBytes: Math.max(0, capacityBytes - takenBytes()) }) });

async function* mibs(count: number, byte = 1): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < count; sent += 1) yield Buffer.alloc(mib, byte);
}

/** Writes what is not zero, as uploads do. Returns how many MiB it got. */
const writer = (name: string) => async (stream: AsyncIterable<Uint8Array>) => {
  let taken = 0;
  for await (const chunk of stream) {
    if (chunk[0] !== 0) appendFileSync(at(name), chunk);
    taken += 1;
  }
  return taken;
};

test('what was announced is reserved before the first byte is taken', async () => {
  const space = accountOf(20 * mib);
  let taken = 0;
  const arriving = { path: at('a'), isRaw: false, expectedBytes: 21 * mib, stream: mibs(21) };
  const refused = withSpaceFor(space, arriving, async (stream) => {
    for await (const _ of stream) taken += 1;
  });
  await expect(refused).rejects.toThrow('Not enough space for the image: 21 MiB are needed, 20 MiB are free.');
  expect(taken).toBe(0);
  const [first, second] = await Promise.allSettled(
    ['b', 'c'].map((name) => withSpaceFor(space, { ...arriving, path: at(name), expectedBytes: 12 * mib, stream: mibs(12) }, writer(name))),
  );
  expect([first?.status, second?.status].sort()).toEqual(['fulfilled', 'rejected']);
  expect((await space.figures(folder)).reservedBytes).toBe(0);
});

test('a raw disk that is mostly zeroes goes through, however long it is', async () => {
  const space = accountOf(20 * mib);
  async function* sparse(): AsyncGenerator<Uint8Array> {
    yield* mibs(300, 0);
    yield* mibs(4);
    yield* mibs(300, 0);
  }
  expect(await withSpaceFor(space, { path: at('a'), isRaw: true, expectedBytes: 604 * mib, stream: sparse() }, writer('a'))).toBe(604);
});

test('uploads of unknown length stop before the disk is full, together, too', async () => {
  const space = accountOf(60 * mib);
  const endless = ['a', 'b', 'c'].map((name) =>
    withSpaceFor(space, { path: at(name), isRaw: false, expectedBytes: undefined, stream: mibs(1_000) }, writer(name)),
  );
  const ends = await Promise.allSettled(endless);
  expect(ends.map((end) => end.status === 'rejected' && end.reason.name)).toEqual(['SpaceError', 'SpaceError', 'SpaceError']);
  expect(takenBytes()).toBeLessThanOrEqual(60 * mib);
  expect(takenBytes()).toBeGreaterThan(30 * mib);
  expect((await space.figures(folder)).reservedBytes).toBe(0);
});

test('a sender that sends more than it announced gets no more space than there is', async () => {
  const space = accountOf(20 * mib);
  const lie = withSpaceFor(space, { path: at('a'), isRaw: false, expectedBytes: mib, stream: mibs(100) }, writer('a'));
  await expect(lie).rejects.toMatchObject({ name: 'SpaceError' });
  expect(takenBytes()).toBeLessThanOrEqual(20 * mib);
});
