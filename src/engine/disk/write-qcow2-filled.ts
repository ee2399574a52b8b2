/**
 * Writes a qcow2 file with content, whose data other threads write.
 *
 * This writer decides where in the file each cluster of data goes, and keeps the tables; whoever has the bytes puts them there meanwhile. Calls
 * come in ascending order of the disk, so that one L2 table is in memory at a time: it is written when the next one begins. Every cluster of
 * the file is used exactly once, so every refcount is one, and nothing but a count has to be kept for them.
 *
 * Order: data and L2 tables → L1 table and refcounts → all of that durable → the header → durable. Until the header is there the file begins
 * with zeroes and is no qcow2 file, so that one that was never finished cannot be taken for a finished one.
 */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crashPoint } from '../../lib/crash-points.ts';
import { syncFolder } from '../../lib/durable-files.ts';
import type { ExtentSet } from './extent-set.ts';
import {
  checkQcow2Size,
  qcow2ClusterBytes as clusterBytes,
  guestBytesPerTable,
  l1EntryCountOf,
  l2EntryBytes,
  makeQcow2Header,
  type Qcow2Image,
  refcountIsOneBit,
} from './write-qcow2-format.ts';

const refcountBytes = 2;
const clustersPerRefcountBlock = clusterBytes / refcountBytes;
const blocksPerRefcountTableCluster = clusterBytes / 8;
/** Of an L2 table only the pages that say something are written; the others are holes. */
const pageBytes = 4096;
/** One bit for each of the 32 subclusters. */
const allSubclusters = 0xffffffff;

interface OpenTable {
  readonly index: number;
  readonly bytes: Buffer;
  firstEntry: number;
  lastEntry: number;
}

/** The most bytes that a file takes beside `dataBytes` of data when it describes `ranges` of the disk. */
export function qcow2TableBytesMax(sizeBytes: number, ranges: ExtentSet, dataBytes: number): number {
  const tables = ranges.alignTo(guestBytesPerTable).totalBytes / guestBytesPerTable;
  const dataClusters = dataBytes / clusterBytes;
  return (layoutOf(1 + dataClusters + tables, sizeBytes).total - dataClusters) * clusterBytes;
}

export class FilledQcow2 {
  readonly #path: string;
  readonly #image: Qcow2Image;
  readonly #file: FileHandle;
  readonly #l1: Buffer;
  /** The first cluster is the header's. */
  #clusterCount = 1;
  #table: OpenTable | undefined;
  #endBytes = 0;

  private constructor(path: string, image: Qcow2Image, file: FileHandle) {
    this.#path = path;
    this.#image = image;
    this.#file = file;
    this.#l1 = Buffer.alloc(l1EntryCountOf(image.sizeBytes) * 8);
  }

  /** Makes the file anew. */
  static async create(path: string, image: Qcow2Image): Promise<FilledQcow2> {
    checkQcow2Size(image.sizeBytes);
    makeQcow2Header(image, { l1OffsetBytes: 0, refcountTableOffsetBytes: 0, refcountTableClusters: 0 });
    await rm(path, { force: true });
    return new FilledQcow2(path, image, await open(path, 'wx+', 0o600));
  }

  /** Says where in the file the data of `clusters` clusters from `offsetBytes` of the disk goes, side by side and whole, also at the disk's end. */
  async addData(offsetBytes: number, clusters: number): Promise<number> {
    const hostBytes = this.#clusterCount * clusterBytes;
    this.#clusterCount += clusters;
    await this.#enter(offsetBytes, clusters, (entry, index) => {
      entry.writeBigUInt64BE(BigInt(hostBytes + index * clusterBytes) | refcountIsOneBit, 0);
      entry.writeUInt32BE(0, 8);
      entry.writeUInt32BE(allSubclusters, 12);
    });
    return hostBytes;
  }

  /** Makes clusters of the disk read as zeroes. They take no space. */
  async addZeroes(offsetBytes: number, clusters: number): Promise<void> {
    await this.#enter(offsetBytes, clusters, (entry) => {
      entry.writeBigUInt64BE(0n, 0);
      entry.writeUInt32BE(allSubclusters, 8);
      entry.writeUInt32BE(0, 12);
    });
  }

  /** Makes durable what was written so far, so that the end has less to wait for. */
  async flush(): Promise<void> {
    await this.#file.datasync();
  }

  /** All data has been written. Afterwards the file is whole and durable, and closed. */
  async finish(): Promise<void> {
    await this.#closeTable();
    const layout = layoutOf(this.#clusterCount, this.#image.sizeBytes);
    await this.#file.truncate(layout.total * clusterBytes);
    await this.#write(this.#l1, layout.l1 * clusterBytes);
    await this.#writeRefcounts(layout);
    await this.#file.datasync();
    crashPoint('qcow2:before-header');
    const tables = {
      l1OffsetBytes: layout.l1 * clusterBytes,
      refcountTableOffsetBytes: layout.refcountTable * clusterBytes,
      refcountTableClusters: layout.refcountTableClusters,
    };
    await this.#write(makeQcow2Header(this.#image, tables), 0);
    await this.#file.sync();
    await this.#file.close();
    await syncFolder(dirname(this.#path));
  }

  /** Gives the file up: it is closed and removed. */
  async discard(): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }

  async #enter(offsetBytes: number, clusters: number, fill: (entry: Buffer, index: number) => void): Promise<void> {
    const { sizeBytes } = this.#image;
    if (offsetBytes % clusterBytes !== 0 || offsetBytes < this.#endBytes || offsetBytes + (clusters - 1) * clusterBytes >= sizeBytes) {
      throw new RangeError(`${clusters} clusters at ${offsetBytes} do not lie behind ${this.#endBytes} in a disk of ${sizeBytes} bytes`);
    }
    this.#endBytes = offsetBytes + clusters * clusterBytes;
    for (let index = 0; index < clusters; index += 1) {
      const guestBytes = offsetBytes + index * clusterBytes;
      const table = await this.#tableOf(guestBytes);
      const entry = (guestBytes % guestBytesPerTable) / clusterBytes;
      fill(table.bytes.subarray(entry * l2EntryBytes, (entry + 1) * l2EntryBytes), index);
      table.lastEntry = entry;
    }
  }

  #tableOf(guestBytes: number): OpenTable | Promise<OpenTable> {
    const index = Math.floor(guestBytes / guestBytesPerTable);
    return this.#table?.index === index ? this.#table : this.#openTable(index, guestBytes);
  }

  async #openTable(index: number, guestBytes: number): Promise<OpenTable> {
    await this.#closeTable();
    const firstEntry = (guestBytes % guestBytesPerTable) / clusterBytes;
    this.#table = { index, bytes: Buffer.alloc(clusterBytes), firstEntry, lastEntry: firstEntry };
    return this.#table;
  }

  async #closeTable(): Promise<void> {
    if (this.#table === undefined) return;
    const { index, bytes, firstEntry, lastEntry } = this.#table;
    const hostBytes = this.#clusterCount * clusterBytes;
    this.#clusterCount += 1;
    this.#l1.writeBigUInt64BE(BigInt(hostBytes) | refcountIsOneBit, index * 8);
    const from = Math.floor((firstEntry * l2EntryBytes) / pageBytes) * pageBytes;
    const to = Math.ceil(((lastEntry + 1) * l2EntryBytes) / pageBytes) * pageBytes;
    await this.#write(bytes.subarray(from, to), hostBytes + from);
    this.#table = undefined;
  }

  async #writeRefcounts({ total, blocks, refcountBlocks, refcountTable }: Layout): Promise<void> {
    const counts = Buffer.alloc(clusterBytes);
    for (let at = 0; at < counts.length; at += refcountBytes) counts.writeUInt16BE(1, at);
    const table = Buffer.alloc(blocks * 8);
    for (let block = 0; block < blocks; block += 1) {
      const hostBytes = (refcountBlocks + block) * clusterBytes;
      table.writeBigUInt64BE(BigInt(hostBytes), block * 8);
      const used = Math.min(clustersPerRefcountBlock, total - block * clustersPerRefcountBlock);
      await this.#write(counts.subarray(0, used * refcountBytes), hostBytes);
    }
    await this.#write(table, refcountTable * clusterBytes);
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  }
}

/** Where the tables at the end of the file lie, all in clusters. */
interface Layout {
  readonly l1: number;
  readonly blocks: number;
  readonly refcountBlocks: number;
  readonly refcountTable: number;
  readonly refcountTableClusters: number;
  readonly total: number;
}

/** The refcounts count themselves, too: more blocks are taken until they cover all. */
function layoutOf(usedClusters: number, sizeBytes: number): Layout {
  const refcountBlocks = usedClusters + Math.ceil((l1EntryCountOf(sizeBytes) * 8) / clusterBytes);
  for (let blocks = 1; ; blocks += 1) {
    const refcountTableClusters = Math.ceil(blocks / blocksPerRefcountTableCluster);
    const refcountTable = refcountBlocks + blocks;
    const total = refcountTable + refcountTableClusters;
    if (total <= blocks * clustersPerRefcountBlock) {
      return { l1: usedClusters, blocks, refcountBlocks, refcountTable, refcountTableClusters, total };
    }
  }
}
