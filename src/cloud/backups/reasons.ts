/** Why a backup or a restore failed, in words for the people who asked for it; the original error stays the cause, for the log. */
import { messageOf } from '../../lib/errors.ts';

const mib = 1024 ** 2;

export function notEnoughSpace(neededBytes: number, freeBytes: number): Error {
  return new Error(
    `Not enough space for the restore: ${Math.ceil(neededBytes / mib)} MiB are needed, ${Math.floor(freeBytes / mib)} MiB are free.`,
  );
}

/** Runs outside work; what it throws comes out with a reason for users. An abort stays what it is. */
export async function explained<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error(reasonOf(error), { cause: error });
  }
}

export function reasonOf(error: unknown): string {
  return messageOf(error);
}
