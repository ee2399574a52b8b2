import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSpaceAccount } from './space-account.ts';

const kib = 1024;
const mib = 1024 * kib;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'space-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);
const takenBytes = (): number => readdirSync(folder).reduce((sum, name) => sum + statSync(at(name)).blocks * 512, 0);

/** A file system of this size, on which lies what is in the folder. */
const accountOf = (capacityBytes: number, keptBytes = 0) =>
  createSpaceAccount({ keptBytes, ask: async () => ({ capacityBytes, freeBytes: Math.max(0, capacityBytes - takenBytes()) }) });

test('two that fit alone and not together do not both pass, also when they ask at the same moment', async () => {
  const space = accountOf(10 * mib);
  const asked = await Promise.allSettled(['a', 'b', 'c'].map((name) => space.reserve({ path: at(name), bytes: 6 * mib })));
  expect(asked.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
  expect(await space.figures(folder)).toMatchObject({ freeBytes: 10 * mib, reservedBytes: 6 * mib, availableBytes: 4 * mib });
});

test('what is released is free for others, once', async () => {
  const space = accountOf(10 * mib);
  const first = await space.reserve({ path: at('a'), bytes: 6 * mib });
  await expect(space.reserve({ path: at('b'), bytes: 6 * mib })).rejects.toThrow('6 MiB are needed, 4 MiB are free');
  first.release();
  first.release();
  await space.reserve({ path: at('b'), bytes: 6 * mib });
  expect((await space.figures(folder)).availableBytes).toBe(4 * mib);
});

test('what is written is counted once, and again when the writer begins anew', async () => {
  const space = accountOf(10 * mib);
  await space.reserve({ path: at('a'), bytes: 6 * mib });
  writeFileSync(at('a'), Buffer.alloc(2 * mib, 1));
  expect(await space.figures(folder)).toMatchObject({ freeBytes: 8 * mib, reservedBytes: 4 * mib, availableBytes: 4 * mib });
  truncateSync(at('a'), 0);
  expect(await space.figures(folder)).toMatchObject({ freeBytes: 10 * mib, reservedBytes: 6 * mib, availableBytes: 4 * mib });
  rmSync(at('a'));
  expect((await space.figures(folder)).availableBytes).toBe(4 * mib);
});

test('work that goes on after a crash reserves only what its file does not hold yet', async () => {
  writeFileSync(at('a'), Buffer.alloc(4 * mib, 1));
  const space = accountOf(10 * mib);
  await space.reserve({ path: at('a'), bytes: 10 * mib });
  expect(await space.figures(folder)).toMatchObject({ reservedBytes: 6 * mib, availableBytes: 0 });
});

test('what is kept back is not for new data, and its end is for nobody', async () => {
  const space = accountOf(300 * mib, 200 * mib);
  await expect(space.reserve({ path: at('a'), bytes: 101 * mib, purpose: 'the restore' })).rejects.toMatchObject({
    name: 'SpaceError',
    message: 'Not enough space for the restore: 101 MiB are needed, 100 MiB are free beside the 200 MiB kept back.',
  });
  const first = await space.reserve({ path: at('a'), bytes: 100 * mib });
  await expect(space.reserve({ path: at('b'), bytes: 1 })).rejects.toThrow('0 MiB are free');
  const merge = await space.reserve({ path: at('c'), bytes: 136 * mib, mayUseKept: true });
  await expect(space.reserve({ path: at('d'), bytes: 1, mayUseKept: true })).rejects.toThrow('beside the 64 MiB kept back');
  merge.release();
  first.release();
  expect((await space.figures(folder)).availableBytes).toBe(100 * mib);
});

test('a reservation grows with work whose length nobody knows, and stands when it cannot', async () => {
  const space = accountOf(10 * mib);
  const upload = await space.reserve({ path: at('a'), bytes: 3 * mib });
  writeFileSync(at('a'), Buffer.alloc(3 * mib, 1));
  await upload.extend(4 * mib);
  expect(await space.figures(folder)).toMatchObject({ reservedBytes: 4 * mib, availableBytes: 3 * mib });
  await expect(upload.extend(8 * mib)).rejects.toThrow('8 MiB are needed, 7 MiB are free');
  expect((await space.figures(folder)).reservedBytes).toBe(4 * mib);
});

test('file systems are counted apart', async () => {
  const space = accountOf(10 * mib);
  await space.reserve({ path: at('a'), bytes: 6 * mib });
  await space.reserve({ path: '/proc/elsewhere/a', bytes: 6 * mib });
  expect((await space.figures('/proc/elsewhere')).reservedBytes).toBe(6 * mib);
});

test('a file system says what it has', async () => {
  const { capacityBytes, freeBytes, availableBytes } = await createSpaceAccount({ keptBytes: mib }).figures(at('not/there/yet'));
  expect(freeBytes).toBeGreaterThan(0);
  expect(capacityBytes).toBeGreaterThanOrEqual(freeBytes);
  expect(availableBytes).toBe(freeBytes - mib);
});

test('no history of reserving, writing and giving up ends below what is kept back', async () => {
  const step = fc.record({
    work: fc.integer({ min: 0, max: 3 }),
    kind: fc.constantFrom('reserve', 'write', 'again', 'end'),
    blocks: fc.integer({ min: 1, max: 40 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      for (const name of readdirSync(folder)) rmSync(at(name));
      const space = accountOf(400 * kib, 100 * kib);
      const running = new Map<string, { reservation: { release(): void }; leftBytes: number; bytes: number }>();
      for (const { work, kind, blocks } of steps) {
        const name = `work-${work}`;
        const own = running.get(name);
        if (kind === 'reserve' && own === undefined) {
          rmSync(at(name), { force: true });
          const bytes = blocks * 4 * kib;
          const reservation = await space.reserve({ path: at(name), bytes }).catch(() => undefined);
          if (reservation !== undefined) running.set(name, { reservation, leftBytes: bytes, bytes });
        } else if (own !== undefined && kind === 'write') {
          const bytes = Math.min(own.leftBytes, blocks * 4 * kib);
          appendFileSync(at(name), Buffer.alloc(bytes, 1));
          own.leftBytes -= bytes;
        } else if (own !== undefined && kind === 'again') {
          writeFileSync(at(name), '');
          own.leftBytes = own.bytes;
        } else if (own !== undefined && kind === 'end') {
          own.reservation.release();
          running.delete(name);
        }
        const promised = [...running.values()].reduce((sum, { leftBytes }) => sum + leftBytes, 0);
        expect(takenBytes() + promised).toBeLessThanOrEqual(300 * kib);
      }
    }),
    { numRuns: 60 },
  );
});
