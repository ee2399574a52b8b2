/** Why a backup or a restore failed, in words for the people who asked for it; the original error stays the cause, for the log. */
import { type DiskRange, isRepositoryError, type RepositoryError, type RepositoryErrorKind } from '../../engine/repository/errors.ts';
import { messageOf, ProductError } from '../../lib/errors.ts';

/** Runs outside work; what it throws comes out with a reason for users. An abort stays what it is. */
export async function explained<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted || error instanceof ProductError) throw error;
    throw new Error(reasonOf(error), { cause: error });
  }
}

/** How often the data mover may die under one piece of work before that is taken for more than an accident. */
const interruptionsMax = 3;

/** Repeats work that the data mover's death interrupted: the mover is started anew for the next call. */
export async function withNewMover<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let interruptions = 1; ; interruptions += 1) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || interruptions >= interruptionsMax || !isRepositoryError(error, 'interrupted')) throw error;
    }
  }
}

/** In words of our own: the messages below us name files and objects, which are no business of a tenant. */
const reasons: Readonly<Record<Exclude<RepositoryErrorKind, 'corrupted' | 'missing'>, string>> = {
  full: 'No space left on the disk.',
  'not-found': 'The backup is not in its repository.',
  'locked-out': "The repository's key is missing or is not the right one.",
  transport: 'The repository did not answer.',
  conflict: 'The backup was given up by another process.',
  unsupported: 'The repository was written by a program that this one does not understand.',
  aborted: 'The work was ended from outside.',
  interrupted: 'The process that moves the data died again and again.',
};

export function reasonOf(error: unknown): string {
  if (isRepositoryError(error)) return repositoryReason(error);
  if (isSystemError(error, 'ENOSPC') || isSystemError(error, 'EDQUOT')) return reasons.full;
  return messageOf(error);
}

function repositoryReason({ kind, ranges }: RepositoryError): string {
  if (kind !== 'corrupted' && kind !== 'missing') return reasons[kind];
  const what = `Stored data is ${kind}`;
  return ranges.length === 0 ? `${what}.` : `${what}: disk ${rangesText(ranges)} cannot be read.`;
}

/** How many ranges fit into a reason; all of them are in the log. */
const rangesShownMax = 4;

/** `bytes 65536-131071, 262144-327679 and 3 more ranges`: ends included, as in HTTP. */
function rangesText(ranges: readonly DiskRange[]): string {
  const shown = ranges.slice(0, rangesShownMax).map(({ offsetBytes, lengthBytes }) => `${offsetBytes}-${offsetBytes + lengthBytes - 1}`);
  const hidden = ranges.length - shown.length;
  return `bytes ${shown.join(', ')}${hidden > 0 ? ` and ${hidden} more ranges` : ''}`;
}

function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
