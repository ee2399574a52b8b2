/** A full disk shows itself in many ways: error codes of system calls, words of tools and of monitors. Here they become one. */
import { SpaceError } from '../space/contract.ts';
import type { VolumeBackend } from './contract.ts';

const fullCodes: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);
const fullWords = /No space left|Disk quota exceeded/;
const causesMax = 5;

/** The same backend; what its calls throw because the disk is full comes out as a `SpaceError`. */
export function explainFullDisk(backend: VolumeBackend): VolumeBackend {
  // Every call of the contract is asynchronous.
  const calls = Object.entries(backend) as [string, (...args: readonly unknown[]) => Promise<unknown>][];
  const explained = calls.map(([name, call]) => [
    name,
    async (...args: readonly unknown[]) => {
      try {
        return await call(...args);
      } catch (error) {
        throw isFullDisk(error) ? new SpaceError('No space left on the disk.', { cause: error }) : error;
      }
    },
  ]);
  return Object.fromEntries(explained) as VolumeBackend;
}

function isFullDisk(error: unknown): boolean {
  let at = error;
  for (let depth = 0; at instanceof Error && !(at instanceof SpaceError) && depth < causesMax; depth += 1, at = at.cause) {
    if (fullCodes.has((at as NodeJS.ErrnoException).code) || fullWords.test(at.message)) return true;
  }
  return false;
}
