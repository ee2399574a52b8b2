/**
 * A backup's part in a worker thread: makes new leaves. For each chunk that may have changed: read, skip zeroes, hash, keep what the base
 * has, find what is stored already, compress and seal what is new. All of it happens synchronously on buffers that are used again;
 * only the flushing of full packs runs beside it.
 */

import { join } from 'node:path';
import type { DiskReader } from '../disk/contract.ts';
import { openDisk } from '../disk/open-disk.ts';
import {
  CHUNK_BYTES,
  FAN_OUT,
  FRAME_SLOTS_MAX,
  ID_BYTES,
  LEAF_BYTES,
  objectNames,
  packNameOf,
  parsePackName,
} from '../repository/format.ts';
import { RecentChunks } from '../repository/index/recent-chunks.ts';
import type { ChunkPlace } from '../repository/index/record.ts';
import { Segment } from '../repository/index/segment.ts';
import { writePackSegment } from '../repository/index/segment-merge.ts';
import { MapNode } from '../repository/map-node.ts';
import type { FrameAddress } from '../repository/pack-format.ts';
import type { PackWriter } from '../repository/pack-writer.ts';
import { hasChunk, stretchesOf } from './chunk-mask.ts';
import { type DomainTools, openAccess } from './domain-access.ts';
import { LeafAuditor } from './leaf-audit.ts';
import { SessionPacks } from './session-packs.ts';
import type { AbandonedPacks, BackupContext, BackupLeafResult, BackupTask, BackupWorkerEnd, LeafTask } from './worker-protocol.ts';

/** A read of 1 MiB stays in the cache of a core until it was hashed and compressed. */
const READ_CHUNKS = 16;
const zeroes = Buffer.alloc(CHUNK_BYTES);

export class BackupWorker {
  readonly #context: BackupContext;
  readonly #tools: DomainTools;
  readonly #reader: DiskReader;
  readonly #auditor: LeafAuditor;
  readonly #packs: SessionPacks;
  readonly #recent: RecentChunks;
  readonly #segments: Segment[];
  /** Packs of other sessions that were asked for: their length, or that they are not usable. */
  readonly #shared = new Map<string, number | undefined>();
  readonly #buffer = Buffer.allocUnsafeSlow(READ_CHUNKS * CHUNK_BYTES);
  readonly #ids = Buffer.alloc(READ_CHUNKS * ID_BYTES);

  constructor(context: BackupContext) {
    this.#context = context;
    this.#tools = openAccess(context.access);
    this.#reader = openDisk(context.source, { expectedBytes: context.readBytes });
    this.#auditor = new LeafAuditor(this.#reader, this.#tools.hasher, context.auditSeed);
    this.#recent = new RecentChunks(context.recent);
    this.#segments = context.segments.map((handle) => new Segment(handle, this.#tools.hasher));
    const { session } = context;
    const sequence = new Int32Array(context.sequence);
    this.#packs = new SessionPacks({ tools: this.#tools, session, kind: 'data', sequence, onFilled: (pack) => this.#indexPack(pack) });
  }

  async run(task: BackupTask): Promise<BackupLeafResult[]> {
    const results: BackupLeafResult[] = [];
    for (const leaf of task) results.push(await this.#makeLeaf(leaf));
    return results;
  }

  async #makeLeaf(task: LeafTask): Promise<BackupLeafResult> {
    const base = task.base === undefined ? undefined : { id: Buffer.from(task.base.id), address: task.base.address };
    const before = base === undefined ? new MapNode(0) : await this.#tools.nodes.read(base, 0);
    const finding = this.#context.isIncremental ? this.#auditor.check(before, task) : undefined;
    if (finding !== undefined) return { readBytes: 0, references: [], finding };
    const after = before.copy();
    for (let index = 0; index < FAN_OUT; index += 1) {
      if (hasChunk(task.changed, index) && !hasChunk(task.read, index)) after.setHole(index);
    }
    let readBytes = 0;
    for (const [from, to] of stretchesOf(task.read, READ_CHUNKS)) {
      readBytes += await this.#readStretch(task.leafIndex, from, to, after);
    }
    const id = after.id(this.#tools.hasher);
    if (base?.id.equals(id) === true || (base === undefined && after.isAllHoles())) return { readBytes, references: [] };
    // Copies of their own: a message takes along the whole memory that a view looks into.
    const leaf = after.isAllHoles() ? { id: new Uint8Array(id) } : { id: new Uint8Array(id), encoded: new Uint8Array(after.encode()) };
    return { readBytes, leaf, references: referenceChanges(before, after) };
  }

  async finish(): Promise<BackupWorkerEnd> {
    const packs = await this.#packs.finish();
    const sharedPacks = [...this.#shared].flatMap(([name, lengthBytes]) => (lengthBytes === undefined ? [] : [{ name, lengthBytes }]));
    this.#close();
    return { packs, sharedPacks };
  }

  /** Says which packs it had published. */
  async abort(): Promise<AbandonedPacks> {
    const packs = await this.#packs.abort();
    this.#close();
    return { packs };
  }

  #close(): void {
    this.#reader.close();
    for (const segment of this.#segments) segment.close();
    this.#tools.store.close();
  }

  /** Returns how many bytes of the disk were read. */
  async #readStretch(leafIndex: number, from: number, to: number, leaf: MapNode): Promise<number> {
    const offsetBytes = leafIndex * LEAF_BYTES + from * CHUNK_BYTES;
    const wantedBytes = (to - from) * CHUNK_BYTES;
    const readBytes = Math.min(wantedBytes, this.#reader.sizeBytes - offsetBytes);
    this.#reader.readSync(this.#buffer.subarray(0, readBytes), offsetBytes);
    // The end of a disk that ends inside a chunk.
    this.#buffer.fill(0, readBytes, wantedBytes);
    let firstNew = 0;
    let newCount = 0;
    for (let i = 0; i < to - from; i += 1) {
      const isKnown = await this.#isKnown(i, from + i, leaf);
      if (!isKnown && newCount === 0) firstNew = i;
      if (!isKnown) newCount += 1;
      if (newCount > 0 && (isKnown || newCount === FRAME_SLOTS_MAX)) {
        await this.#storeFrame(firstNew, newCount, from, leaf);
        newCount = 0;
      }
    }
    if (newCount > 0) await this.#storeFrame(firstNew, newCount, from, leaf);
    return readBytes;
  }

  /** Enters a chunk that need not be stored into the leaf. False: its id is noted, and it is new. */
  async #isKnown(position: number, index: number, leaf: MapNode): Promise<boolean> {
    const chunk = this.#buffer.subarray(position * CHUNK_BYTES, (position + 1) * CHUNK_BYTES);
    if (chunk.equals(zeroes)) {
      leaf.setHole(index);
      return true;
    }
    const at = position * ID_BYTES;
    this.#tools.hasher.write(chunk, this.#ids, at);
    if (leaf.hasId(index, this.#ids, at)) return true;
    const own = this.#recent.find(this.#ids, at);
    if (own !== undefined) {
      leaf.set(index, this.#ids, at, { ...own, pack: packNameOf(this.#context.session, own.sequence) }, own.slot);
      return true;
    }
    const place = await this.#findStored(at);
    if (place === undefined) return false;
    leaf.set(index, this.#ids, at, place, place.slot);
    return true;
  }

  async #findStored(at: number): Promise<ChunkPlace | undefined> {
    for (const segment of this.#segments) {
      const place = segment.find(this.#ids, at);
      if (place !== undefined && (await this.#isUsable(place))) return place;
    }
    return undefined;
  }

  /** The index may know packs that are gone: each is looked at once before anything refers to it. */
  async #isUsable(place: ChunkPlace): Promise<boolean> {
    if (!this.#shared.has(place.pack)) {
      const lengthBytes = await this.#tools.store.length(objectNames.pack(place.pack));
      this.#shared.set(place.pack, lengthBytes === place.packLengthBytes ? lengthBytes : undefined);
    }
    return this.#shared.get(place.pack) !== undefined;
  }

  async #storeFrame(first: number, count: number, from: number, leaf: MapNode): Promise<void> {
    await this.#packs.prepare();
    const ids = this.#ids.subarray(first * ID_BYTES, (first + count) * ID_BYTES);
    const address = this.#packs.addFrame(this.#buffer.subarray(first * CHUNK_BYTES, (first + count) * CHUNK_BYTES), ids);
    const { sequence } = parsePackName(address.pack);
    for (let slot = 0; slot < count; slot += 1) {
      leaf.set(from + first + slot, ids, slot * ID_BYTES, address, slot);
      this.#recent.add(ids, slot * ID_BYTES, { ...placeOf(address), sequence, slot });
    }
  }

  /** A pack that cannot be indexed is only not found by later sessions. */
  #indexPack(pack: PackWriter): void {
    const { indexFolder } = this.#context;
    if (indexFolder === undefined) return;
    try {
      writePackSegment(join(indexFolder, `${pack.name}.seg`), this.#tools.keys.idKey, pack, pack.entries);
    } catch {
      // The cache folder may be full or gone; the backup does not need it.
    }
  }
}

function placeOf({ frame, offsetBytes, lengthBytes }: FrameAddress) {
  return { frame, offsetBytes, lengthBytes };
}

function referenceChanges(before: MapNode, after: MapNode): (readonly [string, number])[] {
  const changes = new Map<string, number>();
  const add = (pack: string | undefined, change: number): void => {
    if (pack !== undefined) changes.set(pack, (changes.get(pack) ?? 0) + change);
  };
  for (let index = 0; index < FAN_OUT; index += 1) {
    const [old, now] = [before.packOf(index), after.packOf(index)];
    if (old === now) continue;
    add(old, -1);
    add(now, 1);
  }
  return [...changes].filter(([, change]) => change !== 0);
}
