/**
 * How QEMU is told to open layers: every file of a chain by name, format and order. Nothing is left to probing or to what headers say,
 * because a guest, or an uploaded file, may have put something there.
 */
import { basename } from 'node:path';
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
    file: { driver: 'file', filename: file.path, ...(options.isNamed === true ? { 'node-name': names.file } : {}), ...access.file },
    ...(file.format === 'qcow2' ? { backing: options.backing } : {}),
  };
}

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
