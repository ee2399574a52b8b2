/**
 * Sets every time in an ISO 9660 image to the same one, in place: `genisoimage` writes down when it ran, and when the files that it read were made.
 * Without that the same content always is the same bytes. Offsets are those of ECMA-119, and of the System Use Sharing Protocol for Rock Ridge.
 */
const sectorBytes = 2048;
const firstDescriptor = 16;
const descriptorEnd = 255;
const rootRecordAt = 156;
const descriptorTimesAt = 813;
const recordTimeAt = 18;
const recordTimeBytes = 7;
const flagsAt = 25;
const folderFlag = 2;
const nameLengthAt = 32;
const nameAt = 33;

/** 1980-01-01 in UTC: as a record has it, and as the four times of a volume (made, changed, expires never, in force). */
const recordTime = Buffer.of(80, 1, 1, 0, 0, 0, 0);
const volumeTime = '1980010100000000\0';
const volumeTimes = Buffer.from(`${volumeTime}${volumeTime}${'0'.repeat(16)}\0${volumeTime}`, 'latin1');

export function setIsoTimes(image: Buffer): void {
  for (let sector = firstDescriptor; ; sector += 1) {
    const descriptor = image.subarray(sector * sectorBytes, (sector + 1) * sectorBytes);
    const type = descriptor[0];
    if (descriptor.toString('latin1', 1, 6) !== 'CD001') throw new Error('this is no ISO 9660 image');
    if (type === descriptorEnd) return;
    // The plain names with Rock Ridge, and the names of Joliet.
    if (type !== 1 && type !== 2) continue;
    volumeTimes.copy(descriptor, descriptorTimesAt);
    const root = descriptor.subarray(rootRecordAt);
    recordTime.copy(root, recordTimeAt);
    setFolderTimes(image, root);
  }
}

function setFolderTimes(image: Buffer, folder: Buffer): void {
  const start = folder.readUInt32LE(2) * sectorBytes;
  const end = start + folder.readUInt32LE(10);
  let index = 0;
  for (let at = start; at < end; ) {
    const length = image[at] ?? 0;
    if (length === 0) {
      // Records do not cross sectors.
      at = (Math.floor(at / sectorBytes) + 1) * sectorBytes;
      continue;
    }
    const record = image.subarray(at, at + length);
    recordTime.copy(record, recordTimeAt);
    setRockRidgeTimes(record);
    // The first two are the folder itself and the one above it.
    if (index > 1 && ((record[flagsAt] ?? 0) & folderFlag) !== 0) setFolderTimes(image, record);
    index += 1;
    at += length;
  }
}

/** `TF`, version 1: a byte of flags, then as many times as flags are set, in the short form. */
function setRockRidgeTimes(record: Buffer): void {
  const nameLength = record[nameLengthAt] ?? 0;
  for (let at = nameAt + nameLength + (nameLength % 2 === 0 ? 1 : 0); at + 4 <= record.length; ) {
    const length = record[at + 2] ?? 0;
    if (length < 4) return;
    if (record.toString('latin1', at, at + 2) === 'TF') {
      for (let time = at + 5; time + recordTimeBytes <= at + length; time += recordTimeBytes) recordTime.copy(record, time);
    }
    at += length;
  }
}
