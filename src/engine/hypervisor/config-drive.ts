/**
 * Makes config drives: small read-only disks by which a guest learns its name, its keys and what its user wants done at its first start. Guests
 * find them by their label.
 *
 * The same content always makes the same bytes. Keys and passwords are in it, so nobody but the service's user can read any part on the way.
 */
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replaceBytesDurably } from '../../lib/durable-files.ts';
import type { Confinement } from '../confinement/run-confined.ts';
import { type ConfigDriveContent, type ConfigDriveFile, configDriveFiles } from './config-drive-content.ts';
import { setIsoTimes } from './iso-times.ts';

const label = 'config-2';
const imageBytesMax = 16 * 2 ** 20;

/**
 * Puts the drive at `path`, whole and durable, in place of one that is there. A crash may leave `<path>.making`, which the next attempt removes.
 * Rejects with `RangeError` when the content is too large, with errors of the tool and of the file system; then `path` is as it was.
 */
export async function makeConfigDrive(confinement: Confinement, path: string, content: ConfigDriveContent): Promise<void> {
  const files = configDriveFiles(content);
  const workshop = configDriveWorkshop(path);
  await rm(workshop, { recursive: true, force: true });
  try {
    const [tree, image] = [join(workshop, 'tree'), join(workshop, 'image')];
    await mkdir(tree, { recursive: true, mode: 0o700 });
    await writeTree(tree, files);
    await confinement.run({
      command: 'genisoimage',
      args: [...isoOptions, '-o', image, tree],
      readWrite: [workshop],
      limits: { fileSizeBytes: imageBytesMax },
    });
    const bytes = await readFile(image);
    setIsoTimes(bytes);
    await replaceBytesDurably(path, bytes);
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
}

/** Where a drive is put together, beside its place. */
export const configDriveWorkshop = (path: string): string => `${path}.making`;

/** Names as they are, in Joliet and in Rock Ridge with everything owned by root; also in the plain names, which simple readers see. */
const isoOptions = ['-quiet', '-ldots', '-allow-lowercase', '-allow-multidot', '-l', '-J', '-r', '-V', label];

/** Files of the same bytes become one with several names, which are on the drive once. */
async function writeTree(tree: string, files: readonly ConfigDriveFile[]): Promise<void> {
  const written = new Map<Uint8Array, string>();
  for (const { path, bytes } of files) {
    const target = join(tree, path);
    const same = written.get(bytes);
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    if (same === undefined) await writeFile(target, bytes, { mode: 0o600 });
    else await link(same, target);
    written.set(bytes, same ?? target);
  }
}
