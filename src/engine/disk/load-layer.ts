/**
 * Opens one layer and loads where its bytes are.
 */
import { closeSync, openSync } from 'node:fs';
import type { DiskLayer } from './contract.ts';
import type { ExtentMap } from './extent-map.ts';
import type { ExtentSet } from './extent-set.ts';
import { loadQcow2 } from './qcow2-layer.ts';
import { loadRaw } from './raw-layer.ts';

export type LayerFile = Pick<DiskLayer, 'path' | 'format'>;

export interface OpenLayer {
  readonly fd: number;
  readonly path: string;
  readonly map: ExtentMap;
  /** Which of the mapped ranges may hold data; undefined: all that are not zero. */
  readonly allocated: ExtentSet | undefined;
  readonly compression: { readonly codec: 'zlib' | 'zstd'; readonly clusterBytes: number } | undefined;
}

/** In small steps: a fragmented layer takes tens of milliseconds. Whoever gets the result closes the file; a failure closes it here. */
export function* loadLayer(layer: LayerFile, file: number): Generator<void, OpenLayer, void> {
  const fd = openSync(layer.path, 'r');
  let isOpened = false;
  try {
    const opened = layer.format === 'raw' ? { compression: undefined, ...loadRaw(fd, layer.path, file) } : yield* loadTables(fd, file);
    isOpened = true;
    return { fd, path: layer.path, ...opened };
  } finally {
    if (!isOpened) closeSync(fd);
  }
}

function* loadTables(fd: number, file: number): Generator<void, Omit<OpenLayer, 'fd' | 'path'>, void> {
  const { header, map } = yield* loadQcow2(fd, file);
  return { map, allocated: undefined, compression: { codec: header.compression, clusterBytes: header.clusterBytes } };
}
