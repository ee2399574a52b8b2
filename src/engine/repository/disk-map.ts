/**
 * The map of a disk: a Merkle tree of nodes, 128 entries wide. Leaves stand at level 0, the one top node at the lowest level that spans
 * the disk, at least 1. The root is the identity of a disk's content: it covers the top node, the size and the chunk size.
 */
import type { MaybePromise } from '../stores/contract.ts';
import { ByteWriter } from './binary.ts';
import type { IdHasher } from './chunk-id.ts';
import { isHoleId } from './chunk-id.ts';
import { RepositoryError } from './errors.ts';
import { CHUNK_BYTES, FAN_OUT, ID_BYTES, LEAF_BYTES, objectNames } from './format.ts';
import { MapNode } from './map-node.ts';
import type { FrameAddress } from './pack-format.ts';
import type { PackReader } from './pack-reader.ts';

/** A stored node, or a hole. */
export interface NodeReference {
  readonly id: Buffer;
  /** Undefined exactly for a hole. */
  readonly address: FrameAddress | undefined;
}

export interface DiskMap {
  readonly sizeBytes: number;
  readonly topLevel: number;
  readonly top: NodeReference;
}

export const holeReference: NodeReference = { id: Buffer.alloc(ID_BYTES), address: undefined };

export function leafCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / LEAF_BYTES);
}

/** The level of the top node of a disk of this size. */
export function topLevelOf(sizeBytes: number): number {
  let level = 1;
  while (spanOf(level) < sizeBytes) level += 1;
  return level;
}

/** How much of a disk a node of this level describes. */
export function spanOf(level: number): number {
  return LEAF_BYTES * FAN_OUT ** level;
}

/** The identity of a disk's content within its domain. */
export function rootOf(map: DiskMap, hasher: IdHasher): Buffer {
  const record = new ByteWriter()
    .bytes(Buffer.from('stillpoint root'))
    .u64(map.sizeBytes)
    .u32(CHUNK_BYTES)
    .u8(map.topLevel)
    .bytes(map.top.id);
  return hasher.idOf(record.build());
}

/** Reads nodes and checks that they are what their ids say. */
export class NodeReader {
  readonly #packs: PackReader;
  readonly #hasher: IdHasher;

  constructor(packs: PackReader, hasher: IdHasher) {
    this.#packs = packs;
    this.#hasher = hasher;
  }

  read(reference: NodeReference, level: number): MaybePromise<MapNode> {
    const { address } = reference;
    if (address === undefined) return new MapNode(level);
    const objectName = objectNames.pack(address.pack);
    const open = ({ plain }: { readonly plain: Buffer }): MapNode => {
      const node = MapNode.decode(plain, level, `a map node in ${objectName}`);
      if (!node.id(this.#hasher).equals(reference.id)) {
        throw new RepositoryError('corrupted', `a map node in ${objectName} is not the one that was referred to`, { objectName });
      }
      return node;
    };
    const frame = this.#packs.readFrame(address);
    return frame instanceof Promise ? frame.then(open) : open(frame);
  }
}

export function childOf(node: MapNode, index: number): NodeReference {
  return { id: Buffer.from(node.idOf(index)), address: node.addressOf(index) };
}

export function isHole(reference: NodeReference): boolean {
  return isHoleId(reference.id);
}
