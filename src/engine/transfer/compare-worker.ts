/**
 * The comparing part of a restore in a worker thread: which chunks of a disk are not what a map says. A chunk of the disk is read and hashed, and
 * its id compared with the map's; where the map has a hole, the disk must hold zeroes. What the disk does not hold at all is not read.
 *
 * A disk that cannot be read is no error here but an answer: whoever restores has another way then.
 */
import { messageOf } from '../../lib/errors.ts';
import type { DiskReader } from '../disk/contract.ts';
import { openDisk } from '../disk/open-disk.ts';
import { isDamage } from '../repository/errors.ts';
import { CHUNK_BYTES, FAN_OUT, ID_BYTES, LEAF_BYTES } from '../repository/format.ts';
import { MapNode } from '../repository/map-node.ts';
import { addChunks, type ChunkMask, emptyMask, hasChunk, stretchesOf } from './chunk-mask.ts';
import { damageOf } from './damage.ts';
import { type DomainTools, openAccess } from './domain-access.ts';
import type { CompareContext, CompareLeafResult, CompareLeafTask, CompareTask, NodePlace } from './worker-protocol.ts';

/** A read of 1 MiB stays in the cache of a core until it was hashed. */
const READ_CHUNKS = 16;
const zeroes = Buffer.alloc(CHUNK_BYTES);

/** Of one leaf: what was found so far. */
interface Found {
  readonly write: ChunkMask;
  readonly zero: ChunkMask;
  readBytes: number;
}

export class CompareWorker {
  readonly #tools: DomainTools;
  readonly #reader: DiskReader | undefined;
  readonly #openProblem: string = '';
  readonly #sizeBytes: number;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_CHUNKS * CHUNK_BYTES);
  readonly #id = Buffer.alloc(ID_BYTES);

  constructor(context: CompareContext) {
    this.#tools = openAccess(context.access);
    this.#sizeBytes = context.sizeBytes;
    try {
      this.#reader = openDisk(context.current, { expectedBytes: context.expectedBytes });
    } catch (error) {
      this.#openProblem = messageOf(error);
    }
  }

  async run(task: CompareTask): Promise<CompareLeafResult[]> {
    const results: CompareLeafResult[] = [];
    for (const leaf of task) results.push(await this.#compareLeaf(leaf));
    return results;
  }

  async finish(): Promise<void> {
    this.#close();
  }

  async abort(): Promise<void> {
    this.#close();
  }

  #close(): void {
    this.#reader?.close();
    this.#tools.store.close();
  }

  async #compareLeaf(task: CompareLeafTask): Promise<CompareLeafResult> {
    if (this.#reader === undefined) return { kind: 'unreadable', message: this.#openProblem };
    let wanted: MapNode;
    try {
      wanted = await this.#nodeAt(task.wanted);
    } catch (error) {
      return { kind: 'damaged', damage: damageOf(error, task.leafIndex * LEAF_BYTES, LEAF_BYTES, this.#sizeBytes) };
    }
    let chunks: ChunkMask;
    try {
      chunks = task.known === undefined ? task.changed : withDifferences(task.changed, wanted, await this.#nodeAt(task.known));
    } catch (error) {
      if (!isDamage(error)) throw error;
      return { kind: 'unknown', message: error.message };
    }
    return this.#compareChunks(this.#reader, task, wanted, chunks);
  }

  async #nodeAt(place: NodePlace | 'hole' | undefined): Promise<MapNode> {
    if (place === undefined || place === 'hole') return new MapNode(0);
    return await this.#tools.nodes.read({ id: Buffer.from(place.id), address: place.address }, 0);
  }

  #compareChunks(reader: DiskReader, task: CompareLeafTask, wanted: MapNode, chunks: ChunkMask): CompareLeafResult {
    const found: Found = { write: emptyMask(), zero: emptyMask(), readBytes: 0 };
    const held = emptyMask();
    for (let index = 0; index < FAN_OUT; index += 1) {
      if (!hasChunk(chunks, index)) continue;
      if (hasChunk(task.allocated, index)) addChunks(held, index, index + 1);
      else if (!wanted.isHole(index)) addChunks(found.write, index, index + 1);
    }
    try {
      for (const [from, to] of stretchesOf(held, READ_CHUNKS)) this.#compareStretch(reader, task.leafIndex, from, to, wanted, found);
    } catch (error) {
      return { kind: 'unreadable', message: messageOf(error) };
    }
    return { kind: 'compared', ...found };
  }

  #compareStretch(reader: DiskReader, leafIndex: number, from: number, to: number, wanted: MapNode, found: Found): void {
    const offsetBytes = leafIndex * LEAF_BYTES + from * CHUNK_BYTES;
    const wantedBytes = (to - from) * CHUNK_BYTES;
    const readBytes = Math.min(wantedBytes, reader.sizeBytes - offsetBytes);
    reader.readSync(this.#buffer.subarray(0, readBytes), offsetBytes);
    // The end of a disk that ends inside a chunk.
    this.#buffer.fill(0, readBytes, wantedBytes);
    found.readBytes += readBytes;
    for (let index = from; index < to; index += 1) {
      const chunk = this.#buffer.subarray((index - from) * CHUNK_BYTES, (index - from + 1) * CHUNK_BYTES);
      if (wanted.isHole(index)) {
        if (!chunk.equals(zeroes)) addChunks(found.zero, index, index + 1);
        continue;
      }
      this.#tools.hasher.write(chunk, this.#id, 0);
      if (!wanted.hasId(index, this.#id)) addChunks(found.write, index, index + 1);
    }
  }
}

function withDifferences(changed: ChunkMask, wanted: MapNode, known: MapNode): ChunkMask {
  const chunks = changed.slice();
  for (let index = 0; index < FAN_OUT; index += 1) {
    if (!wanted.hasId(index, known.ids, index * ID_BYTES)) addChunks(chunks, index, index + 1);
  }
  return chunks;
}
