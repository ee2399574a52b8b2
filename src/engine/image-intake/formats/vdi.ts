/** VDI, dynamic and static. A differencing image names its parent by a number, which other programs look up. */
import { type DiskFacts, eachEntry, type ImageReader, number64, refuseLarger, refuseUnless } from './image-reader.ts';

const headerBytes = 512;
const signature = 0xbeda107f;
const version = 0x0001_0001;
const kind = { dynamic: 1, static: 2 } as const;
const blockBytes = 1024 * 1024;
/** From here on: nothing there, or only zeroes. */
const noBlock = 0xffff_fffe;
const links = { from: 0x1a8, to: 0x1c8 } as const;

export function inspectVdi(file: ImageReader, virtualBytesMax: number): DiskFacts {
  const header = file.read(0, headerBytes);
  refuseUnless(header.readUInt32LE(0x40) === signature, 'it is no vdi file');
  refuseUnless(header.readUInt32LE(0x44) === version, 'its vdi version is unknown');
  const imageType = header.readUInt32LE(0x4c);
  refuseUnless(imageType === kind.dynamic || imageType === kind.static, 'the vdi file is neither dynamic nor static: it may have a parent');
  refuseUnless(
    header.subarray(links.from, links.to).every((byte) => byte === 0),
    'the vdi file has a parent',
  );
  refuseUnless(header.readUInt32LE(0x168) === 512 && header.readUInt32LE(0x178) === blockBytes, 'its sector or block size is not allowed');
  const virtualBytes = number64(header, 0x170, 'little');
  refuseLarger(virtualBytes, virtualBytesMax);
  const blockCount = header.readUInt32LE(0x180);
  refuseUnless(blockCount * blockBytes >= virtualBytes, 'its block table is too small for the disk');
  const dataOffset = header.readUInt32LE(0x158);
  let blocks = 0;
  eachEntry(file, { offset: header.readUInt32LE(0x154), entryCount: Math.ceil(virtualBytes / blockBytes), entryBytes: 4 }, (table, at) => {
    const block = table.readUInt32LE(at);
    if (block >= noBlock) return;
    refuseUnless(dataOffset + block * blockBytes < file.sizeBytes, 'a block lies behind the end of the file');
    blocks += 1;
  });
  return { virtualBytes, dataBytesMax: Math.min(virtualBytes, blocks * blockBytes) };
}
