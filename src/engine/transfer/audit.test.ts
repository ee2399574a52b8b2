import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makePlace, orderOf, TestDisk, textBytes, uncancelled } from '../../../test/support/repository.ts';
import { silentLog } from '../../lib/log.ts';
import { seededRandom } from '../../lib/random.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { CHUNK_BYTES, LEAF_BYTES } from '../repository/format.ts';
import { chooseAllocated, chooseEmpty } from './audit-sample.ts';
import type { BackupOutcome } from './contract.ts';
import { createLocalMover, type LocalMover } from './local-mover.ts';

const mib = 1024 * 1024;
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
/** So few chunks hold data that every audit looks at all of them, however slow the machine. */
function newDisk(sizeBytes = 64 * mib): TestDisk {
  diskCount += 1;
  const disk = new TestDisk(join(folder, `disk-${diskCount}.raw`), sizeBytes);
  for (const [i, at] of [1, 2, 40].entries()) disk.write(at * mib, textBytes(2 * CHUNK_BYTES, i));
  return disk;
}

const full = (disk: TestDisk, more = {}): Promise<BackupOutcome> => {
  disk.takeChanges();
  return mover.backup(orderOf(repository, disk, more), uncancelled);
};
const incremental = (disk: TestDisk, { session, root }: BackupOutcome, more = {}): Promise<BackupOutcome> =>
  mover.backup(orderOf(repository, disk, { base: { session, root, changed: disk.takeChanges() }, ...more }), uncancelled);

/** Something happens to the disk, and the journals do not tell. */
const secretly = (disk: TestDisk, change: () => void): void => {
  const told = disk.takeChanges();
  change();
  disk.takeChanges();
  expect(ExtentSet.decode(Buffer.from(told, 'base64')).isEmpty).toBe(true);
};

const misses: readonly { readonly what: string; readonly change: (disk: TestDisk) => void; readonly at: number }[] = [
  { what: 'a write over data', change: (disk) => disk.write(mib + 5000, randomBytes(10)), at: mib },
  { what: 'a write where nothing was', change: (disk) => disk.write(3 * mib, randomBytes(10)), at: 3 * mib },
  { what: 'a write into a part of the disk where nothing was', change: (disk) => disk.write(20 * mib, randomBytes(10)), at: 20 * mib },
  { what: 'zeroes over data', change: (disk) => disk.write(2 * mib, Buffer.alloc(CHUNK_BYTES)), at: 2 * mib },
  { what: 'a discard', change: (disk) => disk.discard(2 * mib, CHUNK_BYTES), at: 2 * mib },
  { what: 'a discard of all that was in a part of the disk', change: (disk) => disk.discard(40 * mib, 2 * CHUNK_BYTES), at: 40 * mib },
];

describe('an incremental whose journals missed', () => {
  it.each(misses)('$what notices it, reads everything, and says so', async ({ change, at }) => {
    const disk = newDisk();
    const first = await full(disk);
    secretly(disk, () => change(disk));
    disk.write(50 * mib, randomBytes(100));
    const second = await incremental(disk, first);
    expect(second.baseProblem).toBe(`the journals missed a change at ${at}`);
    expect(second.audit?.finding).toEqual({ wrong: 'changes', offsetBytes: at, baseSession: first.session });
    expect(second.readBytes).toBeGreaterThanOrEqual(5 * CHUNK_BYTES);
    const truth = await full(disk);
    expect(second.root).toBe(truth.root);
    expect(truth.audit?.finding).toBeUndefined();
  });

  it('a discard in a leaf with a change that was told notices it, however large the disk', async () => {
    const disk = newDisk(4096 * mib);
    // So much data that the random sample is unlikely to meet one chunk of it.
    for (let leaf = 10; leaf < 260; leaf += 1) for (let i = 0; i < 8; i += 1) disk.write(leaf * LEAF_BYTES + i * mib, textBytes(100, leaf));
    const first = await full(disk);
    secretly(disk, () => disk.discard(200 * LEAF_BYTES + 3 * mib, CHUNK_BYTES));
    disk.write(200 * LEAF_BYTES + 5 * mib, randomBytes(100));
    const second = await incremental(disk, first);
    expect(second.baseProblem).toBe(`the journals missed a change at ${200 * LEAF_BYTES + 3 * mib}`);
    expect(second.root).toBe((await full(disk)).root);
  });

  it('is whole when its answer was lost: whoever finds it learns of the miss', async () => {
    const disk = newDisk();
    const first = await full(disk);
    secretly(disk, () => disk.write(mib, randomBytes(10)));
    const second = await incremental(disk, first);
    expect(second.audit?.finding).toBeDefined();
    expect(await incremental(disk, first, { formerSessions: [second.session] })).toEqual(second);
  });
});

describe('a disk that says it is empty where it holds data', () => {
  it('is read whole by a full backup', async () => {
    const disk = newDisk(3 * mib);
    const wanted = await full(disk);
    disk.denyAllocation(0, 2 * mib);
    const outcome = await full(disk);
    expect(outcome.audit?.finding).toMatchObject({ wrong: 'allocation' });
    expect(outcome.baseProblem).toBeUndefined();
    expect(outcome.readBytes).toBe(3 * mib);
    expect(outcome.root).toBe(wanted.root);
  });

  it('is read whole by an incremental, also when the base knows the data', async () => {
    const disk = newDisk();
    const first = await full(disk);
    disk.denyAllocation(mib, mib);
    const outcome = await incremental(disk, first);
    expect(outcome.audit?.finding).toEqual({ wrong: 'allocation', offsetBytes: mib, baseSession: first.session });
    expect(outcome.root).toBe(first.root);
    expect(outcome.readBytes).toBe(64 * mib);
  });
});

describe('an audit without a finding', () => {
  it('is told with its seed, and changes nothing else', async () => {
    const disk = newDisk();
    const first = await full(disk);
    const second = await incremental(disk, first);
    expect(second.audit?.chunks).toBeGreaterThanOrEqual(6);
    expect(second.audit?.seed).toBeGreaterThanOrEqual(0);
    expect(second).toMatchObject({ root: first.root, readBytes: 0, objectCount: 0 });
    expect(second.baseProblem).toBeUndefined();
  });

  it('does not take zeroes that have room for data', async () => {
    const disk = newDisk();
    const first = await full(disk);
    disk.write(30 * mib, Buffer.alloc(mib));
    const second = await incremental(disk, first);
    disk.write(2 * mib, randomBytes(100));
    const third = await incremental(disk, second);
    expect(third.baseProblem).toBeUndefined();
    expect(third.readBytes).toBe(CHUNK_BYTES);
  });

  it('takes a base of another size as it is', async () => {
    const disk = newDisk();
    let last = await full(disk);
    for (const sizeBytes of [100 * mib + 5000, 61 * mib, 2 * mib + 70_000, 3000 * mib]) {
      disk.resize(sizeBytes);
      last = await incremental(disk, last);
      expect(last.baseProblem).toBeUndefined();
      expect(last.root).toBe((await full(disk)).root);
    }
  });
});

describe('the sample', () => {
  const chunkSets = fc
    .array(fc.tuple(fc.nat(3000), fc.integer({ min: 1, max: 60 })), { maxLength: 40 })
    .map((runs) => ExtentSet.of(runs.map(([from, count]) => [from * CHUNK_BYTES, (from + count) * CHUNK_BYTES] as const)));

  it('has only chunks that hold data and did not change, or that are empty; each once', () => {
    fc.assert(
      fc.property(chunkSets, chunkSets, fc.integer(), fc.integer({ min: 1, max: 200 }), (allocated, changed, seed, count) => {
        const ranges = { allocated, changed };
        const endBytes = 3100 * CHUNK_BYTES;
        const chosen = chooseAllocated(seededRandom(seed), ranges, count);
        const empty = chooseEmpty(seededRandom(seed), ranges, endBytes, count);
        for (const at of [...chosen, ...empty]) expect(changed.overlaps(at, at + CHUNK_BYTES)).toBe(false);
        for (const at of chosen) expect(allocated.covers(at, at + CHUNK_BYTES)).toBe(true);
        for (const at of empty) expect(allocated.overlaps(at, at + CHUNK_BYTES)).toBe(false);
        expect(new Set([...chosen, ...empty]).size).toBe(chosen.length + empty.length);
        const unchanged = allocated.subtract(changed).totalBytes / CHUNK_BYTES;
        if (allocated.totalBytes / CHUNK_BYTES <= 4 * count) expect(chosen.length).toBe(Math.min(count, unchanged));
      }),
    );
  });

  it('is the same again for the same seed', () => {
    const ranges = { allocated: ExtentSet.of([[0, 1000 * mib]]), changed: ExtentSet.empty };
    expect(chooseAllocated(seededRandom(9), ranges, 64)).toEqual(chooseAllocated(seededRandom(9), ranges, 64));
    expect(chooseAllocated(seededRandom(9), ranges, 64)).not.toEqual(chooseAllocated(seededRandom(10), ranges, 64));
  });

  it('meets every part of the disk as often as any other', () => {
    const ranges = {
      allocated: ExtentSet.of([
        [mib, 5 * mib],
        [100 * mib, 1000 * mib],
        [2000 * mib, 2096 * mib],
      ]),
      changed: ExtentSet.empty,
    };
    let met = 0;
    const rounds = 2000;
    // The last of 1000 MiB in ten parts: 64 samples miss it in (9/10)^64 of all rounds, 0.1 %.
    for (let seed = 0; seed < rounds; seed += 1) {
      if (chooseAllocated(seededRandom(seed), ranges, 64).some((at) => at >= 1996 * mib)) met += 1;
    }
    expect(met).toBeGreaterThan(rounds * 0.99);
  });
});
