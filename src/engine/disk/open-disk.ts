/**
 * Reads frozen disks directly from their files, without QEMU: several times faster than through an NBD socket, and parallel.
 *
 * The tables of all layers are merged into one extent map, so that a read is one lookup and as few `pread` calls as there are
 * pieces. Never open a layer that somebody still writes to: part of its tables is in that program's memory.
 */
import { totalmem } from 'node:os';
import type { DiskReader, DiskSource } from './contract.ts';
import { DiskFile } from './disk-file.ts';
import { DiskMap } from './disk-map.ts';
import { type ExtentMap, ZERO } from './extent-map.ts';
import { ExtentSet } from './extent-set.ts';
import { type OpenLayer, openLayer } from './load-layer.ts';
import { ReadBatch } from './read-batch.ts';
import { unpackCluster } from './unpack-cluster.ts';

export interface OpenDiskOptions {
  /** How much will be read, about. Without it: all that the files hold. */
  readonly expectedBytes?: number;
  /** From so many expected bytes on, reads go past the page cache, so that one large backup does not push everything else out of it. */
  readonly directFromBytes?: number;
  /** How much of the disk is mapped together: less suits who reads here and there. See `DiskMap`. */
  readonly partBytes?: number;
}

/** What reading one disk may take of the page cache. */
const cacheShareOfMemory = 1 / 4;

interface DataFile extends OpenLayer {
  readonly file: DiskFile;
}

/** Opens all files. Throws `Qcow2Error` for those that cannot be read faithfully, here or when damage is come upon later. */
export function openDisk(source: DiskSource, options: OpenDiskOptions = {}): DiskReader {
  const files: DataFile[] = [];
  const close = (): void => {
    for (const { file } of files.splice(0)) file.close();
  };
  try {
    for (const layer of source.layers) {
      const opened = openLayer(layer);
      files.push({ ...opened, file: new DiskFile(opened.path, opened.fd) });
    }
    if (expectedBytes(files, options) >= (options.directFromBytes ?? cacheableBytes())) {
      for (const { file } of files) file.goDirect();
    }
  } catch (error) {
    close();
    throw error;
  }
  const map = new DiskMap([...files], source.sizeBytes, options.partBytes);
  return {
    sizeBytes: source.sizeBytes,
    allocated: (grainBytes = 1) => allocatedOf(map, files, grainBytes),
    readSync: createRead(map, files),
    close,
  };
}

function expectedBytes(files: readonly DataFile[], options: OpenDiskOptions): number {
  return options.expectedBytes ?? files.reduce((sum, { file }) => sum + file.allocatedBytes, 0);
}

/** The memory of the machine, or of the control group that this process lives in. */
function cacheableBytes(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) * cacheShareOfMemory;
}

function allocatedOf(map: DiskMap, files: readonly DataFile[], grainBytes: number): ExtentSet {
  const data = ExtentSet.builder();
  const zeroes = ExtentSet.builder();
  for (const part of map.parts()) {
    for (let i = 0; i < part.length; i += 1) {
      const [start, end] = [part.start(i) / grainBytes, part.end(i) / grainBytes];
      // What is allocated grows to whole grains, what is not shrinks.
      if (part.file(i) === ZERO) zeroes.add(Math.ceil(start) * grainBytes, Math.floor(end) * grainBytes);
      else if (files[part.file(i)]?.allocated === undefined) data.add(Math.floor(start) * grainBytes, Math.ceil(end) * grainBytes);
    }
  }
  return data.build().union(seenOfRaw(files, grainBytes).subtract(zeroes.build())).clamp(map.sizeBytes);
}

/** What was noted of a raw layer. Only the bottom can be one, and whatever is shorter above it hides its end. */
function seenOfRaw([bottom, ...above]: readonly DataFile[], grainBytes: number): ExtentSet {
  if (bottom?.allocated === undefined) return ExtentSet.empty;
  return bottom.allocated.clamp(Math.min(...above.map((file) => file.sizeBytes), bottom.sizeBytes)).alignTo(grainBytes);
}

function createRead(map: DiskMap, files: readonly DataFile[]): DiskReader['readSync'] {
  const unpacked = createUnpacker(files);
  /** Fills what lies from `start` to `end`, all within one part of the disk. */
  const readPart = (part: ExtentMap, target: Uint8Array, offsetBytes: number, start: number, end: number, batch: ReadBatch): void => {
    let position = start;
    for (let index = part.firstEndingAfter(position); index < part.length && part.start(index) < end; index += 1) {
      const from = Math.max(position, part.start(index));
      const to = Math.min(end, part.end(index));
      const at = from - offsetBytes;
      if (from > position) target.fill(0, position - offsetBytes, at);
      if (part.file(index) === ZERO) target.fill(0, at, to - offsetBytes);
      else if (part.packed(index) !== 0) target.set(unpacked(part, index, from, to), at);
      else batch.add((files[part.file(index)] as DataFile).file, part.host(index) + from - part.start(index), to - from, at);
      position = to;
    }
    target.fill(0, position - offsetBytes, end - offsetBytes);
  };
  return (target, offsetBytes) => {
    const end = offsetBytes + target.length;
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || end > map.sizeBytes) {
      throw new RangeError(`a read of [${offsetBytes}, ${end}) is outside the disk of ${map.sizeBytes} bytes`);
    }
    const batch = new ReadBatch(target);
    for (let position = offsetBytes; position < end; ) {
      const part = map.partAt(position);
      const partEnd = Math.min(end, part.limitBytes);
      readPart(part, target, offsetBytes, position, partEnd, batch);
      position = partEnd;
    }
    batch.finish();
  };
}

/** The bytes of a compressed extent from one place of the disk to another. */
function createUnpacker(files: readonly DataFile[]): (part: ExtentMap, index: number, from: number, to: number) => Uint8Array {
  // The cluster unpacked last: chunks may be smaller than clusters.
  let lastFile = -1;
  let lastHost = -1;
  let cluster: Buffer = Buffer.alloc(0);
  return (part, index, from, to) => {
    const { file, compression } = files[part.file(index)] as DataFile;
    const host = part.host(index);
    if (compression === undefined) throw new Error('a raw layer has no compressed clusters');
    if (part.file(index) !== lastFile || host !== lastHost) {
      const packed = Buffer.allocUnsafe(part.packed(index));
      file.readSync(packed, 0, packed.length, host);
      cluster = unpackCluster(packed, compression);
      [lastFile, lastHost] = [part.file(index), host];
    }
    const start = from % compression.clusterBytes;
    return cluster.subarray(start, start + to - from);
  };
}
