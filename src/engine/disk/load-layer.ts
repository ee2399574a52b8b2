/**
 * One layer of a disk, opened: what it says about any part of the disk.
 */
import { closeSync, openSync } from 'node:fs';
import type { DiskLayer } from './contract.ts';
import { ExtentMap, ZERO } from './extent-map.ts';
import type { ExtentSet } from './extent-set.ts';
import { loadExtents, openQcow2, type Qcow2Tables } from './qcow2-layer.ts';
import { loadRaw } from './raw-layer.ts';
import type { ClusterFormat } from './unpack-cluster.ts';

export type LayerFile = Pick<DiskLayer, 'path' | 'format'>;

export interface OpenLayer {
  readonly path: string;
  /** Belongs to whoever opened the layer. */
  readonly fd: number;
  /** Where the layer ends, and with it everything below it: the virtual size, or the length of a raw file. */
  readonly sizeBytes: number;
  /** Which of the mapped ranges may hold data; undefined: all that are not zero. */
  readonly allocated: ExtentSet | undefined;
  readonly compression: ClusterFormat | undefined;
  /** Its cluster size: a power of two. Parts of the disk that are asked for begin at a multiple of it. */
  readonly grainBytes: number;
  /** The first place from `fromBytes` on that the layer may say something about; `sizeBytes` when there is none. */
  nextContent(fromBytes: number): number;
  /** What the layer says about [start, end), which is cut where the layer ends. Its data is found in file number `file`. */
  extents(startBytes: number, endBytes: number, file: number): ExtentMap;
}

/** So many grains are looked at together: with clusters of 64 KiB the fourth part of an L2 table, and at most 1 MiB of extents. */
export const grainsPerPart = 1024;
/** A raw file has none. */
const rawGrainBytes = 2 ** 16;

/** Throws `Qcow2Error` for a file that cannot be read faithfully, as far as its header and L1 table tell. */
export function openLayer(layer: LayerFile): OpenLayer {
  const fd = openSync(layer.path, 'r');
  try {
    const common = { path: layer.path, fd };
    return { ...common, ...(layer.format === 'raw' ? rawLayer(fd, layer.path) : qcow2Layer(fd, openQcow2(fd))) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** All that a layer says, part by part, ascending. Parts that it says nothing about are left out. */
export function* extentsOf(layer: OpenLayer): Generator<ExtentMap, void, void> {
  const partBytes = layer.grainBytes * grainsPerPart;
  let start = layer.nextContent(0);
  while (start < layer.sizeBytes) {
    const end = (Math.floor(start / partBytes) + 1) * partBytes;
    yield layer.extents(start, end, 0);
    start = layer.nextContent(end);
  }
}

/** How much of the disk the layer has data for, unpacked. Reads all its tables. */
export function dataBytesOf(layer: OpenLayer): number {
  let bytes = 0;
  for (const map of extentsOf(layer)) {
    for (let i = 0; i < map.length; i += 1) if (map.file(i) !== ZERO) bytes += map.end(i) - map.start(i);
  }
  return bytes;
}

type LayerTables = Omit<OpenLayer, 'path' | 'fd'>;

function rawLayer(fd: number, path: string): LayerTables {
  const { sizeBytes, allocated } = loadRaw(fd, path);
  return {
    sizeBytes,
    allocated,
    compression: undefined,
    grainBytes: rawGrainBytes,
    nextContent: (fromBytes) => Math.min(fromBytes, sizeBytes),
    // The map leads to the whole file, also where nothing was noted: a reader that asks there gets the truth.
    extents(startBytes, endBytes, file) {
      const map = emptyMap(startBytes, endBytes, sizeBytes);
      map.append(map.startBytes, map.limitBytes, file, map.startBytes);
      return map;
    },
  };
}

function qcow2Layer(fd: number, tables: Qcow2Tables): LayerTables {
  const { header, l2Offsets, bytesPerTable } = tables;
  const { sizeBytes, clusterBytes, compression } = header;
  return {
    sizeBytes,
    allocated: undefined,
    compression: { codec: compression, clusterBytes },
    grainBytes: clusterBytes,
    nextContent(fromBytes) {
      let index = Math.floor(fromBytes / bytesPerTable);
      if ((l2Offsets[index] ?? 0) !== 0) return Math.min(fromBytes, sizeBytes);
      while (index < l2Offsets.length && l2Offsets[index] === 0) index += 1;
      return Math.min(index * bytesPerTable, sizeBytes);
    },
    extents(startBytes, endBytes, file) {
      const map = emptyMap(startBytes, endBytes, sizeBytes);
      loadExtents(fd, tables, file, map);
      return map;
    },
  };
}

function emptyMap(startBytes: number, endBytes: number, sizeBytes: number): ExtentMap {
  return new ExtentMap(startBytes, Math.max(startBytes, Math.min(endBytes, sizeBytes)));
}
