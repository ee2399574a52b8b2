import type { DiskReader } from '../disk/contract.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { CHUNK_BYTES, LEAF_BYTES } from '../repository/format.ts';
import { addChunks, type ChunkMask, emptyMask } from './chunk-mask.ts';

/** What is to be done to one leaf: chunks in `changed` get a new entry; those of them in `read` from the disk, the others are zero. */
export interface LeafPlan {
  readonly leafIndex: number;
  readonly changed: ChunkMask;
  readonly read: ChunkMask;
  /** What the disk may hold in the whole leaf. */
  readonly allocated: ChunkMask;
}

/** All in whole chunks. */
export interface BackupPlan {
  readonly changed: ExtentSet;
  readonly read: ExtentSet;
  readonly readBytes: number;
  readonly allocated: ExtentSet;
}

/**
 * Plans a backup from the ranges that may differ from the base. Ranges grow to whole chunks. What lies around the end of a base of
 * another size is taken as changed too: a chunk that was or is cut by the end, and everything that was added.
 */
export function planBackup(reader: DiskReader, base: { readonly changed: ExtentSet; readonly sizeBytes: number } | undefined): BackupPlan {
  const allocated = reader.allocated(CHUNK_BYTES).alignTo(CHUNK_BYTES);
  if (base === undefined) return planOfAll(allocated);
  const ends = ExtentSet.of(
    base.sizeBytes === reader.sizeBytes
      ? []
      : [
          chunkAround(Math.min(base.sizeBytes, reader.sizeBytes)),
          [Math.min(base.sizeBytes, reader.sizeBytes), Math.max(base.sizeBytes, reader.sizeBytes)],
        ],
  );
  const diskEnd = Math.ceil(reader.sizeBytes / LEAF_BYTES) * LEAF_BYTES;
  const changed = base.changed.union(ends).alignTo(CHUNK_BYTES).clamp(diskEnd);
  const read = changed.intersect(allocated);
  return { changed, read, readBytes: read.totalBytes, allocated };
}

/** Of a disk whose word for what it holds cannot be taken. */
export function planWholeDisk(reader: DiskReader): BackupPlan {
  return planOfAll(ExtentSet.of([[0, reader.sizeBytes]]).alignTo(CHUNK_BYTES));
}

const planOfAll = (ranges: ExtentSet): BackupPlan => ({ changed: ranges, read: ranges, readBytes: ranges.totalBytes, allocated: ranges });

function chunkAround(offsetBytes: number): readonly [number, number] {
  const start = Math.floor(offsetBytes / CHUNK_BYTES) * CHUNK_BYTES;
  return [start, start + CHUNK_BYTES];
}

/** The leaves that a plan touches, ascending. */
export function* leavesOf(plan: BackupPlan): Generator<LeafPlan, void, undefined> {
  const readIn = inStep(plan.read);
  const allocatedIn = inStep(plan.allocated.intersect(plan.changed.alignTo(LEAF_BYTES)));
  for (const { leafIndex, mask } of masksOf(plan.changed)) {
    yield { leafIndex, changed: mask, read: readIn(leafIndex), allocated: allocatedIn(leafIndex) };
  }
}

/** The masks of some ranges, for whoever asks in ascending order. */
function inStep(ranges: ExtentSet): (leafIndex: number) => ChunkMask {
  const masks = masksOf(ranges);
  let next = masks.next();
  return (leafIndex) => {
    while (!next.done && next.value.leafIndex < leafIndex) next = masks.next();
    return !next.done && next.value.leafIndex === leafIndex ? next.value.mask : emptyMask();
  };
}

function* masksOf(ranges: ExtentSet): Generator<{ readonly leafIndex: number; readonly mask: ChunkMask }, void, undefined> {
  let leafIndex = -1;
  let mask = emptyMask();
  for (const [startBytes, endBytes] of ranges.ranges()) {
    for (let at = startBytes; at < endBytes; ) {
      const leaf = Math.floor(at / LEAF_BYTES);
      if (leaf !== leafIndex) {
        if (leafIndex >= 0) yield { leafIndex, mask };
        leafIndex = leaf;
        mask = emptyMask();
      }
      const end = Math.min(endBytes, (leaf + 1) * LEAF_BYTES);
      addChunks(mask, (at - leaf * LEAF_BYTES) / CHUNK_BYTES, (end - leaf * LEAF_BYTES) / CHUNK_BYTES);
      at = end;
    }
  }
  if (leafIndex >= 0) yield { leafIndex, mask };
}
