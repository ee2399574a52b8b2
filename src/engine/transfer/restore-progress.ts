/** What a restore keeps account of while threads move its bytes: how much is written, what is damaged, and when to flush. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import { RepositoryError } from '../repository/errors.ts';
import { isFullError } from '../stores/filesystem/system-errors.ts';
import type { RestoreCallOptions } from './contract.ts';
import { damagedPacks, damageError } from './damage.ts';
import type { Damage, RestoreLeafResult } from './worker-protocol.ts';

/** A flush of what was written begins after this much, so that the end does not wait for gigabytes. */
const FLUSH_EVERY_BYTES = 128 * 1024 * 1024;
/** Below this much to move a second thread costs more than it brings. */
const BYTES_PER_WORKER_MIN = 8 * 1024 * 1024;

export function workersFor(bytes: number): number {
  return Math.ceil(bytes / BYTES_PER_WORKER_MIN);
}

export interface RestoreProgressPlan {
  readonly totalBytes: number;
  /** What counts as done already. */
  readonly doneBytes: number;
  readonly flush: () => Promise<void>;
  readonly onProgress: RestoreCallOptions['onProgress'];
}

export class RestoreProgress {
  readonly damages: Damage[] = [];
  readonly #plan: RestoreProgressPlan;
  writtenBytes = 0;
  #unflushedBytes = 0;
  #flush: Promise<void> | undefined;

  constructor(plan: RestoreProgressPlan) {
    this.#plan = plan;
  }

  /** Once something is damaged, the rest is checked without being written, so that the error names every range that is lost. */
  get checkOnly(): boolean {
    return this.damages.length > 0;
  }

  note(result: RestoreLeafResult): void {
    this.damages.push(...result.damages);
    this.writtenBytes += result.writtenBytes;
    this.#unflushedBytes += result.writtenBytes;
    this.#plan.onProgress?.(this.#plan.doneBytes + this.writtenBytes, this.#plan.doneBytes + this.#plan.totalBytes);
    if (this.#unflushedBytes < FLUSH_EVERY_BYTES || this.#flush !== undefined) return;
    this.#unflushedBytes = 0;
    const flushed = (): void => {
      this.#flush = undefined;
    };
    // What it fails with, the last flush fails with too, or the disk has recovered.
    this.#flush = this.#plan.flush().then(flushed, flushed);
  }

  /** Nothing is being flushed any more. */
  async settled(): Promise<void> {
    await this.#flush;
  }

  throwDamage(onDamage: ((packNames: readonly string[]) => void) | undefined): void {
    if (this.damages.length === 0) return;
    onDamage?.(damagedPacks(this.damages));
    throw damageError(this.damages);
  }
}

/** Asks whoever called, and the file system itself, whether so much may be written. */
export async function admit(path: string, bytes: number, options: RestoreCallOptions): Promise<void> {
  await options.admit?.(bytes);
  try {
    const { bavail, bsize } = await statfs(dirname(path));
    if (bavail * bsize < bytes) {
      throw new RepositoryError('full', `${bytes} bytes do not fit beside ${path}: ${bavail * bsize} are free`);
    }
  } catch (error) {
    throw targetError(path, error);
  }
}

/** An error of writing to the target in the terms of the mover. */
export function targetError(path: string, error: unknown): RepositoryError {
  if (error instanceof RepositoryError) return error;
  return new RepositoryError(isFullError(error) ? 'full' : 'transport', `${path} cannot be written: ${messageOf(error)}`, { cause: error });
}
