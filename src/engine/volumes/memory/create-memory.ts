/**
 * Volumes in the memory of this process: the contract as a program that one can read in one go, and a backend for tests of what stands above.
 *
 * It keeps every word of the contract but durability across the process, and it is stricter than it must be where a caller's mistake could
 * pass unseen: it removes no layer that others stand on, and touches none that is open.
 *
 * Readers of disks are other processes with files. So `source` writes the disk into a raw file in the scratch folder, which stays until the layer on
 * top changes or goes; and what is written at a target is a file there, until its layer is removed.
 */
import type { Log } from '../../../lib/log.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import type { Layer, VolumeBackend } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { explainFullDisk } from '../full-disk.ts';
import { keyOf, type MemoryDisks, nameOf, needChain, needLayer, refuseIfOpen, standsOn } from './memory-disks.ts';
import { closeExport, inspectExport, mergeExport, needExport, openExport, snapshotExport } from './memory-exports.ts';
import { dropSource, prepareTarget, removeTarget, replaceLayer, sealTarget, sourceOf } from './memory-files.ts';
import { allocatedBytesOf, blockBytes, changesOf, dropLayer, emptyLayerBytes, makeMemoryLayer, setSize } from './memory-layer.ts';
import { mergeLayers } from './memory-merge.ts';
import { pauseWrites, resumeWrites } from './memory-pause.ts';

export interface MemoryBackendOptions {
  /** Instances over the same disks see the same layers and servers. */
  readonly disks: MemoryDisks;
  readonly log: Log;
}

export function createMemoryBackend({ disks, log }: MemoryBackendOptions): VolumeBackend {
  const requireSpace = (): void => disks.space.reserve(emptyLayerBytes).release();

  return explainFullDisk({
    async createLayer(layer, below) {
      requireSpace();
      const parent = below.length === 0 ? undefined : needChain(disks, below).at(-1);
      if (parent !== undefined && layer.format === 'raw') throw new VolumeBackendError('mismatch', 'a raw layer cannot stand on another');
      await replaceLayer(disks, layer, makeMemoryLayer(layer, parent && nameOf(parent), disks.clock.now()));
    },
    async prepareLayer(layer, below) {
      requireSpace();
      return await prepareTarget(disks, layer, below);
    },
    sealLayer: (layer, below, written) => sealTarget(disks, layer, below, written),
    async resizeTop(chain, sizeBytes) {
      const layers = needChain(disks, chain);
      refuseIfOpen(disks, layers.at(-1));
      if (sizeBytes < (chain.at(-1) as Layer).sizeBytes) throw new VolumeBackendError('mismatch', 'a disk is never made smaller');
      setSize(layers, sizeBytes, disks.space);
    },
    async changesOf(chain) {
      if (chain.length === 0) return ExtentSet.empty;
      const layers = needChain(disks, chain);
      const top = needLayer(disks, chain.at(-1) as Layer);
      // A smaller layer hides the ends of those below it: they read as zeroes now.
      const largestBytes = Math.max(...layers.map((layer) => layer.sizeBytes));
      return changesOf(top).union(ExtentSet.of([[top.sizeBytes, largestBytes]]));
    },
    source: (chain) => sourceOf(disks, chain),
    merge: (older, younger, child, options) => mergeLayers(disks, older, younger, child, options),
    async reserveMerge(older, younger) {
      needLayer(disks, older);
      const growth = disks.layers.get(keyOf(younger))?.blocks.size ?? 0;
      return disks.space.reserve(growth * blockBytes, { mayUseKept: true });
    },
    async removeLayer(layer) {
      const found = disks.layers.get(keyOf(layer));
      await removeTarget(disks, layer);
      if (found === undefined) return;
      refuseIfOpen(disks, found);
      if (disks.layers.values().some((other) => standsOn(other, layer))) {
        throw new VolumeBackendError('mismatch', `other layers stand on ${layer.id}`);
      }
      dropLayer(found, disks.space);
      disks.layers.delete(keyOf(layer));
      await dropSource(disks, found);
    },
    async allocatedBytes(layer) {
      const found = disks.layers.get(keyOf(layer));
      return found === undefined ? 0 : allocatedBytesOf(found);
    },
    freeBytes: async () => disks.space.availableBytes(),

    openExport: (id, chain, options) => openExport(disks, log, id, chain, options),
    snapshotExport: (target, chain, overlay) => snapshotExport(disks, target, chain, overlay),
    writeOut: async (target) => void needExport(disks, target),
    pauseWrites: async (targets, holdMs) => pauseWrites(disks, targets, holdMs),
    resumeWrites: async (target) => resumeWrites(disks, target),
    mergeExport: (target, chain, older, younger, options) => mergeExport(disks, target, chain, { older, younger }, options),
    inspectExport: async (target) => inspectExport(disks, target),
    closeExport: (target) => closeExport(disks, target),
  });
}
