/**
 * Turns an uploaded image into the raw base that volumes start from, with `qemu-img` in a cage.
 *
 * The formats are named, never probed, and a backing file is forbidden on the command line although the inspection has refused it
 * before. The target exists with its full length and is all hole, so `qemu-img` only writes what is not zero. Not durable yet: whoever
 * seals the base syncs it. A repeat starts from an empty file again.
 */
import { open, rm } from 'node:fs/promises';
import { ProcessError } from '../../lib/processes.ts';
import type { Confinement } from '../confinement/run-confined.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import type { DiskKind } from './disk-kind.ts';
import { notAcceptable, storageFull } from './refusals.ts';
import { grainBytes } from './upload-messages.ts';

export type SourceFormat = Exclude<DiskKind, 'iso'>;

export interface Conversion {
  readonly source: { readonly path: string; readonly format: SourceFormat };
  readonly target: string;
  /** The length of the target. Not below the virtual size of the source. */
  readonly sizeBytes: number;
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

const slowestBytesPerSecond = 8 * 1024 * 1024;
const patienceMs = 120_000;

/** Returns the ranges of the target that hold data. */
export async function convertToRaw(confinement: Confinement, conversion: Conversion): Promise<ExtentSet> {
  await makeEmptyTarget(conversion);
  try {
    await convert(confinement, conversion);
    return await allocatedRanges(confinement, conversion.target, conversion.signal);
  } catch (error) {
    await rm(conversion.target, { force: true });
    throw error;
  }
}

async function makeEmptyTarget({ target, sizeBytes }: Conversion): Promise<void> {
  const file = await open(target, 'w', 0o600);
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
}

function imageDescription({ path, format }: Conversion['source']): string {
  const file = { driver: 'file', filename: path };
  const canHaveBacking = format === 'qcow2' || format === 'vmdk';
  return `json:${JSON.stringify({ driver: format, ...(canHaveBacking ? { backing: null } : {}), file })}`;
}

async function convert(confinement: Confinement, { source, target, sizeBytes, signal, onProgress }: Conversion): Promise<void> {
  const timeoutMs = patienceMs + (sizeBytes / slowestBytesPerSecond) * 1000;
  const args = ['convert', '-p', '-n', '--target-is-zero', '-S', String(grainBytes), '-O', 'raw', imageDescription(source), target];
  try {
    await confinement.run({
      command: 'qemu-img',
      args,
      readOnly: [source.path],
      readWrite: [target],
      limits: { fileSizeBytes: sizeBytes, cpuSeconds: Math.ceil(timeoutMs / 1000) },
      timeoutMs,
      signal,
      onOutput: (chunk) => {
        const percent = lastPercent(chunk.toString('latin1'));
        if (percent !== undefined) onProgress?.((percent / 100) * sizeBytes, sizeBytes);
      },
    });
  } catch (error) {
    throw asRefusal(error, source.format);
  }
}

function lastPercent(text: string): number | undefined {
  const found = [...text.matchAll(/\((\d+(?:\.\d+)?)\/100%\)/g)].at(-1)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** What `qemu-img` cannot read is the sender's mistake; a missing tool, a time-out or an abort is not. */
function asRefusal(error: unknown, format: string): unknown {
  if (!(error instanceof ProcessError) || error.failure !== 'failed') return error;
  const said = error.result?.stderr ?? '';
  if (/No space left on device|Disk quota exceeded/.test(said)) return storageFull(error);
  return notAcceptable(`it cannot be read as ${format}`, error);
}

/**
 * Asks `qemu-img` which ranges of a raw file are not holes. The answer is one JSON object a line, and is read line by line: a fragmented
 * file has hundreds of thousands of them.
 */
async function allocatedRanges(confinement: Confinement, path: string, signal: AbortSignal): Promise<ExtentSet> {
  const extents = ExtentSet.builder();
  const lines = lineSplitter((line) => addMapped(extents, line));
  await confinement.run({
    command: 'qemu-img',
    args: ['map', '--output=json', '-f', 'raw', path],
    readOnly: [path],
    timeoutMs: patienceMs,
    signal,
    onOutput: lines.add,
  });
  lines.end();
  return extents.build();
}

function addMapped(extents: ReturnType<typeof ExtentSet.builder>, line: string): void {
  const text = line
    .trim()
    .replace(/^\[/, '')
    .replace(/[,\]]+$/, '');
  if (text === '') return;
  // The tool's own output on a plain file: its shape is known.
  const range = JSON.parse(text) as { start: number; length: number; zero: boolean };
  if (!range.zero) extents.add(range.start, range.start + range.length);
}

function lineSplitter(onLine: (line: string) => void): { add(chunk: Buffer): void; end(): void } {
  let rest = '';
  return {
    add(chunk) {
      const lines = (rest + chunk.toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    },
    end: () => onLine(rest),
  };
}
