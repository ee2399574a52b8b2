/**
 * Folds a layer into the one below it. As long as `younger` is there, it hides whatever changes in `older`: so the fold may stop anywhere,
 * and may begin again. Only when all is there does the child stand on `older`.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CallOptions, Layer } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { keyOf, type MemoryDisks, nameOf, needLayer, refuseIfOpen, standsOn, storedChain } from './memory-disks.ts';
import { blockBytes, dataOf, type MemoryLayer, putBlock, setSize, setZero } from './memory-layer.ts';

/** Between two turns for others: 1 MiB. */
const blocksInATurn = 256;

export async function mergeLayers(
  disks: MemoryDisks,
  olderLayer: Layer,
  youngerLayer: Layer,
  childLayer: Layer | undefined,
  options: CallOptions,
): Promise<void> {
  options.signal.throwIfAborted();
  const older = needLayer(disks, olderLayer);
  const child = childLayer && needLayer(disks, childLayer);
  const younger = disks.layers.get(keyOf(youngerLayer));
  if (younger === undefined) {
    if (child !== undefined && !standsOn(child, older)) throw new VolumeBackendError('missing-layer', `${youngerLayer.id} does not exist`);
    return;
  }
  if (!standsOn(younger, older) || (child !== undefined && !standsOn(child, younger) && !standsOn(child, older))) {
    throw new VolumeBackendError('mismatch', 'the layers do not stand on each other');
  }
  refuseIfOpen(disks, older, younger, child);
  await fold(disks, older, younger, options);
  if (child !== undefined) child.below = nameOf(older);
}

/** Afterwards `older` alone shows what both showed. */
export async function fold(disks: MemoryDisks, older: MemoryLayer, younger: MemoryLayer, options: CallOptions): Promise<void> {
  setSize(storedChain(disks, older), younger.sizeBytes, disks.space);
  const totalBytes = younger.blocks.size * blockBytes;
  let doneBlocks = 0;
  for (const [index, block] of younger.blocks) {
    putBlock(older, index, block, disks.space);
    doneBlocks += 1;
    if (doneBlocks % blocksInATurn !== 0) continue;
    options.onProgress?.(doneBlocks * blockBytes, totalBytes);
    await nextTurn();
    options.signal.throwIfAborted();
  }
  // What was zeroed before it was written to is data.
  for (const [start, end] of younger.zeroes.subtract(dataOf(younger)).ranges()) setZero(older, start, end, disks.space);
  options.onProgress?.(totalBytes, totalBytes);
}
