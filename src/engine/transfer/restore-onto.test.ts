import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { flipByte, makePlace, objectsOf, openPlace, orderOf, TestDisk, textBytes, uncancelled } from '../../../test/support/repository.ts';
import { armCrashPoint, disarmCrashPoints } from '../../lib/crash-points.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { layerChanges } from '../disk/layer-content.ts';
import { openDisk } from '../disk/open-disk.ts';
import { extentsFileOf } from '../disk/raw-layer.ts';
import { CHUNK_BYTES, objectNames } from '../repository/format.ts';
import type { BackupOutcome, RestoreCallOptions, RestoreOntoOrder, RestoreOntoOutcome } from './contract.ts';
import { createLocalMover, type LocalMover } from './local-mover.ts';

const MIB = 1024 * 1024;
const place = makePlace();
const { repository, folder } = place;
const targetPath = join(folder, 'overlay.qcow2');
const logged: { readonly level: string; readonly message: string; readonly fields: object }[] = [];
const logTo = (level: string) => (fields: object, message: string) => void logged.push({ level, message, fields });
let mover: LocalMover;

beforeAll(async () => {
  const log = { debug: logTo('debug'), info: logTo('info'), warn: logTo('warn'), error: logTo('error') };
  mover = createLocalMover({ workerCount: 2, now: () => new Date(), log });
  await mover.initRepository(repository);
});
afterEach(() => {
  disarmCrashPoints();
  rmSync(targetPath, { force: true });
  logged.splice(0);
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

const backUp = (disk: TestDisk): Promise<BackupOutcome> => {
  disk.takeChanges();
  return mover.backup(orderOf(repository, disk), uncancelled);
};

type Known = NonNullable<RestoreOntoOrder['known']>;
const knownAs = ({ session, root }: BackupOutcome, changed: string): Known => ({ session, root, changed });
const noChanges = ExtentSet.empty.encode().toString('base64');

function orderOnto(disk: TestDisk, { session }: BackupOutcome, known?: Known): RestoreOntoOrder {
  const { sizeBytes, path } = disk;
  const backing = { name: path, format: 'raw' } as const;
  const target = { path: targetPath, format: 'qcow2', sizeBytes, backing } as const;
  return { repository, domain: 'project', session, current: disk.source(), target, ...(known === undefined ? {} : { known }) };
}

type Restored = Extract<RestoreOntoOutcome, { kind: 'restored' }>;

/** Restores, and proves that disk and overlay together are exactly what was backed up, and zeroes behind it. */
async function restoreOnto(
  disk: TestDisk,
  backup: BackupOutcome,
  wanted: Buffer,
  known?: Known,
  options: RestoreCallOptions = uncancelled,
): Promise<Restored> {
  const before = disk.bytes;
  const outcome = await mover.restoreOnto(orderOnto(disk, backup, known), options);
  if (outcome.kind !== 'restored') throw new Error(outcome.reason);
  expect(disk.bytes.equals(before)).toBe(true);
  expect(outcome.root).toBe(backup.root);
  const { sizeBytes } = disk;
  const layers = [...disk.source().layers, { path: targetPath, format: 'qcow2' as const, sizeBytes }];
  const reader = openDisk({ layers, sizeBytes });
  const bytes = Buffer.alloc(sizeBytes);
  reader.readSync(bytes, 0);
  reader.close();
  expect(bytes.subarray(0, wanted.length).equals(wanted)).toBe(true);
  expect(bytes.subarray(wanted.length).equals(Buffer.alloc(sizeBytes - wanted.length))).toBe(true);
  const written = ExtentSet.decode(Buffer.from(outcome.written, 'base64'));
  expect(written.equals(await layerChanges({ path: targetPath, format: 'qcow2' }))).toBe(true);
  const checked = JSON.parse(execFileSync('qemu-img', ['check', '--output=json', targetPath], { encoding: 'utf8' }));
  expect([checked['check-errors'], checked.leaks, checked.corruptions]).toEqual([0, undefined, undefined]);
  return outcome;
}

const expectNothingLeft = (): void => expect(existsSync(targetPath)).toBe(false);

interface Edit {
  readonly make: (length: number) => Buffer;
  /** Of the disk. */
  readonly at: number;
  readonly length: number;
}

describe.each(['what is known', 'nothing known'])('a restore onto a disk, with %s', (how) => {
  const knownOf = (backup: BackupOutcome, disk: TestDisk): Known | undefined =>
    how === 'what is known' ? knownAs(backup, disk.takeChanges()) : undefined;

  it('writes nothing when nothing differs', async () => {
    const disk = newDisk(40 * MIB);
    disk.write(0, randomBytes(9 * MIB));
    disk.write(20 * MIB, textBytes(MIB, 1));
    const backup = await backUp(disk);
    const outcome = await restoreOnto(disk, backup, disk.bytes, knownOf(backup, disk));
    expect(outcome).toMatchObject({ writtenBytes: 0, comparedBytes: how === 'what is known' ? 0 : 10 * MIB });
    expect(ExtentSet.decode(Buffer.from(outcome.written, 'base64')).isEmpty).toBe(true);
    expect(outcome.knownProblem).toBeUndefined();
  });

  it('writes the chunks that differ, and no others, wherever they are', async () => {
    const disk = newDisk(64 * MIB);
    disk.write(0, randomBytes(30 * MIB));
    disk.write(50 * MIB, randomBytes(MIB));
    const backup = await backUp(disk);
    const wanted = disk.bytes;
    for (const chunk of [0, 1, 7, 128, 255, 300, 479]) disk.write(chunk * CHUNK_BYTES + 1000, randomBytes(100));
    // Written, and as it was.
    disk.write(200 * CHUNK_BYTES, wanted.subarray(200 * CHUNK_BYTES, 203 * CHUNK_BYTES));
    // Holds data where the backup has none.
    disk.write(40 * MIB, randomBytes(CHUNK_BYTES + 1));
    // Is empty where the backup has data.
    disk.write(50 * MIB, Buffer.alloc(CHUNK_BYTES));
    const outcome = await restoreOnto(disk, backup, wanted, knownOf(backup, disk));
    expect(outcome.writtenBytes).toBe(8 * CHUNK_BYTES);
    const written = ExtentSet.decode(Buffer.from(outcome.written, 'base64'));
    expect(written.totalBytes).toBe(10 * CHUNK_BYTES);
    expect(written.covers(40 * MIB, 40 * MIB + 2 * CHUNK_BYTES)).toBe(true);
    if (how === 'what is known') expect(outcome.comparedBytes).toBe(13 * CHUNK_BYTES);
    expect(statSync(targetPath).blocks * 512).toBeLessThan(9 * CHUNK_BYTES);
  });

  it('fills a disk that holds nothing, and empties one that holds something', async () => {
    const [full, empty] = [newDisk(20 * MIB), newDisk(20 * MIB)];
    const backupOfEmpty = await backUp(empty);
    full.write(MIB, randomBytes(10 * MIB));
    const backupOfFull = await backUp(full);
    const known = (backup: BackupOutcome): Known | undefined => (how === 'what is known' ? knownAs(backup, noChanges) : undefined);
    const filled = await restoreOnto(empty, backupOfFull, full.bytes, known(backupOfEmpty));
    expect(filled).toMatchObject({ writtenBytes: 10 * MIB, comparedBytes: 0 });
    const emptied = await restoreOnto(full, backupOfEmpty, empty.bytes, known(backupOfFull));
    expect(emptied).toMatchObject({ writtenBytes: 0, comparedBytes: 10 * MIB });
    expect(statSync(targetPath).blocks * 512).toBeLessThan(MIB);
  });

  it('leaves nothing behind the end of the backup on a larger disk, whatever ends inside a chunk', async () => {
    const small = newDisk(10 * MIB + 512);
    small.write(9 * MIB, randomBytes(MIB + 512));
    const backup = await backUp(small);
    const wanted = small.bytes;
    const large = newDisk(30 * MIB + 1024);
    large.write(9 * MIB, wanted.subarray(9 * MIB));
    const backupOfLarge = await backUp(large);
    large.write(10 * MIB, randomBytes(3000));
    large.write(30 * MIB + 512, randomBytes(512));
    const outcome = await restoreOnto(large, backup, wanted, knownOf(backupOfLarge, large));
    expect(outcome.writtenBytes).toBe(CHUNK_BYTES);
    small.write(0, randomBytes(CHUNK_BYTES));
    small.resize(30 * MIB + 1024);
    const grown = await restoreOnto(small, backup, wanted, knownOf(backup, small));
    expect(grown.writtenBytes).toBe(0);
  });

  it('refuses a disk that is too small', async () => {
    const disk = newDisk(10 * MIB);
    const backup = await backUp(disk);
    const smaller = newDisk(5 * MIB);
    await expect(mover.restoreOnto(orderOnto(smaller, backup), uncancelled)).rejects.toThrow(/does not fit/);
    expectNothingLeft();
  });

  it('gives any disk the content of any backup', { timeout: 120_000 }, async () => {
    const edit = fc.record({
      make: fc.constantFrom(
        (length: number) => Buffer.from(randomBytes(length)),
        (length: number) => textBytes(length, length),
        Buffer.alloc,
      ),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.oneof(fc.integer({ min: 1, max: 200_000 }), fc.integer({ min: 1, max: 3_000_000 })),
    });
    const apply = (disk: TestDisk, { make, at, length }: Edit): void => disk.write(Math.floor(at * (disk.sizeBytes - 1)), make(length));
    const edits = fc.array(edit, { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(edits, edits, edits, fc.integer({ min: 1, max: 50_000 }), fc.nat(3), async (first, second, third, sectors, more) => {
        const disk = newDisk(sectors * 512);
        for (const one of first) apply(disk, one);
        const wanted = disk.bytes;
        const backup = await backUp(disk);
        for (const one of second) apply(disk, one);
        const later = await backUp(disk);
        if (more === 0) disk.resize((sectors + 9_000) * 512);
        for (const one of third) apply(disk, one);
        const outcome = await restoreOnto(disk, backup, wanted, knownOf(later, disk));
        expect(outcome.knownProblem).toBeUndefined();
        rmSync(disk.path);
      }),
      { numRuns: 25 },
    );
  });
});

describe('what is known of a disk', () => {
  const scene = async () => {
    const disk = newDisk(64 * MIB);
    disk.write(0, randomBytes(40 * MIB));
    const backup = await backUp(disk);
    const wanted = disk.bytes;
    disk.write(5 * MIB, randomBytes(MIB));
    const later = await backUp(disk);
    return { disk, backup, wanted, later };
  };

  it('may be another backup: where the two maps differ is compared, too', async () => {
    const { disk, backup, wanted, later } = await scene();
    disk.write(20 * MIB, randomBytes(CHUNK_BYTES));
    const outcome = await restoreOnto(disk, backup, wanted, knownAs(later, disk.takeChanges()));
    expect(outcome).toMatchObject({ writtenBytes: MIB + CHUNK_BYTES, comparedBytes: MIB + CHUNK_BYTES });
  });

  it('is not believed when the journals lie: the audit notices, and all of the disk is compared', async () => {
    const { disk, backup, wanted, later } = await scene();
    // Every chunk of a sixth of the data, so that a sample of dozens sees one.
    for (let at = 10 * MIB; at < 17 * MIB; at += CHUNK_BYTES) disk.write(at + 5, Buffer.from('changed'));
    const outcome = await restoreOnto(disk, backup, wanted, knownAs(later, noChanges));
    expect(outcome.knownProblem).toMatch(/^the journals missed a change at \d+$/);
    expect(outcome.audit?.finding).toMatchObject({ wrong: 'changes' });
    expect(outcome.writtenBytes).toBe(8 * MIB);
    expect(logged.filter(({ level }) => level === 'error')).toEqual([
      expect.objectContaining({ fields: expect.objectContaining({ seed: expect.any(Number) }) }),
    ]);
  });

  it('does not hide data that a layer does not tell of: the audit notices that, too', async () => {
    const { disk, backup, wanted } = await scene();
    disk.write(45 * MIB, randomBytes(12 * MIB));
    const order = orderOnto(disk, backup);
    writeFileSync(extentsFileOf(disk.path), ExtentSet.of([[0, 40 * MIB]]).encode());
    const outcome = await mover.restoreOnto(order, uncancelled);
    expect(outcome).toMatchObject({ kind: 'restored', audit: { finding: { wrong: 'allocation' } } });
    execFileSync('qemu-img', ['convert', '-O', 'raw', targetPath, join(folder, 'flat.raw')]);
    writeFileSync(join(folder, 'wanted.raw'), wanted);
    execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', join(folder, 'flat.raw'), join(folder, 'wanted.raw')]);
  });

  it.each(['missing', 'deleted with its packs', 'of another root'])('costs a comparison of all when its commit is %s', async (what) => {
    const { disk, backup, wanted, later } = await scene();
    let known = knownAs(later, noChanges);
    if (what === 'missing') known = { ...known, session: '0'.repeat(32) };
    if (what === 'of another root') known = { ...known, root: '0'.repeat(32) };
    if (what === 'deleted with its packs') {
      await mover.tombstone(repository, 'project', later.session);
      const opened = await openPlace(repository);
      for (const name of await objectsOf(opened.store, objectNames.packsOf(later.session))) await opened.store.delete(name);
      opened.store.close();
    }
    const outcome = await restoreOnto(disk, backup, wanted, known);
    expect(outcome.knownProblem).toBeDefined();
    expect(outcome).toMatchObject({ writtenBytes: MIB, comparedBytes: 40 * MIB });
  });

  it('makes the work follow the change: 1 TiB, of which little differs', { retry: 2 }, async () => {
    const disk = newDisk(1024 * 1024 * MIB);
    for (let i = 0; i < 200; i += 1) disk.write(i * 5_000 * MIB, randomBytes(CHUNK_BYTES));
    const backup = await backUp(disk);
    for (let i = 0; i < 200; i += 2) disk.write(i * 5_000 * MIB, randomBytes(100));
    const startedMs = performance.now();
    const outcome = await mover.restoreOnto(orderOnto(disk, backup, knownAs(backup, disk.takeChanges())), uncancelled);
    // Bounds of time: other work on the machine only ever makes this slower.
    expect(performance.now() - startedMs).toBeLessThan(1000);
    expect(outcome).toMatchObject({ writtenBytes: 100 * CHUNK_BYTES, comparedBytes: 100 * CHUNK_BYTES });
  });
});

describe('damage in the repository', () => {
  const content = randomBytes(20 * MIB);
  const scene = async () => {
    const disk = newDisk(32 * MIB);
    disk.write(0, content);
    const backup = await mover.backup(orderOf(repository, disk, { domain: 'project' }), uncancelled);
    disk.takeChanges();
    return { disk, backup, wanted: disk.bytes };
  };
  /** All packs of data, kept aside while they are damaged. */
  const damaged = async <T>(damage: (path: string) => void, work: () => Promise<T>): Promise<T> => {
    const opened = await openPlace(repository);
    const paths = (await objectsOf(opened.store, 'p/')).map((name) => join(repository.store.path, name));
    opened.store.close();
    for (const [i, path] of paths.entries()) copyFileSync(path, join(folder, `kept-${i}`));
    for (const path of paths) if (statSync(path).size > 2 * MIB) damage(path);
    try {
      return await work();
    } finally {
      for (const [i, path] of paths.entries()) copyFileSync(join(folder, `kept-${i}`), path);
    }
  };

  it('names the ranges that cannot be restored, and leaves nothing', async () => {
    const { disk, backup } = await scene();
    disk.write(0, randomBytes(CHUNK_BYTES));
    disk.write(10 * MIB, randomBytes(2 * CHUNK_BYTES));
    const order = orderOnto(disk, backup, knownAs(backup, disk.takeChanges()));
    const error = await damaged(
      (path) => rmSync(path),
      () => mover.restoreOnto(order, uncancelled).catch((caught: unknown) => caught),
    );
    expect(error).toMatchObject({
      kind: 'missing',
      ranges: [
        { offsetBytes: 0, lengthBytes: CHUNK_BYTES },
        { offsetBytes: 10 * MIB, lengthBytes: 2 * CHUNK_BYTES },
      ],
    });
    expectNothingLeft();
    await restoreOnto(disk, backup, content);
  });

  it('does not matter where the disk holds the same already', async () => {
    const { disk, backup, wanted } = await scene();
    disk.write(0, Buffer.alloc(CHUNK_BYTES));
    disk.write(0, content.subarray(0, CHUNK_BYTES));
    await damaged(
      (path) => rmSync(path),
      () => restoreOnto(disk, backup, wanted),
    );
  });

  it('is told of a node of the map, with everything below it, in a comparison of all', async () => {
    const { disk, backup } = await scene();
    const opened = await openPlace(repository);
    const packs = await objectsOf(opened.store, objectNames.packsOf(backup.session));
    opened.store.close();
    // The content was stored before, so that this session wrote nothing but its map; the top node comes last.
    const path = join(repository.store.path, packs.at(-1) as string);
    copyFileSync(path, join(folder, 'kept-map'));
    for (let at = 100; at < statSync(path).size; at += 50) flipByte(path, at);
    const error = await mover.restoreOnto(orderOnto(disk, backup), uncancelled).catch((caught: unknown) => caught);
    copyFileSync(join(folder, 'kept-map'), path);
    expect(error).toMatchObject({ kind: 'corrupted', ranges: [{ offsetBytes: 0, lengthBytes: disk.sizeBytes }] });
    expectNothingLeft();
  });
});

describe('a disk that cannot be read', () => {
  const scene = async () => {
    const disk = newDisk(20 * MIB);
    disk.write(0, randomBytes(10 * MIB));
    return { disk, backup: await backUp(disk) };
  };

  it('is an answer, not a failure, when a layer is missing', async () => {
    const { disk, backup } = await scene();
    const order = orderOnto(disk, backup);
    rmSync(disk.path);
    expect(await mover.restoreOnto(order, uncancelled)).toMatchObject({ kind: 'unreadable', reason: expect.stringContaining('ENOENT') });
    expectNothingLeft();
  });

  it('is an answer when a layer is no qcow2 file, or ends early', async () => {
    const { disk, backup } = await scene();
    const path = join(folder, 'broken.qcow2');
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', disk.path, path]);
    const order = orderOnto(disk, backup);
    const current = { ...order.current, layers: [{ path, format: 'qcow2' as const, sizeBytes: disk.sizeBytes }] };
    truncateSync(path, 6 * MIB);
    expect(await mover.restoreOnto({ ...order, current }, uncancelled)).toMatchObject({ kind: 'unreadable' });
    flipByte(path, 0);
    expect(await mover.restoreOnto({ ...order, current }, uncancelled)).toMatchObject({ kind: 'unreadable' });
    expectNothingLeft();
  });

  it('is an answer when reading fails half-way', async () => {
    const { disk, backup } = await scene();
    const order = orderOnto(disk, backup);
    // A folder can be opened, and not read.
    rmSync(disk.path);
    mkdirSync(disk.path);
    expect(await mover.restoreOnto(order, uncancelled)).toMatchObject({ kind: 'unreadable' });
    expectNothingLeft();
  });
});

describe('a restore onto a disk that does not come to its end', () => {
  const scene = async () => {
    const disk = newDisk(96 * MIB);
    for (let at = 0; at < 96 * MIB; at += 4 * MIB) disk.write(at, randomBytes(4 * MIB));
    const wanted = disk.bytes;
    const backup = await backUp(disk);
    for (let at = 0; at < 96 * MIB; at += 4 * MIB) disk.write(at, randomBytes(4 * MIB));
    return { disk, backup, wanted };
  };

  it('leaves nothing after an abort, while comparing and while writing', async () => {
    const { disk, backup, wanted } = await scene();
    for (const stopAtBytes of [20 * MIB, 96 * MIB + 20 * MIB]) {
      const abort = new AbortController();
      const onProgress = (doneBytes: number): void => {
        if (doneBytes > stopAtBytes) abort.abort();
      };
      await expect(mover.restoreOnto(orderOnto(disk, backup), { signal: abort.signal, onProgress })).rejects.toMatchObject({
        kind: 'aborted',
      });
      expectNothingLeft();
    }
    await restoreOnto(disk, backup, wanted);
  });

  it('asks before the first byte, with what it will write, and a refusal leaves nothing', async () => {
    const { disk, backup } = await scene();
    disk.write(0, disk.bytes.subarray(0, 1));
    const asked: number[] = [];
    const admit = async (bytes: number): Promise<void> => {
      asked.push(bytes);
      expectNothingLeft();
      throw new Error('no room for this');
    };
    await expect(mover.restoreOnto(orderOnto(disk, backup), { ...uncancelled, admit })).rejects.toThrow('no room for this');
    expect(asked[0]).toBeGreaterThanOrEqual(96 * MIB);
    expect(asked[0]).toBeLessThan(97 * MIB);
    expectNothingLeft();
  });

  it('reports progress that only grows, and ends at its total', async () => {
    const { disk, backup, wanted } = await scene();
    const seen: (readonly [number, number])[] = [];
    await restoreOnto(disk, backup, wanted, undefined, { ...uncancelled, onProgress: (done, total) => void seen.push([done, total]) });
    expect(seen.at(-1)).toEqual([192 * MIB, 192 * MIB]);
    expect(seen.every(([done, total], i) => done <= total && done >= (seen[i - 1]?.[0] ?? 0) && total >= (seen[i - 1]?.[1] ?? 0))).toBe(
      true,
    );
  });

  it.each(['restore.before-flush', 'qcow2:before-header'])('leaves nothing when it fails at %s', async (point) => {
    const { disk, backup, wanted } = await scene();
    armCrashPoint(point, 'fail');
    await expect(mover.restoreOnto(orderOnto(disk, backup), uncancelled)).rejects.toThrow(point);
    expectNothingLeft();
    await restoreOnto(disk, backup, wanted);
  });
});
