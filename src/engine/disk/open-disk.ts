/**
 * Reads frozen disks directly from their files, without QEMU: several times faster than through an NBD socket, and parallel.
 *
 * When a disk is opened, the tables of all layers are merged into one extent map, so that a read is one lookup and as few `pread`
 * calls as there are pieces. Never open a layer that somebody still writes to: part of its tables is in that program's memory.
 */
import { totalmem } from 'node:os';
import type { DiskReader, DiskSource } from './contract.ts';
import { DiskFile } from './disk-file.ts';
import { ExtentMap, flatten, overlay, ZERO } from './extent-map.ts';
import { ExtentSet } from './extent-set.ts';
import { type LayerFile, loadLayer, type OpenLayer } from './load-layer.ts';
import { ReadBatch } from './read-batch.ts';
import { type ClusterFormat, unpackCluster } from './unpack-cluster.ts';

export interface OpenDiskOptions {
  /** How much of the disk will be read, about. Without it: all that is allocated. */
  readonly expectedBytes?: number;
  /** From so many expected bytes on, reads go past the page cache, so that one large backup does not push everything else out of it. */
  readonly directFromBytes?: number;
}

/** What reading one disk may take of the page cache. */
const cacheShareOfMemory = 1 / 4;

/** What is left of a layer when its tables have become part of the disk's map. */
interface DataFile {
  readonly file: DiskFile;
  readonly allocated: ExtentSet | undefined;
  readonly compression: ClusterFormat | undefined;
}

/** Opens all files and loads all tables. Throws `Qcow2Error` for files that cannot be read faithfully. */
export function openDisk(source: DiskSource, options: OpenDiskOptions = {}): DiskReader {
  const files: DataFile[] = [];
  const close = (): void => {
    for (const { file } of files.splice(0)) file.close();
  };
  try {
    const maps = source.layers.map((layer, index) => {
      const { fd, path, map, allocated, compression } = openLayer(layer, index);
      files.push({ file: new DiskFile(path, fd), allocated, compression });
      return map;
    });
    const map = flattenTo(source.sizeBytes, maps);
    const allocated = (): ExtentSet => allocatedOf(map, files);
    if ((options.expectedBytes ?? allocated().totalBytes) >= (options.directFromBytes ?? cacheableBytes())) {
      for (const { file } of files) file.goDirect();
    }
    return { sizeBytes: source.sizeBytes, allocated, readSync: createRead(map, files), close };
  } catch (error) {
    close();
    throw error;
  }
}

function openLayer(layer: LayerFile, file: number): OpenLayer {
  const loading = loadLayer(layer, file);
  for (;;) {
    const step = loading.next();
    if (step.done === true) return step.value;
  }
}

/** The memory of the machine, or of the control group that this process lives in. */
function cacheableBytes(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) * cacheShareOfMemory;
}

function flattenTo(sizeBytes: number, maps: readonly ExtentMap[]): ExtentMap {
  const flat = flatten(maps);
  return flat.limitBytes === sizeBytes ? flat : overlay(new ExtentMap(sizeBytes), flat);
}

function allocatedOf(map: ExtentMap, files: readonly DataFile[]): ExtentSet {
  const builder = ExtentSet.builder();
  const seenRaw = ExtentSet.builder();
  for (let i = 0; i < map.length; i += 1) {
    const file = files[map.file(i)];
    if (file === undefined) continue;
    if (file.allocated === undefined) builder.add(map.start(i), map.end(i));
    else seenRaw.add(map.start(i), map.end(i));
  }
  // Only the bottom can be raw, so that one set of notes is all there is.
  const noted = files.find((file) => file.allocated !== undefined)?.allocated;
  return noted === undefined ? builder.build() : builder.build().union(seenRaw.build().intersect(noted));
}

function createRead(map: ExtentMap, files: readonly DataFile[]): DiskReader['readSync'] {
  const unpacked = createUnpacker(map, files);
  // Readers go through a disk in ascending order: the next read mostly begins where the last one ended.
  let cursor = 0;
  const find = (offset: number): number => {
    if (cursor < map.length && map.end(cursor) > offset && (cursor === 0 || map.end(cursor - 1) <= offset)) return cursor;
    return map.firstEndingAfter(offset);
  };
  return (target, offsetBytes) => {
    const end = offsetBytes + target.length;
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || end > map.limitBytes) {
      throw new RangeError(`a read of [${offsetBytes}, ${end}) is outside the disk of ${map.limitBytes} bytes`);
    }
    const batch = new ReadBatch(target);
    let position = offsetBytes;
    let index = find(position);
    for (; position < end && index < map.length && map.start(index) < end; index += 1) {
      const from = Math.max(position, map.start(index));
      const to = Math.min(end, map.end(index));
      const at = from - offsetBytes;
      target.fill(0, position - offsetBytes, at);
      if (map.file(index) === ZERO) target.fill(0, at, to - offsetBytes);
      else if (map.packed(index) !== 0) target.set(unpacked(index, from, to), at);
      else batch.add((files[map.file(index)] as DataFile).file, map.host(index) + from - map.start(index), to - from, at);
      position = to;
    }
    target.fill(0, position - offsetBytes);
    batch.finish();
    cursor = Math.max(0, index - 1);
    if (cursor < map.length && map.end(cursor) <= end) cursor += 1;
  };
}

/** The bytes of a compressed extent from one place of the disk to another. */
function createUnpacker(map: ExtentMap, files: readonly DataFile[]): (index: number, from: number, to: number) => Uint8Array {
  // The cluster unpacked last: chunks may be smaller than clusters.
  let lastFile = -1;
  let lastHost = -1;
  let cluster: Buffer = Buffer.alloc(0);
  return (index, from, to) => {
    const { file, compression } = files[map.file(index)] as DataFile;
    const host = map.host(index);
    if (compression === undefined) throw new Error('a raw layer has no compressed clusters');
    if (map.file(index) !== lastFile || host !== lastHost) {
      const packed = Buffer.allocUnsafe(map.packed(index));
      file.readSync(packed, 0, packed.length, host);
      cluster = unpackCluster(packed, compression);
      [lastFile, lastHost] = [map.file(index), host];
    }
    const start = from % compression.clusterBytes;
    return cluster.subarray(start, start + to - from);
  };
}
