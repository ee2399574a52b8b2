/**
 * Writes what a frozen disk holds into one file of an image format, with `qemu-img` in a cage: guests wrote the layers that it reads.
 *
 * Every layer is named by path, format and order; nothing is left to probing or to what headers say. Not durable yet: the caller takes the bytes
 * on from here. A repeat starts from an empty file again.
 */
import { open, rm, stat } from 'node:fs/promises';
import { ProcessError } from '../../lib/processes.ts';
import type { Confinement } from '../confinement/run-confined.ts';
import type { DiskLayer, DiskSource } from '../disk/contract.ts';
import { storageFull } from './refusals.ts';

/** By the names of Image; those of QEMU differ. */
const qemuFormats = {
  raw: { format: 'raw', options: [] },
  qcow2: { format: 'qcow2', options: [] },
  vmdk: { format: 'vmdk', options: ['-o', 'subformat=monolithicSparse'] },
  // Without force_size the disk would grow to the next whole cylinder.
  vhd: { format: 'vpc', options: ['-o', 'subformat=dynamic,force_size=on'] },
  vhdx: { format: 'vhdx', options: ['-o', 'subformat=dynamic'] },
  vdi: { format: 'vdi', options: [] },
} as const;

export type ExportFormat = keyof typeof qemuFormats;

export const isExportFormat = (text: string): text is ExportFormat => Object.hasOwn(qemuFormats, text);

export interface DiskExportOrder {
  readonly source: DiskSource;
  readonly target: string;
  readonly format: ExportFormat;
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

const slowestBytesPerSecond = 8 * 1024 * 1024;
const patienceMs = 120_000;
/** Beside the bytes, for tables and headers: the 512th part at most in any of the formats, and a few whole megabytes. */
const tablesShare = 64;
/** Of `stat`. */
const blockBytes = 512;
const headerBytesMax = 64 * 2 ** 20;

/** What the file of any format takes at most: the layers hold everything that it can hold. */
export async function exportedBytesMax({ layers, sizeBytes }: DiskSource): Promise<number> {
  let allocatedBytes = 0;
  for (const { path } of layers) allocatedBytes += (await stat(path)).blocks * blockBytes;
  return Math.min(allocatedBytes, sizeBytes) + headerBytesMax;
}

export async function exportDisk(confinement: Confinement, order: DiskExportOrder): Promise<void> {
  const { source, target, format, signal, onProgress } = order;
  const { format: driver, options } = qemuFormats[format];
  await (await open(target, 'w', 0o600)).close();
  try {
    await confinement.run({
      command: 'qemu-img',
      args: ['convert', '-p', '-O', driver, ...options, `json:${JSON.stringify(nodeOf(source))}`, target],
      readOnly: source.layers.map(({ path }) => path),
      readWrite: [target],
      limits: { fileSizeBytes: source.sizeBytes + source.sizeBytes / tablesShare + headerBytesMax },
      timeoutMs: patienceMs + (source.sizeBytes / slowestBytesPerSecond) * 1000,
      signal,
      onOutput(chunk) {
        const percent = [...chunk.toString('latin1').matchAll(/\((\d+(?:\.\d+)?)\/100%\)/g)].at(-1)?.[1];
        if (percent !== undefined) onProgress?.((Number(percent) / 100) * source.sizeBytes, source.sizeBytes);
      },
    });
  } catch (error) {
    await rm(target, { force: true });
    throw isFull(error) ? storageFull(error) : error;
  }
}

const isFull = (error: unknown): boolean =>
  error instanceof ProcessError && /No space left on device|Disk quota exceeded/.test(error.result?.stderr ?? '');

type Node = Readonly<Record<string, unknown>>;

function nodeOf({ layers }: DiskSource): Node {
  const node = layers.reduce<Node | null>((backing, layer) => layerNode(layer, backing), null);
  if (node === null) throw new Error('a disk has at least one layer');
  return node;
}

function layerNode({ path, format }: DiskLayer, backing: Node | null): Node {
  const file = { driver: 'file', filename: path, 'read-only': true };
  return { driver: format, 'read-only': true, file, ...(format === 'qcow2' ? { backing } : {}) };
}
