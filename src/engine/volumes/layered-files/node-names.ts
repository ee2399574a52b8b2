/**
 * Names of QEMU's block nodes that tell which layer a node is, so that a daemon's graph explains itself. (Asking QEMU for the files of all nodes
 * takes time that grows with the square of their number: a second for a hundred layers.)
 *
 * A name ends at 31 characters and a UUID has 36, so its 16 bytes are written in base64url: `q-u-<22 characters>`, with `r` for a raw layer.
 * Other ids, when they are short, stand as they are: `q-n-<id>`.
 */
import { VolumeBackendError } from '../errors.ts';

export interface NamedLayer {
  readonly id: string;
  readonly format: 'raw' | 'qcow2';
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** With one letter more before it: `f` for the node of the file below the format, `m` for a merge. */
const nameLengthMax = 30;

export function nodeNameOf({ id, format }: NamedLayer): string {
  const kind = format === 'raw' ? 'r' : 'q';
  const name = uuid.test(id) ? `${kind}-u-${Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64url')}` : `${kind}-n-${id}`;
  if (name.length > nameLengthMax) throw new VolumeBackendError('mismatch', `the layer id ${id} is neither a UUID nor short`);
  return name;
}

/** The job that folds a layer into the one below it in a running daemon, and the node that the daemon puts above the layer meanwhile. */
export const mergeNameOf = (younger: NamedLayer): string => `m${nodeNameOf(younger)}`;

export const isMergeName = (name: string): boolean => /^m[rq]-/.test(name);

export function layerOfNode(name: string): NamedLayer {
  const [, kind, form, rest = ''] = /^([rq])-([un])-(.+)$/.exec(name) ?? [];
  if (kind === undefined) throw new VolumeBackendError('mismatch', `the storage daemon has a node ${name}, which is no layer`);
  const format = kind === 'r' ? 'raw' : 'qcow2';
  if (form === 'n') return { id: rest, format };
  const digits = Buffer.from(rest, 'base64url').toString('hex');
  return { id: digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'), format };
}
