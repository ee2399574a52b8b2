/**
 * A raw base layer. Node cannot ask a file system where the holes of a file are, so whoever writes a base notes what it wrote in a
 * file beside it, `<file>.extents`. That set may hold too much, never too little. Without it (or when it is damaged) the whole file
 * counts as data, which is slower and right.
 */
import { fstatSync, readFileSync } from 'node:fs';
import { ExtentSetFormatError } from './extent-encoding.ts';
import { ExtentSet } from './extent-set.ts';

export const extentsFileOf = (rawPath: string): string => `${rawPath}.extents`;

export interface RawLayer {
  /** The length of the file. */
  readonly sizeBytes: number;
  readonly allocated: ExtentSet;
}

export function loadRaw(fd: number, path: string): RawLayer {
  const sizeBytes = fstatSync(fd).size;
  return { sizeBytes, allocated: readExtentsFile(path)?.clamp(sizeBytes) ?? ExtentSet.of([[0, sizeBytes]]) };
}

/** What was noted beside a raw layer; undefined when nothing usable was. */
export function readExtentsFile(rawPath: string): ExtentSet | undefined {
  try {
    return ExtentSet.decode(readFileSync(extentsFileOf(rawPath)));
  } catch (error) {
    if (error instanceof ExtentSetFormatError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
