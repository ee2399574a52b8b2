/**
 * VMDK, the two kinds that are one file by themselves: monolithicSparse and streamOptimized. Everything else can name further files, which
 * whoever opens the image would read: separate descriptors, flat extents, parents, several extents. (CVE-2022-47951, CVE-2024-40767)
 */
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
const headerBytes = 512;
const magic = 'KDMV';
/** QEMU looks for the name of a parent in so much, whatever the header says of the descriptor's size. */
const descriptorBytesRead = 20 * sectorBytes;
const descriptorBytesMax = 64 * 1024;
const lineLengthMax = 1024;
const entriesPerTable = 512;
/** QEMU opens no more either. */
const tablesMax = 32 * 1024 * 1024;
const grainSectorsMax = 2048;
const flag = { zeroGrains: 1 << 2, compressed: 1 << 16, known: 0x3_0007 } as const;
const directoryAtEnd = 2n ** 64n - 1n;
const footerMarker = 3;

interface Header {
  readonly flags: number;
  readonly capacitySectors: number;
  readonly grainSectors: number;
  readonly descriptorOffset: number;
  readonly descriptorBytes: number;
  /** Undefined: said by a footer. */
  readonly directoryOffset: number | undefined;
}

export function inspectVmdk(file: ImageReader, virtualBytesMax: number): DiskFacts {
  refuseOddLength(file);
  const first = parseHeader(file.read(0, headerBytes));
  const header = first.directoryOffset === undefined ? { ...first, directoryOffset: footerOf(file, first) } : first;
  const createType = checkDescriptor(file, header);
  refuseUnless(
    (createType === 'streamOptimized') === ((header.flags & flag.compressed) !== 0),
    'its header contradicts the kind of vmdk that its descriptor names',
  );
  const virtualBytes = header.capacitySectors * sectorBytes;
  refuseLarger(virtualBytes, virtualBytesMax);
  const grains = countGrains(file, header, header.directoryOffset ?? 0);
  return { virtualBytes, dataBytesMax: Math.min(virtualBytes, grains * header.grainSectors * sectorBytes) };
}

function parseHeader(bytes: Buffer): Header {
  refuseUnless(bytes.toString('latin1', 0, 4) === magic, 'it is no sparse vmdk file: other kinds name further files');
  const version = bytes.readUInt32LE(4);
  refuseUnless(version >= 1 && version <= 3, `vmdk version ${version} is unknown`);
  const flags = bytes.readUInt32LE(8);
  refuseUnless((flags & ~flag.known) === 0, 'it has unknown flags');
  const capacitySectors = number64(bytes, 12, 'little');
  const grainSectors = number64(bytes, 20, 'little');
  // Without a capacity QEMU believes the descriptor alone.
  refuseUnless(capacitySectors > 0 && Number.isSafeInteger(capacitySectors * sectorBytes), 'its capacity is not allowed');
  refuseUnless(isPowerOfTwo(grainSectors) && grainSectors >= 8 && grainSectors <= grainSectorsMax, 'its grain size is not allowed');
  refuseUnless(bytes.readUInt32LE(44) === entriesPerTable, 'its grain tables have an odd size');
  const isAtEnd = bytes.readBigUInt64LE(56) === directoryAtEnd;
  return {
    flags,
    capacitySectors,
    grainSectors,
    descriptorOffset: number64(bytes, 28, 'little') * sectorBytes,
    descriptorBytes: number64(bytes, 36, 'little') * sectorBytes,
    directoryOffset: isAtEnd ? undefined : number64(bytes, 56, 'little') * sectorBytes,
  };
}

/** The last three sectors are a marker, a second header that replaces the first, and a marker of the end. It must say what the first one says. */
function footerOf(file: ImageReader, first: Header): number {
  const bytes = file.read(file.sizeBytes - 3 * sectorBytes, 3 * sectorBytes);
  refuseUnless(bytes.readUInt32LE(8) === 0 && bytes.readUInt32LE(12) === footerMarker, 'its footer is missing');
  const { directoryOffset, ...footer } = parseHeader(bytes.subarray(sectorBytes, 2 * sectorBytes));
  refuseUnless(directoryOffset !== undefined, 'its footer does not say where the grain directory is');
  const isSame =
    footer.flags === first.flags && footer.capacitySectors === first.capacitySectors && footer.grainSectors === first.grainSectors;
  const isPlain = footer.descriptorOffset === first.descriptorOffset || footer.descriptorOffset === 0;
  refuseUnless(isSame && isPlain, 'its footer contradicts its header');
  return directoryOffset;
}

const extentLine = /^(RW|RDONLY)\s+(\d+)\s+SPARSE\s+"([^"\\/:]+)"\s*$/;
const anyExtent = /^(?:RW|RDONLY|NOACCESS)\s/;
/** Of a trimmed line. What follows each part cannot begin like it, so that a line which does not match costs no more than one that does. */
const setting = /^([\w.]+)\s*=\s*(?:"([^"]*)"|([^"\s]*))$/;
const settings = /^(?:version|encoding|CID|parentCID|createType|isNativeSnapshot|ddb\.[\w.]+)$/;

/** Returns the kind of vmdk. Every line has to be one of those that such a file has: what is not understood may be a name. */
function checkDescriptor(file: ImageReader, header: Header): 'monolithicSparse' | 'streamOptimized' {
  const { descriptorOffset, descriptorBytes } = header;
  refuseUnless(descriptorOffset === sectorBytes && descriptorBytes > 0, 'its descriptor is not where it belongs');
  refuseUnless(descriptorBytes <= descriptorBytesMax, 'its descriptor is too large');
  const wanted = Math.min(Math.max(descriptorBytes, descriptorBytesRead), file.sizeBytes - descriptorOffset);
  const whole = file.read(descriptorOffset, wanted).toString('latin1');
  refuseUnless(!/parentFileNameHint/i.test(whole), 'the vmdk file has a parent');
  const text = whole.slice(0, descriptorBytes).split('\0', 1)[0] ?? '';
  const values = new Map<string, string>();
  let extents = 0;
  for (const line of text.split(/\r?\n/).map((one) => one.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    refuseUnless(line.length <= lineLengthMax, 'its descriptor has a line that is too long');
    if (anyExtent.test(line)) {
      refuseUnless(extentLine.test(line), 'the vmdk file has an extent in another file');
      extents += 1;
      continue;
    }
    const [, key = '', quoted, plain = ''] = setting.exec(line) ?? [];
    refuseUnless(settings.test(key), 'its descriptor has a line that is not allowed');
    refuseUnless(!values.has(key) || key.startsWith('ddb.'), 'its descriptor contradicts itself');
    values.set(key, quoted ?? plain);
  }
  refuseUnless(extents === 1, 'the vmdk file has several extents, or none');
  refuseUnless(/^f{8}$/i.test(values.get('parentCID') ?? ''), 'the vmdk file has a parent');
  const createType = values.get('createType');
  refuseUnless(createType === 'monolithicSparse' || createType === 'streamOptimized', 'vmdk files of its kind are not taken');
  return createType;
}

/** How many grains hold something. Entries that point out of the file refuse it. */
function countGrains(file: ImageReader, header: Header, directoryOffset: number): number {
  const tableCount = Math.ceil(header.capacitySectors / (entriesPerTable * header.grainSectors));
  refuseUnless(tableCount <= tablesMax, 'its grain directory is too large');
  const fileSectors = file.sizeBytes / sectorBytes;
  const emptyMax = (header.flags & flag.zeroGrains) === 0 ? 0 : 1;
  let grains = 0;
  eachEntry(file, { offset: directoryOffset, entryCount: tableCount, entryBytes: 4 }, (directory, at) => {
    const sector = directory.readUInt32LE(at);
    if (sector === 0) return;
    const table = file.read(sector * sectorBytes, entriesPerTable * 4);
    for (let entry = 0; entry < table.length; entry += 4) {
      const grain = table.readUInt32LE(entry);
      refuseUnless(grain < fileSectors, 'a grain lies behind the end of the file');
      if (grain > emptyMax) grains += 1;
    }
  });
  return grains;
}
