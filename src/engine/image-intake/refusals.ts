/**
 * Why bytes are not taken. A refusal that happens inside a saga comes back as the text that the saga stored, so each kind has a
 * beginning of its own by which it is known again.
 */
import { badRequest, type ProductError, tooLarge } from '../../lib/errors.ts';

const notAcceptableBeginning = 'Image data is not acceptable: ';
const storageFullBeginning = 'Image storage media is full: ';

export function notAcceptable(reason: string, cause?: unknown): ProductError {
  return badRequest(`${notAcceptableBeginning}${reason}.`, cause);
}

export function storageFull(cause?: unknown): ProductError {
  return tooLarge(`${storageFullBeginning}There is not enough disk space on the image storage media.`, cause);
}

export function imageTooLarge(sizeBytesMax: number): ProductError {
  return tooLarge(`The incoming image is too large: The provided image exceeds the maximum of ${sizeBytesMax} bytes.`);
}

/** The refusal that once had this message; undefined for the message of any other error. */
export function refusalOf(message: string): ProductError | undefined {
  if (message.startsWith(notAcceptableBeginning)) return badRequest(message);
  return message.startsWith(storageFullBeginning) ? tooLarge(message) : undefined;
}

const fullDiskCodes: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export function isDiskFull(error: unknown): boolean {
  return error instanceof Error && fullDiskCodes.has((error as NodeJS.ErrnoException).code);
}
