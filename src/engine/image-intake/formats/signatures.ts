/**
 * What programs that guess would take a file for. Ours never guess, but an image is handed out again as it came, and others may open it: so a
 * file must not look like anything but what its owner declares. This is about the beginnings that make QEMU open further files.
 */
import { type ImageReader, ImageRefusal } from './image-reader.ts';

const isoVolumeAt = 32 * 1024 + 1;
const startBytes = 64 * 1024;
/** So much QEMU looks at when it guesses. */
const probedBytes = 512;

const beginnings: readonly [format: string, bytes: Buffer][] = [
  ['qcow2', Buffer.from('QFI\xfb', 'latin1')],
  ['qed', Buffer.from('QED\0', 'latin1')],
  ['vmdk', Buffer.from('KDMV')],
  ['vmdk', Buffer.from('COWD')],
  ['vhdx', Buffer.from('vhdxfile')],
  ['vpc', Buffer.from('conectix')],
  ['parallels', Buffer.from('WithoutFreeSpace')],
  ['parallels', Buffer.from('WithouFreSpacExt')],
  ['bochs', Buffer.from('Bochs Virtual HD Image')],
  ['cloop', Buffer.from('#!/bin/sh\n#V2.0 Format')],
];
const vdiSignature = { at: 0x40, value: 0xbeda107f };

/** A descriptor in a file of its own: comments and blank lines, then the version. It can name any file as an extent. */
const vmdkDescriptor = /^(?:#[^\n]*\n| *\r?\n)*(?:version=\d|# *Disk DescriptorFile)/i;

export function formatsSeenIn(start: Buffer): ReadonlySet<string> {
  const formats = new Set<string>();
  for (const [format, bytes] of beginnings) if (start.subarray(0, bytes.length).equals(bytes)) formats.add(format);
  if (start.length >= vdiSignature.at + 4 && start.readUInt32LE(vdiSignature.at) === vdiSignature.value) formats.add('vdi');
  if (vmdkDescriptor.test(start.toString('latin1', 0, probedBytes))) formats.add('vmdk');
  if (start.toString('latin1', isoVolumeAt, isoVolumeAt + 5) === 'CD001') formats.add('iso');
  return formats;
}

/** Throws an `ImageRefusal` for a file that looks like something else too. */
export function refuseOtherFormats(file: ImageReader, declared: string): void {
  const seen = formatsSeenIn(file.start(startBytes));
  // A disk may well hold the file system of a CD: nothing is opened on account of that.
  const other = [...seen].find((format) => format !== declared && !(format === 'iso' && declared === 'raw'));
  if (other !== undefined) throw new ImageRefusal(`it is declared as ${declared}, but looks like ${other}`);
  if (declared === 'iso' && !seen.has('iso')) throw new ImageRefusal('it holds no ISO 9660 file system');
}
