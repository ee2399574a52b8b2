/**
 * Where disks in memory meet other processes: files in the scratch folder. A reader gets the whole disk as one raw file with notes; a writer
 * gets a name, and what it wrote is taken into memory.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DiskSource, LayerTarget } from '../../disk/contract.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { layerChanges, layerContent } from '../../disk/layer-content.ts';
import { openDisk } from '../../disk/open-disk.ts';
import { Qcow2Error } from '../../disk/qcow2-header.ts';
import { extentsFileOf } from '../../disk/raw-layer.ts';
import type { Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { readHeader } from '../layered-files/read-header.ts';
import { keyOf, type MemoryDisks, nameOf, needChain, refuseIfOpen, scratchFile } from './memory-disks.ts';
import {
  blockBytes,
  dropBlocks,
  dropLayer,
  emptyLayerBytes,
  lookUp,
  type MemoryChain,
  type MemoryLayer,
  makeMemoryLayer,
  readChain,
  writeTop,
  zeroTop,
} from './memory-layer.ts';

const partBytesMax = 2 ** 20;

/** The file stays until the layer on top changes or goes. */
export async function sourceOf(disks: MemoryDisks, layers: LayerChain): Promise<DiskSource> {
  const sizeBytes = layers.at(-1)?.sizeBytes ?? 0;
  if (layers.length === 0) return { layers: [], sizeBytes };
  const chain = needChain(disks, layers);
  const top = chain.at(-1) as MemoryLayer;
  const made = chain.map(({ home, id, version }) => `${home}/${id}@${version}`).join();
  const known = disks.sources.get(top);
  if (known?.made === made) return oneRaw(await known.path, sizeBytes);
  if (known !== undefined) await dropSource(disks, top);
  const name = `s-${createHash('sha256').update(made).digest('hex').slice(0, 32)}`;
  const path = writeRaw(scratchFile(disks, name), disks, chain);
  disks.sources.set(top, { made, path });
  try {
    return oneRaw(await path, sizeBytes);
  } catch (error) {
    disks.sources.delete(top);
    throw error;
  }
}

const oneRaw = (path: string, sizeBytes: number): DiskSource => ({ layers: [{ path, format: 'raw', sizeBytes }], sizeBytes });

export async function dropSource(disks: MemoryDisks, top: MemoryLayer): Promise<void> {
  const path = await disks.sources.get(top)?.path.catch(() => undefined);
  disks.sources.delete(top);
  if (path !== undefined) for (const name of [path, extentsFileOf(path)]) await rm(name, { force: true });
}

async function writeRaw(path: string, disks: MemoryDisks, chain: MemoryChain): Promise<string> {
  await mkdir(disks.scratchDir, { recursive: true, mode: 0o700 });
  const { sizeBytes } = chain.at(-1) as MemoryLayer;
  const data = shownData(chain).clamp(sizeBytes);
  const file = await open(path, 'w', 0o600);
  try {
    await file.truncate(sizeBytes);
    for (const [start, end] of partsOf(data)) {
      const part = Buffer.allocUnsafe(end - start);
      readChain(chain, start, part);
      await file.write(part, 0, part.length, start);
    }
  } finally {
    await file.close();
  }
  await writeFile(extentsFileOf(path), data.encode(), { mode: 0o600 });
  return path;
}

/** Where the disk shows data of any of its layers. */
function shownData(chain: MemoryChain): ExtentSet {
  const shown = ExtentSet.builder();
  for (const index of new Set(chain.flatMap((layer) => [...layer.blocks.keys()])))
    if (lookUp(chain, index).block !== undefined) shown.add(index * blockBytes, (index + 1) * blockBytes);
  return shown.build();
}

function* partsOf(ranges: ExtentSet): Generator<readonly [number, number], void, undefined> {
  for (const [start, end] of ranges.ranges())
    for (let at = start; at < end; at += partBytesMax) yield [at, Math.min(end, at + partBytesMax)];
}

export async function prepareTarget(disks: MemoryDisks, layer: Layer, below: LayerChain): Promise<LayerTarget> {
  const target = targetOf(disks, layer, below);
  if (below.length > 0) needChain(disks, below);
  await mkdir(dirname(target.path), { recursive: true, mode: 0o700 });
  return target;
}

function targetOf(disks: MemoryDisks, layer: Layer, below: LayerChain): LayerTarget {
  const parent = below.at(-1);
  if (parent !== undefined && layer.format === 'raw') throw new VolumeBackendError('mismatch', 'a raw layer cannot stand on another');
  const backing = parent === undefined ? {} : { backing: { name: `../${keyOf(parent)}`, format: parent.format } };
  return { path: join(disks.scratchDir, 'written', keyOf(layer)), format: layer.format, sizeBytes: layer.sizeBytes, ...backing };
}

/** The file stays beside the layer that was made of it, for a repeat. */
export async function sealTarget(disks: MemoryDisks, layer: Layer, below: LayerChain, written: ExtentSet): Promise<void> {
  const target = targetOf(disks, layer, below);
  const stats = await stat(target.path);
  if (target.format === 'raw' && stats.size > layer.sizeBytes)
    throw new VolumeBackendError('mismatch', `${target.path} has ${stats.size} bytes, more than its ${layer.sizeBytes}`);
  if (target.format === 'qcow2') await checkQcow2(target, written);
  const chain = below.length === 0 ? [] : needChain(disks, below);
  const parent = chain.at(-1);
  const made = makeMemoryLayer(layer, parent && nameOf(parent), disks.clock.now());
  try {
    await takeIn(disks, [...chain, made], target, target.format === 'raw' ? written.clamp(stats.size) : written);
    await replaceLayer(disks, layer, made);
  } catch (error) {
    dropBlocks(made, disks.space);
    throw error;
  }
}

async function checkQcow2(target: LayerTarget, written: ExtentSet): Promise<void> {
  try {
    const { sizeBytes, backingFile } = await readHeader(target);
    const isWanted = sizeBytes === target.sizeBytes && backingFile?.name === target.backing?.name;
    if (isWanted && (await layerChanges(target)).equals(written)) return;
  } catch (error) {
    if (!(error instanceof Qcow2Error)) throw error;
    throw new VolumeBackendError('mismatch', `${target.path} is not a whole qcow2 file: ${error.message}`, { cause: error });
  }
  throw new VolumeBackendError('mismatch', `${target.path} is not what its writer says`);
}

/** Zeroes of a qcow2 file stay zeroes; what a raw file holds where something was written is data. */
async function takeIn(disks: MemoryDisks, chain: MemoryChain, target: LayerTarget, written: ExtentSet): Promise<void> {
  const file = { path: target.path, format: target.format };
  const held = target.format === 'raw' ? { data: written, zeroes: ExtentSet.empty } : await layerContent(file);
  const disk = openDisk({ layers: [{ ...file, sizeBytes: target.sizeBytes }], sizeBytes: target.sizeBytes });
  try {
    for (const [start, end] of held.zeroes.clamp(target.sizeBytes).ranges()) zeroTop(chain, start, end - start, disks.space);
    for (const [start, end] of partsOf(held.data.clamp(target.sizeBytes))) {
      const part = Buffer.allocUnsafe(end - start);
      disk.readSync(part, start);
      writeTop(chain, start, part, disks.space);
    }
  } finally {
    disk.close();
  }
}

/** Whatever had the name before is gone. */
export async function replaceLayer(disks: MemoryDisks, layer: Layer, made: MemoryLayer): Promise<void> {
  const before = disks.layers.get(keyOf(layer));
  refuseIfOpen(disks, before);
  disks.space.take(emptyLayerBytes);
  disks.layers.set(keyOf(layer), made);
  if (before === undefined) return;
  dropLayer(before, disks.space);
  await dropSource(disks, before);
}

export async function removeTarget(disks: MemoryDisks, layer: Layer): Promise<void> {
  await rm(targetOf(disks, layer, []).path, { force: true });
}
