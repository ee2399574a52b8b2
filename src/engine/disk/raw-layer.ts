/**
 * A raw base layer. Node cannot ask a file system where the holes of a file are, so whoever writes a base notes what it wrote in a
 * file beside it, `<file>.extents`. That set may hold too much, never too little. Without it (or when it is damaged) the whole file
 * counts as data, which is slower and right.
 */
import { fstatSync, readFileSync } from 'node:fs';
import { ExtentSetFormatError } from './extent-encoding.ts';
import { ExtentMap } from './extent-map.ts';
import { ExtentSet } from './extent-set.ts';

export const extentsFileOf = (rawPath: string): string => `${rawPath}.extents`;

export interface RawTables {
  readonly map: ExtentMap;
  readonly allocated: ExtentSet;
}

export function loadRaw(fd: number, path: string, file: number): RawTables {
  const fileSizeBytes = fstatSync(fd).size;
  // The map leads to the whole file, also where nothing was noted: a reader that asks there gets the truth.
  const map = new ExtentMap(fileSizeBytes);
  map.append(0, fileSizeBytes, file, 0);
  return { map, allocated: readExtentsFile(path)?.clamp(fileSizeBytes) ?? ExtentSet.of([[0, fileSizeBytes]]) };
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
