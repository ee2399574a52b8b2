/**
 * How QEMU is told to open layers: every file of a chain by name, format and order. Nothing is left to probing or to what headers say,
 * because a guest, or an uploaded file, may have put something there.
 */
import { basename, dirname, join } from 'node:path';
import type { LayerFile } from './layer-paths.ts';
import { nodeNameOf } from './node-names.ts';

/** An option tree of QEMU's `blockdev-add`. */
export type BlockNode = Readonly<Record<string, unknown>>;

/**
 * `writable`: a top. `mergeable`: frozen, in the daemon that writes the top; a merge may make it writable for its time. `read-only`: never written
 * by the process that opens it.
 */
export type NodeAccess = 'writable' | 'mergeable' | 'read-only';

export interface NodeOptions {
  readonly access: NodeAccess;
  /** The node below; null: nothing shows through (yet). */
  readonly backing: BlockNode | string | null;
  readonly isNamed?: boolean;
}

export function nodeNamesOf(file: LayerFile): { format: string; file: string } {
  const name = nodeNameOf({ id: basename(file.path, `.${file.format}`), format: file.format });
  return { format: name, file: `f${name}` };
}

export function blockNode(file: LayerFile, options: NodeOptions): BlockNode {
  const names = nodeNamesOf(file);
  const access = accessOptions[options.access];
  return {
    driver: file.format,
    ...(options.isNamed === true ? { 'node-name': names.format } : {}),
    ...access.format,
    ...(file.format === 'qcow2' && options.access !== 'writable' ? frozenCache : {}),
    file: { driver: 'file', filename: fileNameOf(file), ...(options.isNamed === true ? { 'node-name': names.file } : {}), ...access.file },
    ...(file.format === 'qcow2' ? { backing: options.backing } : {}),
  };
}

/**
 * The name by which headers know the file, relative to the folder of any layer (`workingDirOf`): a node whose backing file is called as its
 * header says keeps a plain name. Any other gets a name that spells out all that is below it, and then what QEMU does with a chain takes time that
 * grows with the square of its length (a snapshot above 200 layers 27 ms instead of 3, opening them 1.7 s instead of 0.2).
 */
const fileNameOf = ({ path }: LayerFile): string => join('..', basename(dirname(path)), basename(path));

/** Where programs that are given nodes must be started. */
export const workingDirOf = (file: LayerFile): string => dirname(file.path);

/** Tables of frozen layers that are kept in memory: enough for 4 GiB of the disk at once. A chain may have hundreds of them. */
const frozenCache = { 'l2-cache-size': 2 ** 20, 'l2-cache-entry-size': 4096 } as const;

/** Trimmed and zeroed ranges must not take space, in the file and in what later becomes of it. */
const unmapping = { discard: 'unmap', 'detect-zeroes': 'unmap' } as const;

const accessOptions = {
  writable: { format: { 'read-only': false, ...unmapping }, file: { 'read-only': false, discard: 'unmap' } },
  // The file is open for reading only until the format above it is made writable. Said to be read-only itself, it would stay so.
  mergeable: { format: { 'read-only': true, ...unmapping }, file: { 'auto-read-only': true, discard: 'unmap' } },
  'read-only': { format: { 'read-only': true }, file: { 'read-only': true } },
} as const satisfies Record<NodeAccess, object>;

/** A whole chain as one tree, for tools that take a file name. `writableCount` layers from the top are opened for writing. */
export function chainNode(bottomFirst: readonly LayerFile[], writableCount: number): BlockNode {
  let node: BlockNode | null = null;
  bottomFirst.forEach((file, i) => {
    node = blockNode(file, { access: i >= bottomFirst.length - writableCount ? 'writable' : 'read-only', backing: node });
  });
  if (node === null) throw new Error('a chain has at least one layer');
  return node;
}

/** The form in which `qemu-img` takes a tree in place of a file name. */
export const asFileName = (node: BlockNode): string => `json:${JSON.stringify(node)}`;
