/** What memory backends really hold, and a trash. Nothing can happen half-way here: each change is one turn of this process. */

import { VolumeBackendError } from '../errors.ts';
import type { LayerInventory, LayerName, StoredLayer } from '../inventory-contract.ts';
import { keyOf, type MemoryDisks, type MemoryExport, nameOf, needLayer, refuseIfOpen, type TrashedLayer } from './memory-disks.ts';
import { closeExport } from './memory-exports.ts';
import { allocatedBytesOf, dropLayer, type MemoryLayer } from './memory-layer.ts';

const trashName = /^t-\d+$/;

export function createMemoryInventory(disks: MemoryDisks): LayerInventory {
  let lastTrashed = 0;
  const isWritten = (layer: MemoryLayer): boolean => disks.exports.values().some((open) => !open.readOnly && open.chain.at(-1) === layer);
  const needUnwritten = (name: LayerName): MemoryLayer => {
    const layer = needLayer(disks, name);
    if (isWritten(layer)) throw new VolumeBackendError('busy', `${keyOf(name)} is being written to`);
    return layer;
  };
  const stored = (layer: MemoryLayer): StoredLayer => ({
    ...nameOf(layer),
    allocatedBytes: allocatedBytesOf(layer),
    isShared: false,
    modifiedAt: layer.madeAt,
    content: { sizeBytes: layer.sizeBytes, below: layer.below ?? null },
    damage: undefined,
    openMark: isWritten(layer) ? 'live' : 'none',
    isKept: layer.isKept,
  });
  const trashed = (name: string): TrashedLayer | undefined => {
    if (!trashName.test(name)) throw new VolumeBackendError('missing-layer', `the trash has nothing called ${JSON.stringify(name)}`);
    return disks.trash.get(name);
  };

  return {
    async *listStored() {
      for (const layer of disks.layers.values()) yield { type: 'layer', ...stored(layer) };
    },
    async findStored(name) {
      const layer = disks.layers.get(keyOf(name));
      return layer && stored(layer);
    },
    placeOf: keyOf,
    async checkLayer(name) {
      needUnwritten(name);
      return { damage: undefined, leakedBytes: 0 };
    },
    async repairLayer(name) {
      needUnwritten(name);
    },
    async trashLayer(name, { reason, at }) {
      const layer = disks.layers.get(keyOf(name));
      if (layer === undefined) return false;
      refuseIfOpen(disks, layer);
      lastTrashed += 1;
      const item = { name: `t-${lastTrashed}`, layer: nameOf(layer), trashedAt: at, reason, allocatedBytes: allocatedBytesOf(layer) };
      disks.trash.set(item.name, { layer, item });
      disks.layers.delete(keyOf(name));
      return true;
    },
    trashStray: async () => false,
    listTrash: async () =>
      disks.trash
        .values()
        .map(({ item }) => item)
        .toArray(),
    async restoreFromTrash(name, { keep }) {
      const found = trashed(name);
      if (found === undefined) throw new VolumeBackendError('missing-layer', `the trash does not have ${name} any more`);
      const key = keyOf(found.layer);
      if (disks.layers.has(key)) throw new VolumeBackendError('mismatch', `${key} is there already`);
      found.layer.isKept = keep;
      disks.layers.set(key, found.layer);
      disks.trash.delete(name);
    },
    async deleteFromTrash(name) {
      const found = trashed(name);
      if (found === undefined) return;
      disks.trash.delete(name);
      dropLayer(found.layer, disks.space);
    },
    listExports: async () => disks.exports.values().map(describe).toArray(),
    exportNameOf: (exportId) => exportId,
    async endFoundExport(name) {
      const open = disks.exports.get(name);
      if (open !== undefined) await closeExport(disks, open.target);
    },
  };
}

const describe = ({ target, chain }: MemoryExport) => ({
  name: target.id,
  home: target.home,
  isAlive: true,
  description: `process ${target.processId} serves ${chain.map((layer) => layer.id).join(', ')}`,
});
