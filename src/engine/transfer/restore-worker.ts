/**
 * A restore's part in a worker thread: the bytes of some leaves. Frames that lie side by side are read in one go; each chunk is checked
 * against its id after it was decoded, and only then written. Damage is collected with its exact ranges and does not stop the work; what
 * says nothing about the stored data (a store that does not answer, a full target) does.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { messageOf } from '../../lib/errors.ts';
import { isSameId } from '../repository/chunk-id.ts';
import { isDamage, RepositoryError } from '../repository/errors.ts';
import { CHUNK_BYTES, FAN_OUT, ID_BYTES, LEAF_BYTES, objectNames } from '../repository/format.ts';
import type { MapNode } from '../repository/map-node.ts';
import type { FrameAddress } from '../repository/pack-format.ts';
import type { OpenedFrame } from '../repository/pack-reader.ts';
import { isFullError } from '../stores/filesystem/system-errors.ts';
import { addChunks, emptyMask } from './chunk-mask.ts';
import { damageOf } from './damage.ts';
import { type DomainTools, openAccess } from './domain-access.ts';
import type { Damage, RestoreContext, RestoreLeafResult, RestoreLeafTask, RestoreTask } from './worker-protocol.ts';

/** The longest piece of a pack that is read at once. */
const STRETCH_BYTES_MAX = 2 * 1024 * 1024;

interface WantedChunk {
  /** In the leaf. */
  readonly index: number;
  /** In the frame. */
  readonly slot: number;
  /** In the file. */
  readonly atBytes: number;
}

interface WantedFrame {
  readonly address: FrameAddress;
  /** Chunks of the leaf that are made of this frame, with their slots in it; ascending. */
  readonly chunks: WantedChunk[];
}

interface LeafWork {
  readonly task: RestoreLeafTask;
  readonly node: MapNode;
  readonly written: Uint8Array;
  readonly damages: Damage[];
  writtenBytes: number;
}

export class RestoreWorker {
  readonly #context: RestoreContext;
  readonly #tools: DomainTools;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafeSlow(STRETCH_BYTES_MAX);

  constructor(context: RestoreContext) {
    this.#context = context;
    this.#tools = openAccess(context.access);
    this.#fd = openSync(context.targetPath, 'r+');
  }

  async run(task: RestoreTask): Promise<RestoreLeafResult[]> {
    const results: RestoreLeafResult[] = [];
    for (const leaf of task) results.push(await this.#restoreLeaf(leaf));
    return results;
  }

  async #restoreLeaf(task: RestoreLeafTask): Promise<RestoreLeafResult> {
    let node: MapNode;
    try {
      node = await this.#tools.nodes.read({ id: Buffer.from(task.leaf.id), address: task.leaf.address }, 0);
    } catch (error) {
      const damage = damageOf(error, task.leafIndex * LEAF_BYTES, LEAF_BYTES, this.#context.sizeBytes);
      return { written: emptyMask(), writtenBytes: 0, damages: [damage] };
    }
    const work: LeafWork = { task, node, written: emptyMask(), damages: [], writtenBytes: 0 };
    for (const stretch of stretchesOf(wantedFrames(node, task))) await this.#restoreStretch(work, stretch);
    return { written: work.written, writtenBytes: work.writtenBytes, damages: work.damages };
  }

  async finish(): Promise<void> {
    this.#close();
  }

  async abort(): Promise<void> {
    this.#close();
  }

  #close(): void {
    closeSync(this.#fd);
    this.#tools.store.close();
  }

  async #restoreStretch(work: LeafWork, frames: readonly WantedFrame[]): Promise<void> {
    const first = (frames[0] as WantedFrame).address;
    const last = (frames[frames.length - 1] as WantedFrame).address;
    const lengthBytes = last.offsetBytes + last.lengthBytes - first.offsetBytes;
    let bytes: Buffer | undefined;
    try {
      bytes = await this.#tools.packs.readStretch(first.pack, first.offsetBytes, this.#buffer.subarray(0, lengthBytes));
    } catch (error) {
      // A pack that is too short may still hold the first frames of the stretch.
      if (!isDamage(error)) throw error;
    }
    for (const frame of frames) {
      const at = frame.address.offsetBytes - first.offsetBytes;
      await this.#restoreFrame(work, frame, bytes?.subarray(at, at + frame.address.lengthBytes));
    }
  }

  async #restoreFrame(work: LeafWork, frame: WantedFrame, bytes: Buffer | undefined): Promise<void> {
    let opened: OpenedFrame;
    try {
      const { packs } = this.#tools;
      opened =
        bytes === undefined
          ? await packs.readFrame(frame.address)
          : packs.openFrame(frame.address, await packs.sealOf(frame.address.pack), bytes);
    } catch (error) {
      for (const { index } of frame.chunks) this.#damaged(work, error, index);
      return;
    }
    for (const run of runsOf(frame.chunks)) this.#restoreRun(work, frame.address, run, opened);
  }

  /** Chunks that are neighbours in the frame, on the disk, and in the file. */
  #restoreRun(work: LeafWork, address: FrameAddress, run: readonly WantedChunk[], { plain, ids }: OpenedFrame): void {
    for (const { index, slot } of run) {
      if (this.#isChunk(work.node, index, slot, plain, ids)) continue;
      const objectName = objectNames.pack(address.pack);
      this.#damaged(work, new RepositoryError('corrupted', `a chunk in ${objectName} is not what its id says`, { objectName }), index);
      return;
    }
    const first = run[0] as WantedChunk;
    const wholeBytes = run.length * CHUNK_BYTES;
    const lengthBytes = work.task.hostBytes === undefined ? Math.min(wholeBytes, this.#context.sizeBytes - first.atBytes) : wholeBytes;
    if (!work.task.checkOnly) this.#write(plain, first.slot * CHUNK_BYTES, lengthBytes, first.atBytes);
    addChunks(work.written, first.index, first.index + run.length);
    work.writtenBytes += lengthBytes;
  }

  #isChunk(node: MapNode, index: number, slot: number, plain: Buffer, ids: Buffer): boolean {
    if ((slot + 1) * CHUNK_BYTES > plain.length || (slot + 1) * ID_BYTES > ids.length) return false;
    const id = this.#tools.hasher.idOf(plain.subarray(slot * CHUNK_BYTES, (slot + 1) * CHUNK_BYTES));
    return isSameId(id, 0, ids, slot * ID_BYTES) && node.hasId(index, id);
  }

  #write(bytes: Buffer, from: number, lengthBytes: number, position: number): void {
    try {
      for (let done = 0; done < lengthBytes; ) done += writeSync(this.#fd, bytes, from + done, lengthBytes - done, position + done);
    } catch (error) {
      const kind = isFullError(error) ? 'full' : 'transport';
      throw new RepositoryError(kind, `${this.#context.targetPath} cannot be written: ${messageOf(error)}`, { cause: error });
    }
  }

  #damaged(work: LeafWork, error: unknown, index: number): void {
    const damage = damageOf(error, work.task.leafIndex * LEAF_BYTES + index * CHUNK_BYTES, CHUNK_BYTES, this.#context.sizeBytes);
    work.damages.push(damage);
  }
}

/** The frames of a leaf in the order of their packs, each once. */
function wantedFrames(node: MapNode, task: RestoreLeafTask): WantedFrame[] {
  const frames = new Map<string, WantedFrame>();
  for (let index = 0; index < FAN_OUT; index += 1) {
    const address = node.addressOf(index);
    if (address === undefined || placeOf(task, index) < 0) continue;
    const key = `${address.pack}/${address.frame}`;
    const frame = frames.get(key) ?? { address, chunks: [] };
    frames.set(key, frame);
    frame.chunks.push({ index, slot: node.slotOf(index), atBytes: placeOf(task, index) });
  }
  return [...frames.values()].sort((a, b) =>
    a.address.pack === b.address.pack ? a.address.offsetBytes - b.address.offsetBytes : a.address.pack < b.address.pack ? -1 : 1,
  );
}

/** Groups frames that lie directly one after the other. */
function* stretchesOf(frames: readonly WantedFrame[]): Generator<readonly WantedFrame[], void, undefined> {
  let stretch: WantedFrame[] = [];
  let lengthBytes = 0;
  for (const frame of frames) {
    const last = stretch.at(-1)?.address;
    const { pack, offsetBytes } = frame.address;
    const follows = last !== undefined && last.pack === pack && last.offsetBytes + last.lengthBytes === offsetBytes;
    if (last !== undefined && (!follows || lengthBytes + frame.address.lengthBytes > STRETCH_BYTES_MAX)) {
      yield stretch;
      stretch = [];
      lengthBytes = 0;
    }
    stretch.push(frame);
    lengthBytes += frame.address.lengthBytes;
  }
  if (stretch.length > 0) yield stretch;
}

function* runsOf(chunks: readonly WantedChunk[]): Generator<readonly WantedChunk[], void, undefined> {
  let run: WantedChunk[] = [];
  for (const chunk of chunks) {
    const last = run.at(-1);
    if (last !== undefined && !areNeighbours(last, chunk)) {
      yield run;
      run = [];
    }
    run.push(chunk);
  }
  if (run.length > 0) yield run;
}

function areNeighbours(one: WantedChunk, next: WantedChunk): boolean {
  return one.index + 1 === next.index && one.slot + 1 === next.slot && one.atBytes + CHUNK_BYTES === next.atBytes;
}

function placeOf({ leafIndex, hostBytes }: RestoreLeafTask, index: number): number {
  return hostBytes === undefined ? leafIndex * LEAF_BYTES + index * CHUNK_BYTES : (hostBytes[index] as number);
}
