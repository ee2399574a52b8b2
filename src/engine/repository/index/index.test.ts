import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createIdHasher } from '../chunk-id.ts';
import { ID_BYTES, packNameOf } from '../format.ts';
import type { DirectoryEntry } from '../pack-format.ts';
import { createRecentChunks, RecentChunks } from './recent-chunks.ts';
import { BLOCK_BYTES, HEADER_BYTES } from './record.ts';
import { loadSegment, Segment, type SegmentHandle } from './segment.ts';
import { mergeSegments, writePackSegment } from './segment-merge.ts';

const folder = mkdtempSync(join(tmpdir(), 'stillpoint-index-'));
afterAll(() => rmSync(folder, { recursive: true }));

const idKey = randomBytes(32);
const hasher = createIdHasher(idKey);
const session = randomBytes(16).toString('hex');

let fileCount = 0;
const newPath = (): string => {
  fileCount += 1;
  return join(folder, `${fileCount}.seg`);
};

/** The directory of a pack with `frameCount` frames of four random chunks. */
function makeEntries(frameCount: number): DirectoryEntry[] {
  return Array.from({ length: frameCount }, (_, frame) => ({
    frame,
    offsetBytes: 88 + frame * 1000,
    lengthBytes: 1000,
    slots: 4,
    ids: randomBytes(4 * ID_BYTES),
  }));
}

function makeSegment(sequence: number, entries: readonly DirectoryEntry[]): SegmentHandle {
  const path = newPath();
  writePackSegment(path, idKey, { name: packNameOf(session, sequence), lengthBytes: 1_000_000 + sequence }, entries);
  return loadSegment(path, hasher) as SegmentHandle;
}

function expectFound(segment: Segment, sequence: number, entries: readonly DirectoryEntry[]): void {
  for (const { frame, offsetBytes, lengthBytes, ids } of entries) {
    for (let slot = 0; slot < 4; slot += 1) {
      const pack = { pack: packNameOf(session, sequence), packLengthBytes: 1_000_000 + sequence };
      expect(segment.find(Buffer.from(ids), slot * ID_BYTES)).toEqual({ ...pack, frame, slot, offsetBytes, lengthBytes });
    }
  }
}

describe('an index segment', () => {
  it('finds every chunk and nothing else', () => {
    const entries = makeEntries(700);
    const segment = new Segment(makeSegment(1, entries), hasher);
    expectFound(segment, 1, entries);
    for (let i = 0; i < 2000; i += 1) expect(segment.find(randomBytes(ID_BYTES), 0)).toBeUndefined();
    segment.close();
  });

  it('finds chunks whose ids begin alike, over the borders of blocks', () => {
    const entries = makeEntries(200);
    for (const { ids } of entries) for (let slot = 0; slot < 4; slot += 1) ids.fill(0xab, slot * ID_BYTES, slot * ID_BYTES + 4);
    const segment = new Segment(makeSegment(1, entries), hasher);
    expectFound(segment, 1, entries);
    segment.close();
  });

  it('answers with nothing where a block is damaged, and is refused whole when its tables are', () => {
    const entries = makeEntries(100);
    const handle = makeSegment(1, entries);
    const bytes = readFileSync(handle.path);
    bytes[HEADER_BYTES + 20] = (bytes[HEADER_BYTES + 20] as number) ^ 1;
    writeFileSync(handle.path, bytes);
    const segment = new Segment(loadSegment(handle.path, hasher) as SegmentHandle, hasher);
    const found = entries.filter(({ ids }) => segment.find(Buffer.from(ids), 0) !== undefined).length;
    expect(found).toBeGreaterThan(40);
    expect(found).toBeLessThan(80);
    segment.close();
    for (const at of [0, 9, 30, 50, HEADER_BYTES + handle.blockCount * BLOCK_BYTES]) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ 1;
      writeFileSync(handle.path, damaged);
      expect(loadSegment(handle.path, hasher), `byte ${at}`).toBeUndefined();
    }
    writeFileSync(handle.path, bytes.subarray(0, bytes.length - 1));
    expect(loadSegment(handle.path, hasher)).toBeUndefined();
    expect(loadSegment(newPath(), hasher)).toBeUndefined();
  });

  it('of another key is refused', () => {
    const handle = makeSegment(1, makeEntries(3));
    expect(loadSegment(handle.path, createIdHasher(randomBytes(32)))).toBeUndefined();
  });

  it('never offers a retired pack', () => {
    const entries = makeEntries(5);
    const handle = makeSegment(1, entries);
    new Uint8Array(handle.retired)[0] = 1;
    const segment = new Segment(handle, hasher);
    expect(entries.some(({ ids }) => segment.find(Buffer.from(ids), 0) !== undefined)).toBe(false);
    segment.close();
  });
});

describe('merging segments', () => {
  it('keeps every chunk of the packs that are not retired, in several rounds', async () => {
    const parts = Array.from({ length: 40 }, (_, sequence) => ({ sequence, entries: makeEntries(20) }));
    const handles = parts.map(({ sequence, entries }) => makeSegment(sequence, entries));
    new Uint8Array((handles[7] as SegmentHandle).retired)[0] = 1;
    const path = newPath();
    await mergeSegments(handles, path, idKey, (part) => loadSegment(part, hasher));
    const merged = loadSegment(path, hasher) as SegmentHandle;
    expect(merged.recordCount).toBe(39 * 80);
    const segment = new Segment(merged, hasher);
    for (const { sequence, entries } of parts) {
      if (sequence !== 7) expectFound(segment, sequence, entries);
      else expect(entries.some(({ ids }) => segment.find(Buffer.from(ids), 0) !== undefined)).toBe(false);
    }
    segment.close();
    expect(readdirSync(folder).some((name) => name.endsWith('.part'))).toBe(false);
  });

  it('keeps one place for a chunk that is in several', async () => {
    const entries = makeEntries(10);
    const path = newPath();
    await mergeSegments([makeSegment(1, entries), makeSegment(2, entries)], path, idKey, (part) => loadSegment(part, hasher));
    expect(loadSegment(path, hasher)?.recordCount).toBe(40);
  });
});

describe('the chunks that a session just stored', () => {
  it('are found by every thread, until newer ones took their place', () => {
    const handle = createRecentChunks(10);
    const [one, two] = [new RecentChunks(handle), new RecentChunks(handle)];
    const ids = Array.from({ length: 50 }, () => randomBytes(ID_BYTES));
    for (const [frame, id] of ids.entries()) one.add(id, 0, { sequence: 5, frame, slot: 2, offsetBytes: frame * 10, lengthBytes: 10 });
    const found = ids.filter((id, frame) => {
      const place = two.find(id, 0);
      if (place !== undefined) expect(place).toEqual({ sequence: 5, frame, slot: 2, offsetBytes: frame * 10, lengthBytes: 10 });
      return place !== undefined;
    });
    expect(found.length).toBeGreaterThan(40);
    expect(two.find(randomBytes(ID_BYTES), 0)).toBeUndefined();
    for (let i = 0; i < 20_000; i += 1)
      one.add(randomBytes(ID_BYTES), 0, { sequence: 6, frame: 0, slot: 0, offsetBytes: 1, lengthBytes: 1 });
    expect(ids.filter((id) => two.find(id, 0) !== undefined).length).toBeLessThan(10);
  });
});
