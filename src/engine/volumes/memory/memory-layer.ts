/**
 * One layer in memory: a sparse map of blocks, and the ranges that it sets to zero. A block that is in the map holds data, whatever the
 * zeroes say; a block that is in neither shows what is below. Blocks are never written in place: whoever has one keeps what it got.
 *
 * Layers are looked at as chains, bottom first. A layer hides everything below it past its own end.
 */
import { ExtentSet } from '../../disk/extent-set.ts';
import type { Layer } from '../contract.ts';
import type { LayerName } from '../inventory-contract.ts';

export const blockBytes = 4096;
/** What a layer takes that holds nothing. */
export const emptyLayerBytes = 4096;

export interface MemoryLayer {
  readonly id: string;
  readonly home: string;
  readonly format: Layer['format'];
  sizeBytes: number;
  below: LayerName | undefined;
  readonly blocks: Map<number, Buffer>;
  /** In whole blocks; the last one may end with the layer. */
  zeroes: ExtentSet;
  /** Grows with each change. */
  version: number;
  readonly madeAt: Date;
  /** Somebody took it out of the trash to keep it. */
  isKept: boolean;
}

export type MemoryChain = readonly MemoryLayer[];

/** Where the bytes of blocks are counted. `take` throws when there is no space. */
export interface BlockAccount {
  take(bytes: number): void;
  give(bytes: number): void;
}

const zeroBlock = Buffer.alloc(blockBytes);

export const makeMemoryLayer = (layer: Layer, below: LayerName | undefined, madeAt: Date): MemoryLayer => ({
  ...layer,
  below,
  blocks: new Map(),
  zeroes: ExtentSet.empty,
  version: 0,
  madeAt,
  isKept: false,
});

export const allocatedBytesOf = (layer: MemoryLayer): number => emptyLayerBytes + layer.blocks.size * blockBytes;

/** The ranges that the layer holds data for. */
export function dataOf(layer: MemoryLayer): ExtentSet {
  const data = ExtentSet.builder();
  for (const index of layer.blocks.keys()) data.add(index * blockBytes, (index + 1) * blockBytes);
  return data.build().clamp(layer.sizeBytes);
}

export const changesOf = (layer: MemoryLayer): ExtentSet => dataOf(layer).union(layer.zeroes);

/** What a disk shows at a block; undefined: zeroes. `owned`: some layer has the block, be it as data or as zeroes. */
export function lookUp(chain: MemoryChain, index: number): { readonly block: Buffer | undefined; readonly owned: boolean } {
  const start = index * blockBytes;
  let shownBytes = blockBytes;
  for (let height = chain.length - 1; height >= 0; height -= 1) {
    const layer = chain[height] as MemoryLayer;
    shownBytes = Math.min(shownBytes, layer.sizeBytes - start);
    if (shownBytes <= 0) return { block: undefined, owned: true };
    const block = layer.blocks.get(index);
    if (block !== undefined) return { block: shownBytes < blockBytes ? padded(block.subarray(0, shownBytes)) : block, owned: true };
    if (layer.zeroes.overlaps(start, start + shownBytes)) return { block: undefined, owned: true };
  }
  return { block: undefined, owned: false };
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, zeroBlock.subarray(bytes.length)]);

/** The parts of [start, end) by block. */
export function* blocksOf(start: number, end: number): Generator<{ index: number; from: number; to: number }, void, undefined> {
  for (let index = Math.floor(start / blockBytes); index * blockBytes < end; index += 1) {
    yield { index, from: Math.max(start, index * blockBytes), to: Math.min(end, (index + 1) * blockBytes) };
  }
}

export function readChain(chain: MemoryChain, offsetBytes: number, target: Buffer): void {
  for (const { index, from, to } of blocksOf(offsetBytes, offsetBytes + target.length)) {
    const { block = zeroBlock } = lookUp(chain, index);
    block.copy(target, from - offsetBytes, from - index * blockBytes, to - index * blockBytes);
  }
}

/** Writes into the top. A block that is written in part takes the rest from what was seen there before. */
export function writeTop(chain: MemoryChain, offsetBytes: number, bytes: Buffer, account: BlockAccount): void {
  const top = chain.at(-1) as MemoryLayer;
  for (const { index, from, to } of blocksOf(offsetBytes, offsetBytes + bytes.length)) {
    const block = Buffer.from(to - from === blockBytes ? zeroBlock : (lookUp(chain, index).block ?? zeroBlock));
    bytes.copy(block, from - index * blockBytes, from - offsetBytes, to - offsetBytes);
    putBlock(top, index, block, account);
  }
}

/** A range of the top reads as zeroes afterwards, and the whole blocks in it take no space. */
export function zeroTop(chain: MemoryChain, offsetBytes: number, lengthBytes: number, account: BlockAccount): void {
  const top = chain.at(-1) as MemoryLayer;
  const end = offsetBytes + lengthBytes;
  const firstWhole = Math.ceil(offsetBytes / blockBytes) * blockBytes;
  const lastWhole = end === top.sizeBytes ? end : Math.floor(end / blockBytes) * blockBytes;
  if (firstWhole < lastWhole) setZero(top, firstWhole, lastWhole, account);
  const edges =
    firstWhole < lastWhole
      ? ([
          [offsetBytes, firstWhole],
          [lastWhole, end],
        ] as const)
      : ([[offsetBytes, end]] as const);
  for (const [from, to] of edges) if (from < to) writeTop(chain, from, Buffer.alloc(to - from), account);
}

/** The range ends with a block, or with the layer. */
export function setZero(layer: MemoryLayer, start: number, end: number, account: BlockAccount): void {
  for (const index of indexesIn(layer, start, end)) dropBlock(layer, index, account);
  layer.zeroes = layer.zeroes.union(ExtentSet.of([[start, end]]));
  layer.version += 1;
}

export function putBlock(layer: MemoryLayer, index: number, block: Buffer, account: BlockAccount): void {
  if (!layer.blocks.has(index)) account.take(blockBytes);
  layer.blocks.set(index, block);
  layer.version += 1;
}

/** Grows the top with zeroes, also where a lower layer is larger; or gives up its end. */
export function setSize(chain: MemoryChain, sizeBytes: number, account: BlockAccount): void {
  const top = chain.at(-1) as MemoryLayer;
  const before = top.sizeBytes;
  if (sizeBytes === before) return;
  if (sizeBytes > before) ownLastBlock(chain, account);
  top.sizeBytes = sizeBytes;
  top.version += 1;
  if (sizeBytes > before) setZero(top, Math.ceil(before / blockBytes) * blockBytes, sizeBytes, account);
  else cutOff(top, before, account);
}

/** Else more of what is below would show in it when the layer grows. */
function ownLastBlock(chain: MemoryChain, account: BlockAccount): void {
  const top = chain.at(-1) as MemoryLayer;
  const last = Math.floor(top.sizeBytes / blockBytes);
  if (top.sizeBytes % blockBytes === 0 || top.blocks.has(last)) return;
  putBlock(top, last, lookUp(chain, last).block ?? zeroBlock, account);
}

function cutOff(layer: MemoryLayer, endBefore: number, account: BlockAccount): void {
  const { sizeBytes } = layer;
  layer.zeroes = layer.zeroes.clamp(sizeBytes);
  for (const index of indexesIn(layer, Math.ceil(sizeBytes / blockBytes) * blockBytes, endBefore)) dropBlock(layer, index, account);
  const last = Math.floor(sizeBytes / blockBytes);
  const block = layer.blocks.get(last);
  if (block !== undefined) layer.blocks.set(last, padded(block.subarray(0, sizeBytes - last * blockBytes)));
}

function dropBlock(layer: MemoryLayer, index: number, account: BlockAccount): void {
  if (layer.blocks.delete(index)) account.give(blockBytes);
}

/** The blocks that the layer has in a range. */
function indexesIn(layer: MemoryLayer, start: number, end: number): number[] {
  const first = start / blockBytes;
  const count = Math.ceil(end / blockBytes) - first;
  if (count > layer.blocks.size) return [...layer.blocks.keys()].filter((index) => index >= first && index * blockBytes < end);
  return Array.from({ length: Math.max(0, count) }, (_, i) => first + i).filter((index) => layer.blocks.has(index));
}

/** Gives back what the layer's blocks take. Nobody looks at it any more. */
export function dropBlocks(layer: MemoryLayer, account: BlockAccount): void {
  account.give(layer.blocks.size * blockBytes);
  layer.blocks.clear();
}

export function dropLayer(layer: MemoryLayer, account: BlockAccount): void {
  dropBlocks(layer, account);
  account.give(emptyLayerBytes);
}
