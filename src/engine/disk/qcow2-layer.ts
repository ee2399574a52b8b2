/**
 * The tables of one qcow2 file, as extents.
 *
 * An L1 entry names an L2 table of one cluster; an L2 entry maps one cluster of the disk: nowhere (what lies below shows through), to
 * zeroes, to a cluster of the file, or to a compressed piece of it. With extended L2 entries each of the 32 subclusters of a cluster
 * has two bits of its own: "here" and "zero". The L1 table is read when the file is opened, L2 entries for the part of the disk that is
 * asked for. So time and memory follow what was written and what is looked at, not the size of the disk.
 *
 * Guests cannot write tables, but uploads can be anything: offsets, alignment, reserved bits and the end of the file are checked.
 */
import { fstatSync, readSync } from 'node:fs';
import { type ExtentMap, ZERO } from './extent-map.ts';
import { parseQcow2Header, Qcow2Error, type Qcow2Header, qcow2HeaderBytesWanted } from './qcow2-header.ts';

export interface Qcow2Tables {
  readonly header: Qcow2Header;
  readonly fileSizeBytes: number;
  /** Where the L2 tables lie, in the order of the disk; 0: there is none. */
  readonly l2Offsets: Float64Array;
  /** How much of the disk one L2 table is about. */
  readonly bytesPerTable: number;
}

const two32 = 2 ** 32;
const subclusterCount = 32;
const sectorBytes = 512;

/** Reads the header and the L1 table of an open file. Refuses what cannot be read faithfully. */
export function openQcow2(fd: number): Qcow2Tables {
  const fileSizeBytes = fstatSync(fd).size;
  const header = readQcow2Header(fd, fileSizeBytes);
  refuseUnreadable(header);
  const bytesPerTable = (header.clusterBytes / entryBytes(header)) * header.clusterBytes;
  const l1 = readWhole(fd, header.l1.offsetBytes, Math.ceil(header.sizeBytes / bytesPerTable) * 8);
  const l2Offsets = new Float64Array(l1.length / 8);
  for (let i = 0; i < l2Offsets.length; i += 1) l2Offsets[i] = l2TableOffset(l1, i, header, fileSizeBytes);
  refuseSharedTables(l2Offsets);
  return { header, fileSizeBytes, l2Offsets, bytesPerTable };
}

/** Otherwise a small file could make us load the same table millions of times. */
function refuseSharedTables(l2Offsets: Float64Array): void {
  const ordered = l2Offsets.filter((offset) => offset !== 0).sort();
  for (let i = 1; i < ordered.length; i += 1) if (ordered[i] === ordered[i - 1]) throw damaged('an L2 table is used twice');
}

/** Appends what the layer says about the map's part of the disk, which begins at a cluster. Data is found in file number `file`. */
export function loadExtents(fd: number, tables: Qcow2Tables, file: number, map: ExtentMap): void {
  const { header, fileSizeBytes, l2Offsets, bytesPerTable } = tables;
  const loader: Loader = { header, map, file, fileSizeBytes };
  const step = entryBytes(header);
  let buffer = Buffer.alloc(0);
  for (let index = Math.floor(map.startBytes / bytesPerTable); index * bytesPerTable < map.limitBytes; index += 1) {
    const offset = l2Offsets[index] ?? 0;
    if (offset === 0) continue;
    const tableStart = index * bytesPerTable;
    const from = Math.max(map.startBytes, tableStart);
    const first = Math.floor((from - tableStart) / header.clusterBytes);
    const end = Math.ceil((Math.min(map.limitBytes, tableStart + bytesPerTable) - tableStart) / header.clusterBytes);
    if (buffer.length < (end - first) * step) buffer = Buffer.allocUnsafe((end - first) * step);
    const entries = buffer.subarray(0, (end - first) * step);
    readInto(fd, entries, offset + first * step);
    loadEntries(loader, entries, tableStart + first * header.clusterBytes);
  }
}

export function readQcow2Header(fd: number, fileSizeBytes = fstatSync(fd).size): Qcow2Header {
  return parseQcow2Header(readWhole(fd, 0, Math.min(fileSizeBytes, qcow2HeaderBytesWanted)), fileSizeBytes);
}

function refuseUnreadable(header: Qcow2Header): void {
  if (header.encrypted) throw unsupported('the qcow2 file is encrypted');
  if (header.hasExternalDataFile) throw unsupported('the qcow2 file keeps its data in another file');
  if (header.unknownFeatures.length > 0)
    throw unsupported(`the qcow2 file needs the unknown features ${header.unknownFeatures.join(', ')}`);
  // QEMU cuts the last bytes off, and never makes such files.
  if (header.sizeBytes % sectorBytes !== 0) throw unsupported(`a disk of ${header.sizeBytes} bytes ends inside a sector`);
  if (header.isMarkedCorrupt) throw damaged('the qcow2 file is marked as corrupt');
  // The tables of the present are as good as any, but nothing that we make has snapshots inside: the file is not ours.
  if (header.snapshotCount > 0) throw unsupported('the qcow2 file has internal snapshots');
  // Lazy refcounts leave this bit after a crash. Reading would be safe, but we never ask for them: the file is not ours, or still open.
  if (header.isDirty) throw unsupported('the qcow2 file was not closed cleanly');
}

interface Loader {
  readonly header: Qcow2Header;
  readonly map: ExtentMap;
  readonly file: number;
  readonly fileSizeBytes: number;
}

const entryBytes = (header: Qcow2Header): 8 | 16 => (header.hasExtendedL2 ? 16 : 8);

function l2TableOffset(l1: Buffer, index: number, header: Qcow2Header, fileSizeBytes: number): number {
  const high = l1.readUInt32BE(index * 8);
  const low = l1.readUInt32BE(index * 8 + 4);
  if ((high & 0x7f000000) !== 0 || (low & 0x1ff) !== 0) throw damaged('an L1 entry has reserved bits set');
  const offset = (high & 0x00ffffff) * two32 + low;
  if (offset % header.clusterBytes !== 0) throw damaged('an L2 table is not aligned');
  if (offset !== 0 && offset + header.clusterBytes > fileSizeBytes)
    throw new Qcow2Error('truncated', 'the file ends before or inside an L2 table');
  return offset;
}

function loadEntries(loader: Loader, entries: Buffer, firstGuest: number): void {
  const { header } = loader;
  const step = entryBytes(header);
  const table = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let at = 0, guest = firstGuest; at < entries.length; at += step, guest += header.clusterBytes) {
    const high = table.getUint32(at);
    const low = table.getUint32(at + 4);
    const zeroes = step === 16 ? table.getUint32(at + 8) : 0;
    const here = step === 16 ? table.getUint32(at + 12) : 0;
    if ((high | low | zeroes | here) === 0) continue;
    if ((high & 0x40000000) !== 0) loadCompressed(loader, guest, high, low, (zeroes | here) !== 0);
    else if (step === 8) loadCluster(loader, guest, high, low);
    else loadSubclusters(loader, guest, { host: hostOffset(loader, high, low), flags: low, zeroes, here });
  }
}

function loadCluster(loader: Loader, guest: number, high: number, low: number): void {
  const { map, file, header } = loader;
  const end = guest + header.clusterBytes;
  const host = hostOffset(loader, high, low);
  if ((low & 1) !== 0) {
    if (header.version === 2) throw damaged('a zero cluster in a version 2 file');
    map.append(guest, end, ZERO, 0);
  } else if (host !== 0) {
    checkInFile(loader, guest, end, host);
    map.append(guest, end, file, host);
  }
}

interface SubclusterEntry {
  readonly host: number;
  readonly flags: number;
  /** Bit n: subcluster n is zero. */
  readonly zeroes: number;
  /** Bit n: the bytes of subcluster n are at its place in the cluster of the file. */
  readonly here: number;
}

function loadSubclusters(loader: Loader, guest: number, { host, flags, zeroes, here }: SubclusterEntry): void {
  const { map, file, header } = loader;
  if ((flags & 1) !== 0) throw damaged('an extended L2 entry has the zero flag of a plain one');
  if ((zeroes & here) !== 0) throw damaged('a subcluster is both data and zero');
  if (here !== 0 && host === 0) throw damaged('a subcluster has data nowhere');
  const stepBytes = header.clusterBytes / subclusterCount;
  // Stretch by stretch, because most clusters are of one kind throughout.
  for (let first = 0; first < subclusterCount; ) {
    const isHere = (here >>> first) & 1;
    const isZero = (zeroes >>> first) & 1;
    const end = Math.min(endOfStretch(here, first), endOfStretch(zeroes, first));
    const from = guest + first * stepBytes;
    const to = guest + end * stepBytes;
    if (isHere !== 0) {
      checkInFile(loader, from, to, host + first * stepBytes);
      map.append(from, to, file, host + first * stepBytes);
    } else if (isZero !== 0) {
      map.append(from, to, ZERO, 0);
    }
    first = end;
  }
}

/** The first bit after `first` that differs from it. */
function endOfStretch(bits: number, first: number): number {
  const rest = bits >> first;
  const differing = (rest & 1) === 0 ? rest : ~rest;
  // The lowest bit that is set. The sign is copied when shifting, so that nothing differs beyond the last subcluster.
  return differing === 0 ? subclusterCount : first + 31 - Math.clz32(differing & -differing);
}

/** The low bits are the file offset, the bits above it the number of further 512-byte sectors; how many are which depends on the cluster size. */
function loadCompressed(loader: Loader, guest: number, high: number, low: number, hasSubclusters: boolean): void {
  const { map, file, header, fileSizeBytes } = loader;
  if (high >>> 31 !== 0) throw damaged('a compressed cluster is marked as not shared');
  if (hasSubclusters) throw damaged('a compressed cluster has subclusters');
  const sectorBits = header.clusterBits - 8;
  const offsetHighBits = 62 - sectorBits - 32;
  const host = (high & (2 ** offsetHighBits - 1)) * two32 + low;
  const sectors = ((high & 0x3fffffff) >>> offsetHighBits) + 1;
  if (!Number.isSafeInteger(host) || host >= fileSizeBytes) throw new Qcow2Error('truncated', 'the file ends before a compressed cluster');
  // The last sector need not be there in full: the compressed data may end before it.
  const packed = Math.min(sectors * sectorBytes - (host % sectorBytes), fileSizeBytes - host);
  map.append(guest, guest + header.clusterBytes, file, host, packed);
}

function hostOffset({ header }: Loader, high: number, low: number): number {
  if ((high & 0x3f000000) !== 0 || (low & 0x1fe) !== 0) throw damaged('an L2 entry has reserved bits set');
  const offset = (high & 0x00ffffff) * two32 + ((low & 0xfffffe00) >>> 0);
  if (offset % header.clusterBytes !== 0) throw damaged('a data cluster is not aligned');
  return offset;
}

function checkInFile({ header, fileSizeBytes }: Loader, guestStart: number, guestEnd: number, host: number): void {
  const usedBytes = Math.min(guestEnd, header.sizeBytes) - guestStart;
  if (host + usedBytes > fileSizeBytes) throw new Qcow2Error('truncated', 'the file ends before or inside a data cluster');
}

function readWhole(fd: number, offset: number, lengthBytes: number): Buffer {
  const target = Buffer.allocUnsafe(lengthBytes);
  readInto(fd, target, offset);
  return target;
}

function readInto(fd: number, target: Buffer, offset: number): void {
  for (let done = 0; done < target.length; ) {
    const read = readSync(fd, target, done, target.length - done, offset + done);
    if (read === 0) throw new Qcow2Error('truncated', 'the file became shorter while it was read');
    done += read;
  }
}

function damaged(reason: string): Qcow2Error {
  return new Qcow2Error('damaged', reason);
}

function unsupported(reason: string): Qcow2Error {
  return new Qcow2Error('unsupported', reason);
}
