import { messageOf } from '../../../lib/errors.ts';
import { StoreError, StoreFullError } from '../contract.ts';

export function systemCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Codes that mean that no byte more can be stored here: the disk, a quota, or a limit of the file size. */
const fullCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export function isFullError(error: unknown): boolean {
  const code = systemCodeOf(error);
  return code !== undefined && fullCodes.has(code);
}

/** What an error of reading an object means to a user of the store. */
export function readErrorOf(error: unknown, doing: string): StoreError {
  if (systemCodeOf(error) === 'ENOENT') return new StoreError('missing', `not there ${doing}: ${messageOf(error)}`, error);
  return storeErrorOf(error, doing);
}

/** What an error of any other system call means: a file that is not there while writing is no missing object. */
export function storeErrorOf(error: unknown, doing: string): StoreError {
  if (error instanceof StoreError) return error;
  if (isFullError(error)) return new StoreFullError(`no room left ${doing}: ${messageOf(error)}`, error);
  return new StoreError('transport', `failed ${doing}: ${messageOf(error)}`, error);
}
