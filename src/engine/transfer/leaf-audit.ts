/**
 * Compares chunks that count as unchanged with what the base's map says of them.
 *
 * A chunk is read when it is chosen, and when the base and the disk already disagree without reading: the base has data where the disk says that
 * it holds none. Where the base has zeroes and the disk says that it may hold data, a few are read: mostly these are zeroes that take room.
 */
import { seededRandom } from '../../lib/random.ts';
import type { DiskReader } from '../disk/contract.ts';
import type { IdHasher } from '../repository/chunk-id.ts';
import type { AuditFinding } from '../repository/commit.ts';
import { CHUNK_BYTES, FAN_OUT, ID_BYTES, LEAF_BYTES } from '../repository/format.ts';
import type { MapNode } from '../repository/map-node.ts';
import { chooseFew } from './audit-sample.ts';
import { type ChunkMask, hasChunk } from './chunk-mask.ts';

/** What is known of a leaf's chunks before anything is read. */
export interface LeafFacts {
  readonly leafIndex: number;
  /** Chunks that may differ from the base. Everything beyond the shorter of both disks is among them. */
  readonly changed: ChunkMask;
  /** Chunks that may hold something other than zeroes. */
  readonly allocated: ChunkMask;
}

/** A chunk that is not what was said of it. */
export type LeafFinding = Pick<AuditFinding, 'wrong' | 'offsetBytes'>;

/** How many chunks are chosen, of those that may hold data, and of those that the disk calls empty. */
export interface LeafSample {
  readonly allocated: number;
  readonly empty: number;
}

/** Reads of zeroes that take room, for one auditor. */
const doubtfulReadsMax = 64;
const doubtfulReadsPerLeaf = 2;
const zeroes = Buffer.alloc(CHUNK_BYTES);

/** Reads whole chunks, into one buffer. The last one of a disk is filled up with zeroes. */
export class ChunkReader {
  readonly #reader: DiskReader;
  readonly #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);

  constructor(reader: DiskReader) {
    this.#reader = reader;
  }

  get endBytes(): number {
    return this.#reader.sizeBytes;
  }

  /** A chunk that begins before the end. Undefined: nothing but zeroes. The bytes are good until the next read. */
  read(offsetBytes: number): Buffer | undefined {
    const there = Math.min(CHUNK_BYTES, this.#reader.sizeBytes - offsetBytes);
    this.#reader.readSync(this.#chunk.subarray(0, there), offsetBytes);
    this.#chunk.fill(0, there);
    return this.#chunk.equals(zeroes) ? undefined : this.#chunk;
  }
}

export class LeafAuditor {
  readonly #chunks: ChunkReader;
  readonly #hasher: IdHasher;
  readonly #seed: number;
  readonly #id = Buffer.alloc(ID_BYTES);
  #doubtfulReadsLeft = doubtfulReadsMax;
  /** How many chunks were read. */
  readCount = 0;

  constructor(reader: DiskReader, hasher: IdHasher, seed: number) {
    this.#chunks = new ChunkReader(reader);
    this.#hasher = hasher;
    this.#seed = seed;
  }

  check(base: MapNode, leaf: LeafFacts, sample: LeafSample = { allocated: 0, empty: 0 }): LeafFinding | undefined {
    const random = seededRandom(this.#seed + leaf.leafIndex);
    const { contradictory, doubtful, data, empty } = sortChunks(base, leaf, this.#chunks.endBytes);
    const few = chooseFew(random, doubtful, Math.min(doubtfulReadsPerLeaf, this.#doubtfulReadsLeft));
    this.#doubtfulReadsLeft -= few.length;
    const chosen = [...chooseFew(random, data, sample.allocated), ...chooseFew(random, empty, sample.empty)];
    for (const index of [...contradictory, ...few, ...chosen]) {
      const wrong = this.#compare(base, leaf, index);
      if (wrong !== undefined) return { wrong, offsetBytes: leaf.leafIndex * LEAF_BYTES + index * CHUNK_BYTES };
    }
    return undefined;
  }

  #compare(base: MapNode, leaf: LeafFacts, index: number): LeafFinding['wrong'] | undefined {
    const chunk = this.#chunks.read(leaf.leafIndex * LEAF_BYTES + index * CHUNK_BYTES);
    this.readCount += 1;
    if (chunk === undefined) return base.isHole(index) ? undefined : 'changes';
    if (!hasChunk(leaf.allocated, index)) return 'allocation';
    this.#hasher.write(chunk, this.#id, 0);
    return base.hasId(index, this.#id) ? undefined : 'changes';
  }
}

/** The unchanged chunks of a leaf by what the base and the disk say of them without being read. */
function sortChunks(base: MapNode, leaf: LeafFacts, endBytes: number) {
  const sorted = { contradictory: [] as number[], doubtful: [] as number[], data: [] as number[], empty: [] as number[] };
  const count = Math.min(FAN_OUT, Math.ceil((endBytes - leaf.leafIndex * LEAF_BYTES) / CHUNK_BYTES));
  for (let index = 0; index < count; index += 1) {
    if (hasChunk(leaf.changed, index)) continue;
    if (hasChunk(leaf.allocated, index)) (base.isHole(index) ? sorted.doubtful : sorted.data).push(index);
    else (base.isHole(index) ? sorted.empty : sorted.contradictory).push(index);
  }
  return sorted;
}
