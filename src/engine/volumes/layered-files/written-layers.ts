/**
 * Layers that somebody else writes: where their files go, and what makes them part of the tree.
 *
 * A writer may be another process, which may have died or been ended half-way. So nothing is taken on trust: a raw file must not be longer than
 * its layer, and a qcow2 file must say of itself what the writer says of it. An unfinished one has no header and is not qcow2 at all.
 */
import { chmod, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { removeDurably, syncFolder } from '../../../lib/durable-files.ts';
import type { LayerTarget } from '../../disk/contract.ts';
import type { ExtentSet } from '../../disk/extent-set.ts';
import { layerChanges } from '../../disk/layer-content.ts';
import { Qcow2Error } from '../../disk/qcow2-header.ts';
import { extentsFileOf, writeExtentsFile } from '../../disk/raw-layer.ts';
import type { Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import type { LayerPaths } from './layer-paths.ts';
import { readHeader } from './read-header.ts';

/** The folder is there already. */
export async function prepareWrittenLayer(paths: LayerPaths, layer: Layer, below: LayerChain): Promise<LayerTarget> {
  const target = targetOf(paths, layer, below);
  // Notes of an earlier attempt say nothing about what is written next.
  if (layer.format === 'raw') await removeDurably(extentsFileOf(target.path));
  return target;
}

/** The bytes become durable before the notes, which without them would be wrong. */
export async function sealWrittenLayer(paths: LayerPaths, layer: Layer, below: LayerChain, written: ExtentSet): Promise<void> {
  const target = targetOf(paths, layer, below);
  await settleFile(target);
  await chmod(target.path, 0o600);
  if (target.format === 'qcow2') await checkQcow2(target, written);
  else await writeExtentsFile(target.path, written.clamp(layer.sizeBytes), 'sealed');
  await syncFolder(dirname(target.path));
}

function targetOf(paths: LayerPaths, layer: Layer, below: LayerChain): LayerTarget {
  const parent = below.at(-1);
  if (parent !== undefined && layer.format === 'raw') throw new VolumeBackendError('mismatch', 'a raw layer cannot stand on another');
  const backing = parent === undefined ? {} : { backing: { name: paths.backingNameOf(parent), format: parent.format } };
  return { ...paths.fileOf(layer), sizeBytes: layer.sizeBytes, ...backing };
}

async function settleFile({ path, format, sizeBytes }: LayerTarget): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const { size } = await handle.stat();
    if (format === 'raw') {
      if (size > sizeBytes) throw new VolumeBackendError('mismatch', `${path} has ${size} bytes, more than its ${sizeBytes}`);
      if (size < sizeBytes) await handle.truncate(sizeBytes);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function checkQcow2(target: LayerTarget, written: ExtentSet): Promise<void> {
  const { path, sizeBytes, backing } = target;
  try {
    const header = await readHeader(target);
    if (header.sizeBytes !== sizeBytes) throw new VolumeBackendError('mismatch', `${path} is a disk of ${header.sizeBytes} bytes`);
    const { name, format } = header.backingFile ?? {};
    if (name !== backing?.name || format !== backing?.format) throw new VolumeBackendError('mismatch', `${path} stands on ${name}`);
    if (!(await layerChanges(target)).equals(written)) {
      throw new VolumeBackendError('mismatch', `${path} does not hold what its writer says`);
    }
  } catch (error) {
    if (!(error instanceof Qcow2Error)) throw error;
    throw new VolumeBackendError('mismatch', `${path} is not a whole qcow2 file: ${error.message}`, { cause: error });
  }
}
