import {
  closeSync,
  copyFileSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { ExtentSet } from './extent-set.ts';
import { extentsFileOf, loadRaw, readExtentsFile, writeExtentsFile } from './raw-layer.ts';

const mib = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'raw-layer-'));
const path = join(folder, 'base.raw');
const notesPath = extentsFileOf(path);
const noted = ExtentSet.of([
  [0, 4096],
  [mib, 2 * mib],
]);

beforeEach(async () => {
  writeFileSync(path, Buffer.alloc(4 * mib, 1));
  // So long ago that whatever is written now has another time, however coarse the clock of the file system.
  utimesSync(path, 1_000_000_000, 1_000_000_000);
  await writeExtentsFile(path, noted, 'sealed');
});
afterAll(() => rmSync(folder, { recursive: true }));

function allocated(): [number, number][] {
  const fd = openSync(path, 'r');
  try {
    return [...loadRaw(fd, path).allocated.ranges()].map(([start, end]) => [start, end]);
  } finally {
    closeSync(fd);
  }
}
const whole = [[0, 4 * mib]];
const asNoted = [...noted.ranges()];

function writeByte(offset: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.of(7), 0, 1, offset);
  closeSync(fd);
}

describe('the notes of a raw layer', () => {
  it('say where its data is', () => {
    expect(allocated()).toEqual(asNoted);
    expect(readExtentsFile(path)?.equals(noted)).toBe(true);
  });

  it('count for nothing when they are missing, empty, or something else: then all of the file is data', () => {
    rmSync(notesPath);
    expect(allocated()).toEqual(whole);
    for (const content of ['', 'nonsense', 'SPXB', 'SPXS']) {
      writeFileSync(notesPath, content);
      expect(allocated()).toEqual(whole);
    }
  });

  it.each(['sealed', 'open'] as const)('count for nothing when they are torn or changed anywhere (%s)', async (state) => {
    await writeExtentsFile(path, noted, state);
    const bytes = readFileSync(notesPath);
    for (let at = 0; at < bytes.length; at += 1) {
      writeFileSync(notesPath, bytes.subarray(0, at));
      expect(allocated()).toEqual(whole);
      for (const bit of [1, 0x80]) {
        const flipped = Buffer.from(bytes);
        flipped[at] = (flipped[at] ?? 0) ^ bit;
        writeFileSync(notesPath, flipped);
        expect(allocated()).toEqual(whole);
      }
    }
    writeFileSync(notesPath, Buffer.concat([bytes, Buffer.alloc(1)]));
    expect(allocated()).toEqual(whole);
  });

  it('count for nothing when somebody wrote to the file since', () => {
    writeByte(3 * mib);
    expect(allocated()).toEqual(whole);
    expect(readExtentsFile(path)).toBeUndefined();
  });

  it('count for nothing when the file has another size', () => {
    truncateSync(path, 3 * mib);
    utimesSync(path, 1_000_000_000, 1_000_000_000);
    expect(allocated()).toEqual([[0, 3 * mib]]);
  });

  it('count for nothing beside another file of the same size', () => {
    const other = join(folder, 'other.raw');
    copyFileSync(path, other);
    renameSync(other, path);
    expect(allocated()).toEqual(whole);
  });

  it('count for nothing when an older state of the file came back after them, as from a copy', async () => {
    const older = join(folder, 'older.raw');
    cpSync(path, older, { preserveTimestamps: true });
    writeByte(3 * mib);
    await writeExtentsFile(path, noted.union(ExtentSet.of([[3 * mib, 4 * mib]])), 'sealed');
    renameSync(older, path);
    expect(allocated()).toEqual(whole);
  });

  it('move with the file', () => {
    const moved = join(folder, 'moved.raw');
    cpSync(path, moved, { preserveTimestamps: true });
    renameSync(notesPath, extentsFileOf(moved));
    expect(readExtentsFile(moved)?.equals(noted)).toBe(true);
  });

  it('that are open count whatever is written meanwhile, and are bound again at the end', async () => {
    const more = noted.union(ExtentSet.of([[3 * mib, 3 * mib + 4096]]));
    await writeExtentsFile(path, more, 'open');
    writeByte(3 * mib);
    expect(readExtentsFile(path)?.equals(more)).toBe(true);
    await writeExtentsFile(path, more, 'sealed');
    expect(readExtentsFile(path)?.equals(more)).toBe(true);
    utimesSync(path, 1_000_000_001, 1_000_000_001);
    expect(readExtentsFile(path)).toBeUndefined();
  });

  it('of a file that is gone are not there', () => {
    rmSync(path);
    expect(readExtentsFile(path)).toBeUndefined();
  });
});
