/** Timing of whole commands, and of what they leave behind. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const MIB = 1024 * 1024;
const settleMs = 50;

export interface Sample {
  readonly seconds: number;
  readonly stored?: number;
}

export interface Row {
  readonly work: string;
  readonly side: string;
  readonly samples: Sample[];
}

/**
 * Touches and frees a few GB. A virtual machine gives freed memory back to its host, and the first touch of each page is then slow:
 * whoever runs first would pay for it.
 */
export async function warmMemory(bytes = 3072 * MIB): Promise<void> {
  const blocks: Buffer[] = [];
  for (let done = 0; done < bytes; done += 64 * MIB) blocks.push(Buffer.alloc(64 * MIB, 1));
  blocks.length = 0;
  // The thread was busy for seconds: connections that the other side closed meanwhile are noticed before one is used again.
  await sleep(settleMs);
}

/** Runs a program to its end and returns the seconds that it took, its start included. A failure is thrown with its last words. */
export function timeProgram(program: string, args: readonly string[], environment: Record<string, string> = {}): Promise<number> {
  const startedAt = performance.now();
  return new Promise((done, fail) => {
    const child = spawn(program, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    child.stderr.on('data', (part: Buffer) => {
      words = (words + part.toString()).slice(-2000);
    });
    child.once('error', fail);
    child.once('close', (code) => {
      if (code === 0) done((performance.now() - startedAt) / 1000);
      else fail(new Error(`${program} ${args.join(' ')} ended with ${code}: ${words}`));
    });
  });
}

/** The bytes that a folder takes on disk. */
export function storedBytes(folder: string): number {
  let total = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) total += statSync(join(entry.parentPath, entry.name)).blocks * 512;
  }
  return total;
}

/** The most memory that a process ever had, in bytes. */
export function peakMemory(processId: number): number {
  const status = readFileSync(`/proc/${processId}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
}

/** The processes that one has started and that still run. */
export function childrenOf(processId: number): number[] {
  return readFileSync(`/proc/${processId}/task/${processId}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);
