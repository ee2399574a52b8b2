/**
 * Makes one segment of several. Records of retired packs are left out, of equal ids the first is kept. Memory: a block for each input, and
 * the filter of the result. It lets other work of the thread run in between.
 */
import { setImmediate as otherWork } from 'node:timers/promises';
import { createIdHasher } from '../chunk-id.ts';
import { ID_BYTES, type PackName } from '../format.ts';
import type { DirectoryEntry } from '../pack-format.ts';
import { compareIds, type IndexedPack, RECORD_BYTES, readRecordFields } from './record.ts';
import { Segment, type SegmentHandle } from './segment.ts';
import { SegmentWriter } from './segment-writer.ts';

/** Inputs that are merged at once: more would hold too many files open. */
const FAN_IN_MAX = 32;
const RECORDS_BETWEEN_PAUSES = 20_000;

/** Merges any number of segments into `path`, in several rounds when there are many. */
export async function mergeSegments(
  inputs: readonly SegmentHandle[],
  path: string,
  idKey: Buffer,
  load: (path: string) => SegmentHandle | undefined,
): Promise<void> {
  let round = [...inputs];
  for (let number = 0; round.length > FAN_IN_MAX; number += 1) {
    const next: SegmentHandle[] = [];
    for (let i = 0; i < round.length; i += FAN_IN_MAX) {
      const partPath = `${path}.round${number}-${i}`;
      await mergeOnce(round.slice(i, i + FAN_IN_MAX), partPath, idKey);
      const part = load(partPath);
      if (part === undefined) throw new Error(`the index segment ${partPath} cannot be read back`);
      next.push(part);
    }
    round = next;
  }
  await mergeOnce(round, path, idKey);
}

async function mergeOnce(inputs: readonly SegmentHandle[], path: string, idKey: Buffer): Promise<void> {
  const hasher = createIdHasher(idKey);
  const cursors: Cursor[] = [];
  const packs = new PackNumbers();
  const writer = new SegmentWriter(
    path,
    idKey,
    inputs.reduce((sum, input) => sum + input.recordCount, 0),
  );
  try {
    for (const input of inputs) cursors.push(new Cursor(new Segment(input, hasher)));
    let written = 0;
    for (let least = leastOf(cursors); least !== undefined; least = leastOf(cursors)) {
      const { pack: index, ...fields } = readRecordFields(least.block, least.at);
      if (!least.segment.isRetired(index))
        writer.add(least.block, least.at, { ...fields, pack: packs.numberOf(least.segment.pack(index)) });
      least.advance();
      written += 1;
      if (written % RECORDS_BETWEEN_PAUSES === 0) await otherWork();
    }
    writer.finish(packs.list());
  } catch (error) {
    writer.abort();
    throw error;
  } finally {
    for (const cursor of cursors) cursor.segment.close();
  }
}

/** A segment of the chunks of one pack. */
export function writePackSegment(path: string, idKey: Buffer, pack: IndexedPack, entries: readonly DirectoryEntry[]): void {
  const count = entries.reduce((sum, entry) => sum + entry.slots, 0);
  const ids = Buffer.alloc(count * ID_BYTES);
  const frames: DirectoryEntry[] = [];
  const slots: number[] = [];
  for (const entry of entries) {
    ids.set(entry.ids, frames.length * ID_BYTES);
    for (let slot = 0; slot < entry.slots; slot += 1) {
      frames.push(entry);
      slots.push(slot);
    }
  }
  const order = Uint32Array.from(frames, (_, i) => i).sort((a, b) => compareIds(ids, a * ID_BYTES, ids, b * ID_BYTES));
  const writer = new SegmentWriter(path, idKey, count);
  try {
    for (const i of order) {
      const { frame, offsetBytes, lengthBytes } = frames[i] as DirectoryEntry;
      writer.add(ids, i * ID_BYTES, { pack: 0, frame, slot: slots[i] as number, offsetBytes, lengthBytes });
    }
    writer.finish([pack]);
  } catch (error) {
    writer.abort();
    throw error;
  }
}

class Cursor {
  readonly segment: Segment;
  block: Buffer = Buffer.alloc(0);
  at = 0;
  #number = -1;
  #end = 0;

  constructor(segment: Segment) {
    this.segment = segment;
    this.advance();
  }

  get isDone(): boolean {
    return this.at >= this.#end;
  }

  advance(): void {
    this.at += RECORD_BYTES;
    while (this.at >= this.#end && this.#number + 1 < this.segment.handle.blockCount) {
      this.#number += 1;
      const block = this.segment.readBlock(this.#number);
      // A damaged block is left out: its chunks are stored once more some day.
      if (block === undefined) continue;
      this.block = block.bytes;
      this.at = 0;
      this.#end = block.count * RECORD_BYTES;
    }
  }
}

/** With a few dozen inputs at most, looking at each is as fast as a heap. */
function leastOf(cursors: readonly Cursor[]): Cursor | undefined {
  let least: Cursor | undefined;
  for (const cursor of cursors) {
    if (cursor.isDone) continue;
    if (least === undefined || compareIds(cursor.block, cursor.at, least.block, least.at) < 0) least = cursor;
  }
  return least;
}

class PackNumbers {
  readonly #numbers = new Map<PackName, number>();
  readonly #packs: IndexedPack[] = [];

  numberOf(pack: IndexedPack): number {
    const known = this.#numbers.get(pack.name);
    if (known !== undefined) return known;
    this.#numbers.set(pack.name, this.#packs.length);
    return this.#packs.push(pack) - 1;
  }

  list(): readonly IndexedPack[] {
    return this.#packs;
  }
}
