/**
 * A raw base layer. Node cannot ask a file system where the holes of a file are, so whoever writes a base notes what it wrote in a
 * file beside it, `<file>.extents`. That set may hold too much, never too little. Without it (or when it is damaged) the whole file
 * counts as data, which is slower and right.
 *
 * Notes of a finished file are bound to it: they carry its size and the time of its last change, and say nothing about a file that has others
 * (written to by somebody else since, put back from somewhere, or another one under the name). Copies keep their notes if they keep their times.
 * While a file is being written to, by a merge, its notes are open: they hold what it held and what it is about to hold.
 *
 * Bound notes: `SPXB`, a version byte, the size and the time of change in nanoseconds (64 bits each, little-endian), then the encoded set with a
 * checksum of its own. Open notes are the encoded set alone.
 */
import { type BigIntStats, fstatSync, readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { replaceBytesDurably } from '../../lib/durable-files.ts';
import { inTurns } from '../../lib/steps.ts';
import { ExtentSetFormatError } from './extent-encoding.ts';
import { ExtentSet } from './extent-set.ts';

export const extentsFileOf = (rawPath: string): string => `${rawPath}.extents`;

const boundMagic = Buffer.from('SPXB', 'latin1');
const boundVersion = 1;
const bindingBytes = boundMagic.length + 1 + 8 + 8;

export interface RawLayer {
  /** The length of the file. */
  readonly sizeBytes: number;
  readonly allocated: ExtentSet;
}

export function loadRaw(fd: number, path: string): RawLayer {
  const stats = fstatSync(fd, { bigint: true });
  const sizeBytes = Number(stats.size);
  return { sizeBytes, allocated: readNotes(path, stats)?.clamp(sizeBytes) ?? ExtentSet.of([[0, sizeBytes]]) };
}

/** What was noted beside a raw layer; undefined when nothing usable was. */
export function readExtentsFile(rawPath: string): ExtentSet | undefined {
  const stats = statSync(rawPath, { bigint: true, throwIfNoEntry: false });
  return stats && readNotes(rawPath, stats);
}

/** Durable when it returns. `sealed`: the file is as it stays, and the notes are bound to it. `open`: it is about to be written to. */
export async function writeExtentsFile(rawPath: string, allocated: ExtentSet, state: 'sealed' | 'open'): Promise<void> {
  const encoded = await inTurns(allocated.encodeSteps());
  const binding = state === 'sealed' ? bindingOf(await stat(rawPath, { bigint: true })) : Buffer.alloc(0);
  await replaceBytesDurably(extentsFileOf(rawPath), Buffer.concat([binding, encoded]));
}

function readNotes(rawPath: string, stats: BigIntStats): ExtentSet | undefined {
  try {
    const notes = readFileSync(extentsFileOf(rawPath));
    const isBound = notes.subarray(0, boundMagic.length).equals(boundMagic);
    if (isBound && !notes.subarray(0, bindingBytes).equals(bindingOf(stats))) return undefined;
    return ExtentSet.decode(isBound ? notes.subarray(bindingBytes) : notes);
  } catch (error) {
    if (error instanceof ExtentSetFormatError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function bindingOf({ size, mtimeNs }: BigIntStats): Buffer {
  const binding = Buffer.alloc(bindingBytes);
  const at = boundMagic.copy(binding);
  binding.writeUInt8(boundVersion, at);
  binding.writeBigUInt64LE(size, at + 1);
  binding.writeBigInt64LE(mtimeNs, at + 9);
  return binding;
}
