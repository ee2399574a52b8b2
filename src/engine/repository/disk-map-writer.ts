/**
 * Makes a new map from a base map and the leaves that changed, which come in ascending order.
 *
 * Only the nodes on the way from the top to a changed leaf are read, and written again when their content changed; everything else is
 * kept by reference. One node of each level is open at a time. A node is stored before the node that refers to it.
 *
 * A base of another size: when the disk grew, the old top becomes entry 0 of a new one; when it shrank, the entries beyond the new end
 * are dropped, and what they referred to is counted down, which has to walk them.
 */

import type { MaybePromise } from '../stores/contract.ts';
import type { IdHasher } from './chunk-id.ts';
import { childOf, type DiskMap, holeReference, isHole, leafCountOf, type NodeReader, type NodeReference, topLevelOf } from './disk-map.ts';
import { FAN_OUT } from './format.ts';
import { MapNode } from './map-node.ts';
import type { FrameAddress } from './pack-format.ts';
import type { ReferenceCounts } from './reference-counts.ts';

export interface DiskMapWriterParts {
  readonly base: DiskMap | undefined;
  readonly sizeBytes: number;
  readonly nodes: NodeReader;
  readonly hasher: IdHasher;
  readonly references: ReferenceCounts;
  /** Stores an encoded node. */
  readonly store: (encoded: Buffer, id: Buffer) => Promise<FrameAddress>;
}

interface OpenNode {
  readonly index: number;
  readonly before: NodeReference;
  readonly node: MapNode;
  changed: boolean;
}

export class DiskMapWriter {
  readonly #parts: DiskMapWriterParts;
  readonly #topLevel: number;
  readonly #lastLeaf: number;
  /** By level; 0 is never used. */
  readonly #open: (OpenNode | undefined)[] = [];
  /** Fetched ahead of what is being written, by level. */
  readonly #ahead: ({ readonly index: number; readonly node: MapNode } | undefined)[] = [];
  /** Nodes made for a disk that grew: they cannot be read from a pack that is still being written. By id, hex. */
  readonly #grown = new Map<string, MapNode>();
  #top: NodeReference = holeReference;
  #result: NodeReference | undefined;

  private constructor(parts: DiskMapWriterParts) {
    this.#parts = parts;
    this.#topLevel = topLevelOf(parts.sizeBytes);
    this.#lastLeaf = Math.max(0, leafCountOf(parts.sizeBytes) - 1);
  }

  static async begin(parts: DiskMapWriterParts): Promise<DiskMapWriter> {
    const writer = new DiskMapWriter(parts);
    await writer.#adoptBase();
    return writer;
  }

  /** What the base has at a leaf. May run ahead of `put`, in ascending order. */
  async baseLeaf(leafIndex: number): Promise<NodeReference> {
    if (this.#parts.base === undefined) return holeReference;
    const parent = await this.#baseNode(1, Math.floor(leafIndex / FAN_OUT));
    return childOf(parent, leafIndex % FAN_OUT);
  }

  /** Puts a new leaf into its place. `encoded` is absent for a hole. The caller has counted what the leaf's entries refer to. */
  async put(leafIndex: number, id: Buffer, encoded: Buffer | undefined): Promise<void> {
    const parent = await this.#openNode(1, Math.floor(leafIndex / FAN_OUT));
    await this.#replace(parent, leafIndex % FAN_OUT, id, encoded);
  }

  async finish(): Promise<DiskMap> {
    if (this.#hasShrunk()) await this.#openNode(1, Math.floor(this.#lastLeaf / FAN_OUT));
    for (let level = 1; level <= this.#topLevel; level += 1) await this.#close(level);
    return { sizeBytes: this.#parts.sizeBytes, topLevel: this.#topLevel, top: this.#result ?? this.#top };
  }

  async #adoptBase(): Promise<void> {
    const { base } = this.#parts;
    if (base === undefined) return;
    let top = base.top;
    let level = base.topLevel;
    for (; level > this.#topLevel && !isHole(top); level -= 1) {
      // The disk shrank below what the old top spans: only its first entry can stay.
      const node = await this.#read(top, level);
      for (let index = 1; index < FAN_OUT; index += 1) await this.#drop(childOf(node, index), level - 1);
      this.#count(top, -1);
      top = childOf(node, 0);
    }
    for (; level < this.#topLevel && !isHole(top); level += 1) {
      const node = new MapNode(level + 1);
      if (top.address !== undefined) node.set(0, top.id, 0, top.address, 0);
      const id = node.id(this.#parts.hasher);
      top = { id, address: await this.#parts.store(node.encode(), id) };
      this.#grown.set(id.toString('hex'), node);
      this.#count(top, 1);
    }
    this.#top = top;
  }

  #hasShrunk(): boolean {
    const { base, sizeBytes } = this.#parts;
    return base !== undefined && base.sizeBytes > sizeBytes && !isHole(this.#top);
  }

  #read(reference: NodeReference, level: number): MaybePromise<MapNode> {
    return this.#grown.get(reference.id.toString('hex')) ?? this.#parts.nodes.read(reference, level);
  }

  async #baseNode(level: number, index: number): Promise<MapNode> {
    const known = this.#ahead[level];
    if (known?.index === index) return known.node;
    const reference =
      level === this.#topLevel ? this.#top : childOf(await this.#baseNode(level + 1, Math.floor(index / FAN_OUT)), index % FAN_OUT);
    const node = await this.#read(reference, level);
    this.#ahead[level] = { index, node };
    return node;
  }

  async #openNode(level: number, index: number): Promise<OpenNode> {
    const known = this.#open[level];
    if (known?.index === index) return known;
    if (known !== undefined) await this.#close(level);
    let before = this.#top;
    if (level < this.#topLevel) {
      const parent = await this.#openNode(level + 1, Math.floor(index / FAN_OUT));
      before = childOf(parent.node, index % FAN_OUT);
    }
    const opened = { index, before, node: (await this.#read(before, level)).copy(), changed: false };
    this.#open[level] = opened;
    return opened;
  }

  async #close(level: number): Promise<void> {
    const open = this.#open[level];
    if (open === undefined) return;
    if (this.#hasShrunk()) await this.#dropBeyondEnd(open, level);
    this.#open[level] = undefined;
    if (!open.changed) return;
    const id = open.node.id(this.#parts.hasher);
    const encoded = open.node.isAllHoles() ? undefined : open.node.encode();
    if (level < this.#topLevel) {
      const parent = await this.#openNode(level + 1, Math.floor(open.index / FAN_OUT));
      await this.#replace(parent, open.index % FAN_OUT, id, encoded);
      return;
    }
    this.#count(open.before, -1);
    this.#result = encoded === undefined ? holeReference : { id, address: await this.#parts.store(encoded, id) };
    this.#count(this.#result, 1);
  }

  async #replace(parent: OpenNode, index: number, id: Buffer, encoded: Buffer | undefined): Promise<void> {
    if (parent.node.hasId(index, id)) return;
    this.#count(childOf(parent.node, index), -1);
    parent.changed = true;
    if (encoded === undefined) {
      parent.node.setHole(index);
      return;
    }
    const address = await this.#parts.store(encoded, id);
    parent.node.set(index, id, 0, address, 0);
    this.#parts.references.add(address.pack, 1);
  }

  /** The nodes on the way to the new last leaf may have entries beyond it. */
  async #dropBeyondEnd(open: OpenNode, level: number): Promise<void> {
    const last = Math.floor(this.#lastLeaf / FAN_OUT ** (level - 1));
    for (let index = 0; index < FAN_OUT; index += 1) {
      if (open.index * FAN_OUT + index <= last || open.node.isHole(index)) continue;
      await this.#drop(childOf(open.node, index), level - 1);
      open.node.setHole(index);
      open.changed = true;
    }
  }

  /** Counts a dropped node, and everything below it, down. */
  async #drop(reference: NodeReference, level: number): Promise<void> {
    if (isHole(reference)) return;
    this.#count(reference, -1);
    const node = await this.#read(reference, level);
    if (level === 0) {
      this.#parts.references.addEntries(node, -1);
      return;
    }
    for (let index = 0; index < FAN_OUT; index += 1) await this.#drop(childOf(node, index), level - 1);
  }

  #count(reference: NodeReference, references: number): void {
    if (reference.address !== undefined) this.#parts.references.add(reference.address.pack, references);
  }
}
