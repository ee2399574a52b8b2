/** VHDX without a parent. Its metadata is a table of items named by GUIDs; every one that has to be understood is. */
import {
  type DiskFacts,
  eachEntry,
  type ImageReader,
  ImageRefusal,
  isPowerOfTwo,
  number64,
  refuseLarger,
  refuseUnless,
} from './image-reader.ts';

const kib = 1024;
const mib = 1024 * kib;
const headersAt = [64 * kib, 128 * kib] as const;
const regionTableAt = 192 * kib;
const regionTableBytes = 64 * kib;
const regionCountMax = 2047;
const metadataCountMax = 2047;
const metadataTableBytes = 64 * kib;
const blockBytesMax = 256 * mib;
/** Payload blocks of one sector bitmap, times the block size, over the sector size. */
const chunkSectors = 2 ** 23;
const state = { fullyPresent: 6, partiallyPresent: 7 } as const;

const region = { blocks: '2dc27766-f623-4200-9d64-115e9bfd4a08', metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e' } as const;
const item = {
  parameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  diskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  sectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSectorSize: 'cda348c7-445d-4471-9cc9-e9885251c556',
  diskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
} as const;
const knownItems: ReadonlySet<string> = new Set(Object.values(item));
const isRequired = 4;

interface Range {
  readonly offset: number;
  readonly lengthBytes: number;
}

export function inspectVhdx(file: ImageReader, virtualBytesMax: number): DiskFacts {
  refuseUnless(file.read(0, 8).toString('latin1') === 'vhdxfile', 'it is no vhdx file');
  refuseUnfinishedLog(file);
  const regions = readRegions(file);
  const items = readItems(file, found(regions, region.metadata));
  const parameters = file.read(found(items, item.parameters).offset, 8);
  const blockBytes = parameters.readUInt32LE(0);
  refuseUnless((parameters.readUInt32LE(4) & 2) === 0, 'the vhdx file has a parent');
  refuseUnless(isPowerOfTwo(blockBytes) && blockBytes >= mib && blockBytes <= blockBytesMax, 'its block size is not allowed');
  const virtualBytes = number64(file.read(found(items, item.diskSize).offset, 8), 0, 'little');
  refuseLarger(virtualBytes, virtualBytesMax);
  const sectorBytes = file.read(found(items, item.sectorSize).offset, 4).readUInt32LE(0);
  refuseUnless(sectorBytes === 512 || sectorBytes === 4096, 'its sector size is not allowed');
  const blocks = countBlocks(file, found(regions, region.blocks), {
    blockCount: Math.ceil(virtualBytes / blockBytes),
    blocksPerBitmap: (chunkSectors * sectorBytes) / blockBytes,
  });
  return { virtualBytes, dataBytesMax: Math.min(virtualBytes, blocks * blockBytes) };
}

/** Of the two headers the one with the higher number counts. A log that was not played back may change everything that is read here. */
function refuseUnfinishedLog(file: ImageReader): void {
  const headers = headersAt.map((at) => file.read(at, 4 * kib)).filter((bytes) => bytes.toString('latin1', 0, 4) === 'head');
  const [newest] = headers.sort((a, b) => (a.readBigUInt64LE(8) < b.readBigUInt64LE(8) ? 1 : -1));
  refuseUnless(newest !== undefined, 'its headers are missing');
  refuseUnless(
    newest.subarray(48, 64).every((byte) => byte === 0),
    'the vhdx file was not closed: its log has to be played back first',
  );
}

function readRegions(file: ImageReader): Map<string, Range> {
  const table = file.read(regionTableAt, regionTableBytes);
  const count = table.readUInt32LE(8);
  refuseUnless(table.toString('latin1', 0, 4) === 'regi' && count <= regionCountMax, 'its region table is damaged');
  const regions = new Map<string, Range>();
  for (let at = 16; at < 16 + count * 32; at += 32) {
    const name = guid(table, at);
    refuseUnless(name === region.blocks || name === region.metadata || (table.readUInt32LE(at + 28) & 1) === 0, 'it has an unknown region');
    refuseUnless(!regions.has(name), 'its region table contradicts itself');
    regions.set(name, { offset: number64(table, at + 16, 'little'), lengthBytes: table.readUInt32LE(at + 24) });
  }
  return regions;
}

function readItems(file: ImageReader, metadata: Range): Map<string, Range> {
  const table = file.read(metadata.offset, metadataTableBytes);
  const count = table.readUInt16LE(10);
  refuseUnless(table.toString('latin1', 0, 8) === 'metadata' && count <= metadataCountMax, 'its metadata table is damaged');
  const items = new Map<string, Range>();
  for (let at = 32; at < 32 + count * 32; at += 32) {
    const name = guid(table, at);
    refuseUnless(
      knownItems.has(name) || (table.readUInt32LE(at + 24) & isRequired) === 0,
      'it has metadata that is not understood, or a parent',
    );
    refuseUnless(!items.has(name), 'its metadata table contradicts itself');
    items.set(name, { offset: metadata.offset + table.readUInt32LE(at + 16), lengthBytes: table.readUInt32LE(at + 20) });
  }
  return items;
}

/** After so many entries of blocks comes one of a bitmap that only differencing disks use. */
function countBlocks(file: ImageReader, table: Range, plan: { blockCount: number; blocksPerBitmap: number }): number {
  const { blockCount, blocksPerBitmap } = plan;
  const entryCount = blockCount + Math.floor((blockCount - 1) / blocksPerBitmap);
  if (blockCount === 0) return 0;
  refuseUnless(entryCount * 8 <= table.lengthBytes, 'its block table is too small for the disk');
  let blocks = 0;
  eachEntry(file, { offset: table.offset, entryCount, entryBytes: 8 }, (bytes, at, index) => {
    if ((index + 1) % (blocksPerBitmap + 1) === 0) return;
    const entry = bytes.readBigUInt64LE(at);
    const found = Number(entry & 7n);
    refuseUnless(found !== state.partiallyPresent, 'the vhdx file has a parent');
    if (found !== state.fullyPresent) return;
    refuseUnless(Number(entry >> 20n) * mib < file.sizeBytes, 'a block lies behind the end of the file');
    blocks += 1;
  });
  return blocks;
}

function found(ranges: Map<string, Range>, name: string): Range {
  const range = ranges.get(name);
  if (range === undefined) throw new ImageRefusal('its metadata is incomplete');
  return range;
}

/** The first three groups are little-endian. */
function guid(bytes: Buffer, at: number): string {
  const hex = (value: number, length: number): string => value.toString(16).padStart(length, '0');
  const head = `${hex(bytes.readUInt32LE(at), 8)}-${hex(bytes.readUInt16LE(at + 4), 4)}-${hex(bytes.readUInt16LE(at + 6), 4)}`;
  return `${head}-${bytes.toString('hex', at + 8, at + 10)}-${bytes.toString('hex', at + 10, at + 16)}`;
}
