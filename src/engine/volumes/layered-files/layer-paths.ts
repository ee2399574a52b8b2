/**
 * Where layers lie: `<root>/<home>/<id>.<raw|qcow2>`, and beside each layer what is noted about it. Headers name the layer below
 * relative to the folder (`../<home>/<id>.<format>`), so that the tree may be moved, and operators can look at it with `qemu-img`.
 */
import { join, resolve } from 'node:path';
import type { Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';

/** A file of a disk, as far as opening it needs. */
export interface LayerFile {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}

export interface LayerPaths {
  homeOf(layer: Pick<Layer, 'home'>): string;
  fileOf(layer: Omit<Layer, 'sizeBytes'>): LayerFile;
  /** The files of those layers of a chain that lie in a home, bottom first. */
  filesIn(home: string, chain: LayerChain): LayerFile[];
  /** Exists while a program may have the layer open for writing. */
  markOf(file: LayerFile): string;
  backingNameOf(below: Layer): string;
  /** The file that a header in folder `home` names. Only names that this backend wrote itself are accepted. */
  resolveBackingName(fileWithHeader: LayerFile, name: string): LayerFile;
}

const safeName = /^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/;
const backingName = /^\.\.\/([0-9A-Za-z][0-9A-Za-z_-]{0,63})\/([0-9A-Za-z][0-9A-Za-z_-]{0,63})\.(raw|qcow2)$/;

export function createLayerPaths(root: string): LayerPaths {
  const homeOf = (layer: Pick<Layer, 'home'>): string => join(root, checked(layer.home));
  const fileOf = (layer: Omit<Layer, 'sizeBytes'>): LayerFile => ({
    path: join(homeOf(layer), `${checked(layer.id)}.${layer.format}`),
    format: layer.format,
  });
  return {
    homeOf,
    fileOf,
    filesIn: (home, chain) => chain.filter((layer) => layer.home === home).map(fileOf),
    markOf: (file) => `${file.path}.open`,
    backingNameOf: (below) => `../${checked(below.home)}/${checked(below.id)}.${below.format}`,
    resolveBackingName(fileWithHeader, name) {
      const [, home, id, format] = backingName.exec(name) ?? [];
      if (home === undefined || id === undefined) {
        throw new VolumeBackendError('mismatch', `${fileWithHeader.path} stands on ${JSON.stringify(name)}, which is no layer`);
      }
      return { path: resolve(root, home, `${id}.${format}`), format: format === 'raw' ? 'raw' : 'qcow2' };
    },
  };
}

/** Ids become names of files and arguments of programs. */
function checked(name: string): string {
  if (!safeName.test(name)) throw new VolumeBackendError('mismatch', `${JSON.stringify(name)} cannot name a layer or its home`);
  return name;
}
