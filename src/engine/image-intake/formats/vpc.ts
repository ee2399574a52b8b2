/** VHD (QEMU calls it vpc), fixed and dynamic. A differencing disk names its parent, which whoever opens it would read. */
import {
  type DiskFacts,
  eachEntry,
  type ImageReader,
  isPowerOfTwo,
  number64,
  refuseLarger,
  refuseOddLength,
  refuseUnless,
} from './image-reader.ts';

const sectorBytes = 512;
const cookie = 'conectix';
const diskType = { fixed: 2, dynamic: 3 } as const;
const dynamicHeaderBytes = 1024;
const noBlock = 0xffff_ffff;
/** Locators of a parent: eight of 24 bytes. */
const locators = { from: 576, to: 768 } as const;
const sectorsMax = 0xff00_0000;
/** Cylinders × heads × sectors of the largest geometry, which means: too large for one. */
const geometryMax = 65_535 * 16 * 255;
/** These write the true size; all others mean what the geometry says. */
const sizedCreators: ReadonlySet<string> = new Set(['win ', 'qem2', 'd2v ', 'CTXS', 'tap\0']);

export function inspectVpc(file: ImageReader, virtualBytesMax: number): DiskFacts {
  refuseOddLength(file);
  const start = file.read(0, sectorBytes);
  if (start.toString('latin1', 0, 8) === cookie) return inspectDynamic(file, start, virtualBytesMax);
  const footer = file.read(file.sizeBytes - sectorBytes, sectorBytes);
  refuseUnless(footer.toString('latin1', 0, 8) === cookie, 'it is no vhd file');
  refuseUnless(footer.readUInt32BE(60) === diskType.fixed, 'the vhd file is neither fixed nor dynamic');
  const virtualBytes = sizeOf(footer);
  refuseUnless(virtualBytes <= file.sizeBytes - sectorBytes, 'the file is cut short');
  return { virtualBytes, dataBytesMax: virtualBytes };
}

function inspectDynamic(file: ImageReader, footer: Buffer, virtualBytesMax: number): DiskFacts {
  refuseUnless(footer.readUInt32BE(60) === diskType.dynamic, 'the vhd file is neither fixed nor dynamic: it may have a parent');
  const virtualBytes = sizeOf(footer);
  refuseLarger(virtualBytes, virtualBytesMax);
  const header = file.read(number64(footer, 16, 'big'), dynamicHeaderBytes);
  refuseUnless(header.toString('latin1', 0, 8) === 'cxsparse', 'its dynamic header is missing');
  refuseUnless(
    header.subarray(locators.from, locators.to).every((byte) => byte === 0),
    'the vhd file has a parent',
  );
  const blockCount = header.readUInt32BE(28);
  const blockBytes = header.readUInt32BE(32);
  refuseUnless(isPowerOfTwo(blockBytes) && blockBytes >= sectorBytes, 'its block size is not allowed');
  refuseUnless(blockCount * blockBytes >= virtualBytes, 'its block table is too small for the disk');
  const usedCount = Math.ceil(virtualBytes / blockBytes);
  let blocks = 0;
  eachEntry(file, { offset: number64(header, 16, 'big'), entryCount: usedCount, entryBytes: 4 }, (table, at) => {
    const sector = table.readUInt32BE(at);
    if (sector === noBlock) return;
    refuseUnless(sector * sectorBytes < file.sizeBytes, 'a block lies behind the end of the file');
    blocks += 1;
  });
  return { virtualBytes, dataBytesMax: Math.min(virtualBytes, blocks * blockBytes) };
}

/** As QEMU has it. */
function sizeOf(footer: Buffer): number {
  const geometry = footer.readUInt16BE(56) * footer.readUInt8(58) * footer.readUInt8(59);
  const isSized = sizedCreators.has(footer.toString('latin1', 28, 32)) || geometry === geometryMax;
  const sectors = isSized ? Math.floor(number64(footer, 48, 'big') / sectorBytes) : geometry;
  refuseUnless(sectors <= sectorsMax, 'its size is not allowed');
  return sectors * sectorBytes;
}
