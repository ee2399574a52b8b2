/**
 * Where layers lie: `<root>/<home>/<id>.<raw|qcow2>`, and beside each layer what is noted about it. Headers name the layer below
 * relative to the folder (`../<home>/<id>.<format>`), so that the tree may be moved, and operators can look at it with `qemu-img`.
 */
import { join, resolve } from 'node:path';
import type { Layer } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';

/** A file of a disk, as far as opening it needs. */
export interface LayerFile {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}

export interface LayerPaths {
  homeOf(layer: Layer): string;
  fileOf(layer: Layer): LayerFile;
  /** Exists while a program may have the layer open for writing. */
  markOf(file: LayerFile): string;
  backingNameOf(below: Layer): string;
  /** The file that a header in folder `home` names. Only names that this backend wrote itself are accepted. */
  resolveBackingName(fileWithHeader: LayerFile, name: string): LayerFile;
}

const safeName = /^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/;
const backingName = /^\.\.\/([0-9A-Za-z][0-9A-Za-z_-]{0,63})\/([0-9A-Za-z][0-9A-Za-z_-]{0,63})\.(raw|qcow2)$/;

export function createLayerPaths(root: string): LayerPaths {
  const homeOf = (layer: Layer): string => join(root, checked(layer.home));
  return {
    homeOf,
    fileOf: (layer) => ({ path: join(homeOf(layer), `${checked(layer.id)}.${layer.format}`), format: layer.format }),
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
