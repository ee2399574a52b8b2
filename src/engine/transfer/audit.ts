/**
 * The sampled audit: before a backup relies on what others say of a disk, some random chunks are read to see whether it is true.
 *
 * Of an incremental, chunks that the journals call unchanged are compared with the base's map: a few in each of some random leaves. With such a leaf
 * goes a comparison of all its holes with the disk's, and with each 1 GiB one of its whole leaves; both need no reading of the disk. Of every
 * backup, chunks that the disk calls empty are read. It ends when enough was seen and the time is up: it is there to notice on some day that
 * something is wrong in general, not to prove on any day that all is right. For that there are full backups.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { seededRandom } from '../../lib/random.ts';
import type { DiskReader } from '../disk/contract.ts';
import type { ExtentSet } from '../disk/extent-set.ts';
import type { DiskMap, NodeReference } from '../repository/disk-map.ts';
import { CHUNK_BYTES, FAN_OUT, LEAF_BYTES } from '../repository/format.ts';
import { LeafFinder, UnreadableNode } from '../repository/leaf-finder.ts';
import { type AuditRanges, chooseAllocated, chooseEmpty } from './audit-sample.ts';
import { addChunks, type ChunkMask, emptyMask } from './chunk-mask.ts';
import type { DomainTools } from './domain-access.ts';
import { ChunkReader, LeafAuditor, type LeafFinding, type LeafSample } from './leaf-audit.ts';

/** Reading a leaf of the map costs more than reading a chunk. */
const chunksPerLeaf = 4;
const emptyPerLeaf = 1;
const leavesMax = 128;
/** With so many chunks seen, it ends after `pleasantMs`. */
const chunksEnough = 64;
const pleasantMs = 5;
/** In a process that has just begun, or on a disk that answers slowly, it ends after `patientMs` with so many seen. */
const chunksLeast = 32;
const patientMs = 30;
/** Chunks anywhere that the disk calls empty. */
const emptyOfChanges = 8;
const emptyOfAll = 32;
/** Places that are looked at before the clock is. */
const roundPlaces = 4;
/** Leaves of 1 GiB that are looked into because the base and the disk disagree about whether anything is there. */
const oddLeavesMax = 4;

/** Ends an attempt at a backup that relies on something that is not true. */
export class AuditFailure extends Error {
  readonly finding: LeafFinding;
  /** Chunks that had been read. */
  readonly chunks: number;

  constructor(finding: LeafFinding, chunks: number) {
    super(describeFinding(finding));
    this.name = 'AuditFailure';
    this.finding = finding;
    this.chunks = chunks;
  }
}

export function describeFinding({ wrong, offsetBytes }: LeafFinding): string {
  return wrong === 'changes'
    ? `the journals missed a change at ${offsetBytes}`
    : `the disk holds data at ${offsetBytes}, where it says that it holds none`;
}

export interface AuditSubject {
  readonly reader: DiskReader;
  readonly ranges: AuditRanges;
  readonly seed: number;
  /** Absent: only what the disk calls empty is looked at. */
  readonly base?: { readonly map: DiskMap; readonly tools: Pick<DomainTools, 'nodes' | 'hasher'> };
}

export interface AuditResult {
  /** Chunks that were read. */
  readonly chunks: number;
  readonly finding?: LeafFinding;
}

export async function auditSample(subject: AuditSubject): Promise<AuditResult> {
  const { reader, ranges, seed, base } = subject;
  const random = seededRandom(seed);
  const endBytes = Math.min(reader.sizeBytes, base?.map.sizeBytes ?? reader.sizeBytes);
  if (base === undefined) {
    return await inRounds(chooseEmpty(random, ranges, endBytes, emptyOfAll), new EmptyAudit(new ChunkReader(reader)));
  }
  const auditor = new LeafAuditor(reader, base.tools.hasher, seed);
  const places = byTurns(chooseAllocated(random, ranges, leavesMax), chooseEmpty(random, ranges, endBytes, emptyOfChanges));
  const leafCount = new Set(places.map(leafOf)).size;
  const sample = { allocated: Math.max(chunksPerLeaf, Math.ceil(chunksEnough / leafCount)), empty: emptyPerLeaf };
  return await inRounds(places, new BaseAudit({ ...base, ranges, endBytes, auditor, sample }));
}

/** One of each, as long as there are both. */
const byTurns = <T>(some: readonly T[], others: readonly T[]): T[] => [
  ...some.flatMap((one, index) => [one, ...others.slice(index, index + 1)]),
  ...others.slice(some.length),
];

const leafOf = (offsetBytes: number): number => Math.floor(offsetBytes / LEAF_BYTES);

interface Audit {
  readonly readCount: number;
  check(offset: number): Promise<LeafFinding | undefined>;
}

async function inRounds(offsets: readonly number[], audit: Audit): Promise<AuditResult> {
  const startedMs = performance.now();
  for (const [place, offset] of offsets.entries()) {
    const finding = await audit.check(offset);
    if (finding !== undefined) return { chunks: audit.readCount, finding };
    if (place % roundPlaces !== roundPlaces - 1) continue;
    const elapsedMs = performance.now() - startedMs;
    if (audit.readCount >= chunksEnough && elapsedMs > pleasantMs) break;
    if (audit.readCount >= chunksLeast && elapsedMs > patientMs) break;
    await nextTurn();
  }
  return { chunks: audit.readCount };
}

/** Without a base: is what is called empty empty? */
class EmptyAudit implements Audit {
  readonly #chunks: ChunkReader;
  readCount = 0;

  constructor(chunks: ChunkReader) {
    this.#chunks = chunks;
  }

  async check(offsetBytes: number): Promise<LeafFinding | undefined> {
    this.readCount += 1;
    return this.#chunks.read(offsetBytes) === undefined ? undefined : { wrong: 'allocation', offsetBytes };
  }
}

interface BaseAuditParts {
  readonly map: DiskMap;
  readonly tools: Pick<DomainTools, 'nodes'>;
  readonly ranges: AuditRanges;
  /** Of the shorter of both disks. */
  readonly endBytes: number;
  readonly auditor: LeafAuditor;
  readonly sample: LeafSample;
}

class BaseAudit implements Audit {
  readonly #parts: BaseAuditParts;
  readonly #leaves: LeafFinder;
  readonly #leavesSeen = new Set<number>();
  readonly #groupsSeen = new Set<number>();

  constructor(parts: BaseAuditParts) {
    this.#parts = parts;
    this.#leaves = new LeafFinder(parts.tools.nodes, parts.map);
  }

  get readCount(): number {
    return this.#parts.auditor.readCount;
  }

  async check(offsetBytes: number): Promise<LeafFinding | undefined> {
    const leafIndex = leafOf(offsetBytes);
    try {
      return (await this.#checkGroup(Math.floor(leafIndex / FAN_OUT))) ?? (await this.#checkLeaf(leafIndex));
    } catch (error) {
      throw error instanceof UnreadableNode ? error.cause : error;
    }
  }

  async #checkLeaf(leafIndex: number): Promise<LeafFinding | undefined> {
    if (this.#leavesSeen.has(leafIndex)) return undefined;
    this.#leavesSeen.add(leafIndex);
    const { tools, ranges, auditor, sample } = this.#parts;
    const reference: NodeReference = await this.#leaves.leafAt(leafIndex);
    const base = await tools.nodes.read(reference, 0);
    const facts = { leafIndex, changed: maskOf(ranges.changed, leafIndex), allocated: maskOf(ranges.allocated, leafIndex) };
    return auditor.check(base, facts, sample);
  }

  /** The leaves below one node of the map: of which does only one side say that there is something? */
  async #checkGroup(group: number): Promise<LeafFinding | undefined> {
    if (this.#groupsSeen.has(group)) return undefined;
    this.#groupsSeen.add(group);
    const { ranges, endBytes } = this.#parts;
    const base = await this.#leaves.groupAt(group);
    const vanished: number[] = [];
    const appeared: number[] = [];
    for (let index = 0; index < FAN_OUT; index += 1) {
      const leafIndex = group * FAN_OUT + index;
      const start = leafIndex * LEAF_BYTES;
      const end = Math.min(start + LEAF_BYTES, endBytes);
      if (start >= end || ranges.changed.covers(start, end)) continue;
      const wasThere = base?.isHole(index) === false;
      const isThere = ranges.allocated.overlaps(start, end);
      if (wasThere && !isThere) vanished.push(leafIndex);
      if (!wasThere && isThere) appeared.push(leafIndex);
    }
    for (const leafIndex of [...vanished, ...appeared].slice(0, oddLeavesMax)) {
      const finding = await this.#checkLeaf(leafIndex);
      if (finding !== undefined) return finding;
    }
    return undefined;
  }
}

function maskOf(ranges: ExtentSet, leafIndex: number): ChunkMask {
  const mask = emptyMask();
  const leafStart = leafIndex * LEAF_BYTES;
  for (const [start, end] of ranges.within(leafStart, leafStart + LEAF_BYTES)) {
    addChunks(mask, (start - leafStart) / CHUNK_BYTES, (end - leafStart) / CHUNK_BYTES);
  }
  return mask;
}
