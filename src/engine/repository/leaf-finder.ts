/**
 * Finds the leaves of a map. The last node of each level is kept, so that asking in ascending order reads each inner node once.
 *
 * A node that cannot be read is remembered with its error: all leaves below it fail alike, without reading it again.
 */
import { childOf, type DiskMap, holeReference, isHole, type NodeReader, type NodeReference, spanOf } from './disk-map.ts';
import { FAN_OUT } from './format.ts';
import type { MapNode } from './map-node.ts';

/** A part of the map that cannot be read, in bytes of the disk. */
export class UnreadableNode extends Error {
  readonly offsetBytes: number;
  readonly lengthBytes: number;

  constructor(cause: unknown, offsetBytes: number, lengthBytes: number) {
    super(`the map of ${lengthBytes} bytes at ${offsetBytes} cannot be read`, { cause });
    this.name = 'UnreadableNode';
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
  }
}

interface KeptNode {
  readonly index: number;
  readonly node: MapNode | UnreadableNode;
}

export class LeafFinder {
  readonly #nodes: Pick<NodeReader, 'read'>;
  readonly #map: DiskMap;
  /** By level; 0 is never used. */
  readonly #kept: (KeptNode | undefined)[] = [];

  constructor(nodes: Pick<NodeReader, 'read'>, map: DiskMap) {
    this.#nodes = nodes;
    this.#map = map;
  }

  /** A hole where the map has nothing, also beyond its end. Throws `UnreadableNode`. */
  async leafAt(leafIndex: number): Promise<NodeReference> {
    if (leafIndex >= FAN_OUT ** this.#map.topLevel) return holeReference;
    return await this.#reference(0, leafIndex);
  }

  /** The node above 128 leaves, of which the first is `group` × 128. Undefined for a hole. Throws `UnreadableNode`. */
  async groupAt(group: number): Promise<MapNode | undefined> {
    return group >= FAN_OUT ** (this.#map.topLevel - 1) ? undefined : await this.#node(1, group);
  }

  async #reference(level: number, index: number): Promise<NodeReference> {
    if (level === this.#map.topLevel) return this.#map.top;
    const parent = await this.#node(level + 1, Math.floor(index / FAN_OUT));
    return parent === undefined ? holeReference : childOf(parent, index % FAN_OUT);
  }

  /** Undefined for a hole. */
  async #node(level: number, index: number): Promise<MapNode | undefined> {
    const kept = this.#kept[level];
    if (kept?.index === index) return readable(kept.node);
    const reference = await this.#reference(level, index);
    if (isHole(reference)) return undefined;
    const node = await this.#read(reference, level, index);
    this.#kept[level] = { index, node };
    return readable(node);
  }

  async #read(reference: NodeReference, level: number, index: number): Promise<MapNode | UnreadableNode> {
    try {
      return await this.#nodes.read(reference, level);
    } catch (error) {
      return new UnreadableNode(error, index * spanOf(level), spanOf(level));
    }
  }
}

function readable(node: MapNode | UnreadableNode): MapNode {
  if (node instanceof UnreadableNode) throw node;
  return node;
}
