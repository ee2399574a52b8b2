import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  describeBackup,
  listedReferences,
  makePlace,
  newSession,
  objectsOf,
  openPlace,
  orderOf,
  TestDisk,
  textBytes,
  uncancelled,
  walkReferences,
} from '../../../test/support/repository.ts';
import { silentLog } from '../../lib/log.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { objectNames } from '../repository/format.ts';
import type { BackupOutcome } from './contract.ts';
import { createLocalMover, type LocalMover } from './local-mover.ts';

const MIB = 1024 * 1024;
const place = makePlace();
const { repository, folder } = place;
let mover: LocalMover;

beforeAll(async () => {
  mover = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
  await mover.initRepository(repository);
});
afterAll(async () => {
  await mover.stop();
  place.remove();
});

let diskCount = 0;
const newDisk = (sizeBytes: number): TestDisk => {
  diskCount += 1;
  return new TestDisk(join(folder, `disk-${diskCount}.raw`), sizeBytes);
};

const full = (disk: TestDisk, more = {}): Promise<BackupOutcome> => {
  disk.takeChanges();
  return mover.backup(orderOf(repository, disk, more), uncancelled);
};
const incremental = (disk: TestDisk, { session, root }: BackupOutcome, more = {}): Promise<BackupOutcome> =>
  mover.backup(orderOf(repository, disk, { base: { session, root, changed: disk.takeChanges() }, ...more }), uncancelled);

async function expectRestores(disk: TestDisk, { session, root }: BackupOutcome, domain = 'project'): Promise<void> {
  const targetPath = join(folder, 'restored.raw');
  const outcome = await mover.restore({ repository, domain, session, targetPath, targetSizeBytes: disk.sizeBytes }, uncancelled);
  const [restored, original] = [readFileSync(targetPath), disk.bytes];
  expect(outcome.root).toBe(root);
  expect(restored.equals(original)).toBe(true);
  const allocated = ExtentSet.decode(Buffer.from(outcome.allocated, 'base64'));
  expect(allocated.totalBytes).toBe(outcome.writtenBytes);
  for (const [start, end] of ExtentSet.of([[0, disk.sizeBytes]])
    .subtract(allocated)
    .ranges()) {
    expect(original.subarray(start, end).every((byte) => byte === 0)).toBe(true);
  }
  rmSync(targetPath);
}

/** Each commit's own list of packs must say exactly what its map refers to. */
async function expectExactReferences({ session }: BackupOutcome): Promise<void> {
  const opened = await openPlace(repository);
  expect(await listedReferences(opened, 'project', session)).toEqual(await walkReferences(opened, 'project', session));
  opened.store.close();
}

const edits = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('random', 'text', 'zero'),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.integer({ min: 1, max: 900_000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('copy'),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.integer({ min: 1, max: 900_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('resize'),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.integer({ min: 1, max: 900_000 }),
    }),
  },
);

function apply(disk: TestDisk, edit: { kind: string; at: number; length: number }): void {
  const offset = Math.floor(edit.at * (disk.sizeBytes - 1));
  if (edit.kind === 'resize') disk.resize(Math.max(1, Math.floor(edit.at * 25 * MIB)));
  else if (edit.kind === 'copy') disk.write(offset - (offset % 65_536), disk.bytes.subarray(0, edit.length));
  else if (edit.kind === 'zero') disk.write(offset, Buffer.alloc(edit.length));
  else disk.write(offset, edit.kind === 'random' ? randomBytes(edit.length) : textBytes(edit.length, edit.length));
}

describe('a chain of incrementals', () => {
  it('restores every point byte for byte, whatever was written, grown or cut between them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 * MIB }),
        fc.array(fc.array(edits, { maxLength: 5 }), { minLength: 2, maxLength: 4 }),
        async (sizeBytes, rounds) => {
          const disk = newDisk(sizeBytes);
          let last: BackupOutcome | undefined;
          for (const round of rounds) {
            for (const edit of round) apply(disk, edit);
            last = last === undefined ? await full(disk) : await incremental(disk, last);
            expect(last.baseProblem).toBeUndefined();
            await expectRestores(disk, last);
            await expectExactReferences(last);
          }
          // The same content has the same identity, however it came to be.
          expect((await full(disk)).root).toBe(last?.root);
          rmSync(disk.path);
        },
      ),
      { numRuns: 8 },
    );
  }, 60_000);

  it('grows and cuts over several levels of the map', async () => {
    const disk = newDisk(3 * MIB);
    disk.write(0, textBytes(2 * MIB, 1));
    let last = await full(disk);
    for (const [sizeBytes, at] of [
      [1100 * MIB, 1090 * MIB],
      [150 * 1024 * MIB, 140 * 1024 * MIB],
      [1100 * MIB, 1000 * MIB],
      [2 * MIB, MIB],
    ] as const) {
      disk.resize(sizeBytes);
      disk.write(at, randomBytes(300_000));
      last = await incremental(disk, last);
      await expectExactReferences(last);
      expect((await full(disk)).root).toBe(last.root);
    }
    await expectRestores(disk, last);
  });
});

describe('what a backup reads and stores', () => {
  it('is nothing for an unchanged disk', async () => {
    const disk = newDisk(20 * MIB);
    disk.write(0, randomBytes(9 * MIB));
    const first = await full(disk);
    const second = await incremental(disk, first);
    expect(second).toMatchObject({ root: first.root, objectCount: 0, readBytes: 0 });
    expect(second.storedBytes).toBeLessThan(2000);
    await expectRestores(disk, second);
  });

  it('is what changed, in whole chunks, for an incremental', async () => {
    const disk = newDisk(40 * MIB);
    disk.write(0, randomBytes(40 * MIB));
    const first = await full(disk);
    for (const chunk of [3, 200, 500]) disk.write(chunk * 65_536 + 10, randomBytes(20));
    const second = await incremental(disk, first);
    expect(second.readBytes).toBe(3 * 65_536);
    expect(second.storedBytes).toBeLessThan(3 * 65_536 + 20_000);
    expect(second.objectCount).toBe(1);
  });

  it('is not stored where a changed range holds what it held', async () => {
    const disk = newDisk(9 * MIB);
    disk.write(0, randomBytes(9 * MIB));
    const first = await full(disk);
    disk.write(MIB, disk.bytes.subarray(MIB, 2 * MIB));
    const second = await incremental(disk, first);
    expect(second).toMatchObject({ root: first.root, readBytes: MIB, objectCount: 0 });
  });

  it('is stored once when it repeats, within a disk, over threads and over backups', async () => {
    const disk = newDisk(64 * MIB);
    const content = randomBytes(2 * MIB);
    for (let at = 0; at < 64 * MIB; at += 2 * MIB) disk.write(at, content);
    const first = await full(disk);
    expect(first.storedBytes).toBeLessThan(5 * MIB);
    await mover.settled();
    const other = newDisk(10 * MIB);
    other.write(5 * MIB, content);
    const second = await full(other);
    expect(second.objectCount).toBe(0);
    expect(second.storedBytes).toBeLessThan(20_000);
    await expectRestores(other, second);
    await expectExactReferences(second);
  });

  it('is shared by no two domains', async () => {
    const disk = newDisk(2 * MIB);
    disk.write(0, randomBytes(2 * MIB));
    const first = await full(disk);
    const second = await full(disk, { domain: 'another' });
    expect(second.root).not.toBe(first.root);
    expect(second.objectCount).toBe(1);
    await expectRestores(disk, second, 'another');
    await expect(
      mover.restore(
        { repository, domain: 'another', session: first.session, targetPath: join(folder, 'x'), targetSizeBytes: 2 * MIB },
        uncancelled,
      ),
    ).rejects.toMatchObject({ kind: 'not-found' });
  });

  // Bounds of time: other work on the machine only ever makes this slower.
  it('does not grow with the size of the disk', { retry: 2 }, async () => {
    const disk = newDisk(2 * 1024 * 1024 * MIB);
    disk.write(1024 * 1024 * MIB, textBytes(100_000, 1));
    const startedMs = performance.now();
    const first = await full(disk);
    const second = await incremental(disk, first);
    expect(performance.now() - startedMs).toBeLessThan(2000);
    expect(first.storedBytes).toBeLessThan(20_000);
    expect(second.root).toBe(first.root);
    const targetPath = join(folder, 'huge.raw');
    const order = { repository, domain: 'project', session: second.session, targetPath, targetSizeBytes: disk.sizeBytes };
    expect(await mover.restore(order, uncancelled)).toMatchObject({ root: first.root, writtenBytes: 3 * 65_536 - 65_536 });
    rmSync(targetPath);
  });
});

describe('the index of stored chunks', () => {
  const content = randomBytes(3 * MIB);
  const repeat = async (): Promise<BackupOutcome> => {
    await mover.settled();
    const disk = newDisk(8 * MIB);
    disk.write(4 * MIB, content);
    return full(disk);
  };
  const indexFolder = (): string => join(repository.cacheDir, repository.id, 'project');
  /** A new mover, as after a restart, has nothing in memory. */
  const restart = async (): Promise<void> => {
    await mover.stop();
    mover = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
  };

  it('is learnt again from the packs when it was deleted or damaged', async () => {
    expect((await repeat()).objectCount).toBeGreaterThan(0);
    expect((await repeat()).objectCount).toBe(0);
    await restart();
    rmSync(repository.cacheDir, { recursive: true });
    expect((await repeat()).objectCount).toBe(0);
    await restart();
    for (const name of readdirSync(indexFolder())) if (name.endsWith('.seg')) writeFileSync(join(indexFolder(), name), 'damaged');
    expect((await repeat()).objectCount).toBe(0);
  });

  it('is kept to a few files, however many sessions there were', async () => {
    const disk = newDisk(4 * MIB);
    let last = await full(disk);
    for (let i = 0; i < 12; i += 1) {
      disk.write(i * 70_000, randomBytes(1000));
      last = await incremental(disk, last);
    }
    await mover.settled();
    const files = readdirSync(indexFolder());
    expect(files.filter((name) => name.endsWith('.seg')).length).toBeLessThanOrEqual(9);
    expect(files.filter((name) => !name.endsWith('.seg'))).toEqual(['sessions']);
    expect((await repeat()).objectCount).toBe(0);
  });

  it('does not lead to a pack that is gone', async () => {
    const fresh = randomBytes(2 * MIB);
    const disk = newDisk(2 * MIB);
    disk.write(0, fresh);
    const first = await full(disk);
    await mover.settled();
    const opened = await openPlace(repository);
    for (const name of await objectsOf(opened.store, objectNames.packsOf(first.session))) await opened.store.delete(name);
    opened.store.close();
    const other = newDisk(4 * MIB);
    other.write(2 * MIB, fresh);
    const second = await full(other);
    expect(second.objectCount).toBeGreaterThan(0);
    await expectRestores(other, second);
  });

  it('does not lead to the packs of a deleted backup', async () => {
    const fresh = randomBytes(2 * MIB);
    const disk = newDisk(2 * MIB);
    disk.write(0, fresh);
    const first = await full(disk);
    await mover.tombstone(repository, 'project', first.session);
    await mover.settled();
    expect((await full(disk)).objectCount).toBeGreaterThan(0);
  });
});

describe('sessions', () => {
  it('that committed are found by a later attempt, with the same outcome', async () => {
    const disk = newDisk(2 * MIB);
    disk.write(0, randomBytes(MIB));
    const first = await full(disk);
    const again = await full(disk, { formerSessions: [newSession(), first.session] });
    expect(again).toEqual(first);
    expect(await full(disk, { session: first.session })).toEqual(first);
  });

  it('that were given up can never commit, and leave no packs', async () => {
    const disk = newDisk(2 * MIB);
    disk.write(0, randomBytes(MIB));
    const lost = newSession();
    const second = await full(disk, { formerSessions: [lost] });
    await expect(full(disk, { session: lost })).rejects.toMatchObject({ kind: 'conflict' });
    const opened = await openPlace(repository);
    expect(await objectsOf(opened.store, objectNames.packsOf(lost))).toEqual([]);
    expect(await opened.store.length(objectNames.tombstone(lost))).toBeGreaterThan(0);
    opened.store.close();
    await expectRestores(disk, second);
  });

  it('that two processes run at once end with one whole backup, or none', async () => {
    const disk = newDisk(24 * MIB);
    disk.write(0, randomBytes(24 * MIB));
    const other = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
    const session = newSession();
    const order = orderOf(repository, disk, { session, domain: session });
    const results = await Promise.allSettled([mover.backup(order, uncancelled), other.backup(order, uncancelled)]);
    await other.stop();
    const next = await full(disk, { domain: session, formerSessions: [session] });
    for (const result of results) {
      if (result.status === 'fulfilled') expect(next.session).toBe(session);
      else expect(result.reason).toMatchObject({ kind: 'conflict' });
    }
    await expectRestores(disk, next, session);
  });

  it('that were tombstoned are not found any more, and still serve as a base', async () => {
    const disk = newDisk(2 * MIB);
    disk.write(0, randomBytes(MIB));
    const first = await full(disk);
    await mover.tombstone(repository, 'project', first.session);
    await mover.tombstone(repository, 'project', first.session);
    const targetPath = join(folder, 'never.raw');
    await expect(
      mover.restore({ repository, domain: 'project', session: first.session, targetPath, targetSizeBytes: disk.sizeBytes }, uncancelled),
    ).rejects.toMatchObject({ kind: 'not-found' });
    expect(existsSync(targetPath)).toBe(false);
    disk.write(0, randomBytes(100));
    const second = await incremental(disk, first);
    expect(second.baseProblem).toBeUndefined();
    expect(second.readBytes).toBe(65_536);
    await expectRestores(disk, second);
  });
});

describe('an abort', () => {
  it('leaves neither packs nor leftovers nor a target', async () => {
    const disk = newDisk(96 * MIB);
    for (let at = 0; at < 96 * MIB; at += 4 * MIB) disk.write(at, randomBytes(4 * MIB));
    const abort = new AbortController();
    const session = newSession();
    const onProgress = (doneBytes: number): void => {
      if (doneBytes > 20 * MIB) abort.abort();
    };
    const order = orderOf(repository, disk, { session });
    await expect(mover.backup(order, { signal: abort.signal, onProgress })).rejects.toMatchObject({ kind: 'aborted' });
    const opened = await openPlace(repository);
    expect(await objectsOf(opened.store, objectNames.packsOf(session))).toEqual([]);
    expect(await opened.store.length(objectNames.commit(session))).toBeUndefined();
    opened.store.close();
    expect(readdirSync(join(repository.store.path, 'tmp'))).toEqual([]);
    const outcome = await full(disk);
    const targetPath = join(folder, 'aborted.raw');
    const restore = { repository, domain: 'project', session: outcome.session, targetPath, targetSizeBytes: disk.sizeBytes };
    const second = new AbortController();
    const stop = (doneBytes: number): void => {
      if (doneBytes > 20 * MIB) second.abort();
    };
    await expect(mover.restore(restore, { signal: second.signal, onProgress: stop })).rejects.toMatchObject({ kind: 'aborted' });
    expect(existsSync(targetPath)).toBe(false);
    await expectRestores(disk, outcome);
  });
});

describe('a restore', () => {
  it('makes a sparse file of the asked size in the place of an old one', async () => {
    const disk = newDisk(64 * MIB);
    disk.write(10 * MIB, textBytes(MIB, 3));
    const { session } = await full(disk, { describe: describeBackup('sparse') });
    const targetPath = join(folder, 'sparse.raw');
    writeFileSync(targetPath, randomBytes(100));
    await mover.restore({ repository, domain: 'project', session, targetPath, targetSizeBytes: 100 * MIB }, uncancelled);
    const { size, blocks } = statSync(targetPath);
    expect(size).toBe(100 * MIB);
    expect(blocks * 512).toBeLessThan(2 * MIB);
    expect(
      readFileSync(targetPath)
        .subarray(0, 64 * MIB)
        .equals(disk.bytes),
    ).toBe(true);
    await expect(
      mover.restore({ repository, domain: 'project', session, targetPath, targetSizeBytes: 10 * MIB }, uncancelled),
    ).rejects.toThrow(/does not fit/);
  });
});
